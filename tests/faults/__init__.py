"""Breaks the program while it works, and checks mail by mail that nobody was lost. See `__main__`."""
