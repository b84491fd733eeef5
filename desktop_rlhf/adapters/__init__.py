"""The resident base model and its LoRA adapters: load, attach, switch, save a child with its parent's id."""
