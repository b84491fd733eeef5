"""The same use cases as the window's, as verbs of a command line."""
