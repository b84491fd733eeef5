"""From what stood side by side to pairs that training reads. One file per labelling mode."""
