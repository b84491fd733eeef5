"""Prompts: read from files and written to them, told apart, and the set that comes with the program."""
