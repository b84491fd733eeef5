"""REINFORCE leave-one-out: a completion is measured against the others of its prompt; no critic."""
