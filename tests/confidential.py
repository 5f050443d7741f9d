"""What no log and no output may contain: the password that tests use everywhere, and customers' addresses."""

from base64 import b64encode
from collections.abc import Iterable
from typing import Final

PASSWORD: Final = "s3cr3t-pass"
DOMAIN: Final = "customer.example"
"""The domain of the addresses of the tests' customers."""


def betrayals(output: str, words: Iterable[str] = (PASSWORD, DOMAIN)) -> list[str]:
    """Returns the lines that contain one of these words, as it is or in Base64."""
    hidden = [form for word in words for form in (word, *_encoded(word.encode()))]
    return [line[:300] for line in output.splitlines() if any(form in line for form in hidden)]


def _encoded(word: bytes) -> list[str]:
    """Returns the Base64 forms of the word's inside, for each place in a text where the word can begin.

    Four letters at either end are left out: they depend on the rest of the text.
    """
    return [b64encode(b" " * before + word)[4:-4].decode() for before in range(3)]
