"""Group relative policy optimisation: rewards relative to their group, KL to the reference in the loss; no critic."""
