"""Two adapters compared blind on the same prompts: sides and verdicts."""
