"""Digests: what else a customer can be told of now goes in the same mail."""

from typing import Final

MOST_ITEMS: Final = 20
"""A mail has no more items than that."""
