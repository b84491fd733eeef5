"""side_by_side."""
