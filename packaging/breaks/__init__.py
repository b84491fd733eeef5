"""Details that decide whether training works: what each is, its test, and the breaks that the test caught."""
