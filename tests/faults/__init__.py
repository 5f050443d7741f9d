"""Breaks the program while it works, and checks for each mail that nobody was lost. See `__main__`."""
