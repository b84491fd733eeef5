"""Simple preference optimisation."""
