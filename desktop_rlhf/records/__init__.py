"""Frozen records that every floor of the house hands to the next, and the errors of the world."""
