"""Comparisons -> reward model; scoring."""
