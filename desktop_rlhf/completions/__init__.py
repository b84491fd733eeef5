"""Adapter and prompts -> completions, sampled so that a stop request interrupts them."""
