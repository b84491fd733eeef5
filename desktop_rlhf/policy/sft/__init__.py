"""Supervised fine-tuning on the chosen completions."""
