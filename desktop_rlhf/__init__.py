"""Teach a small language model your own preferences, on your own machine."""

__version__ = "0.1.0"
