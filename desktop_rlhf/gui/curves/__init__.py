"""What a run shows of itself: live curves, samples, and what it measured at its end."""
