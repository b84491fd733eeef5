"""A benchmark with a known answer: labels drawn from a written-down utility."""
