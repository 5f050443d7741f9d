"""What no log and no output may hold: the password that tests give to everything, and customers' addresses."""

from base64 import b64encode
from collections.abc import Iterable
from typing import Final

PASSWORD: Final = "s3cr3t-pass"
DOMAIN: Final = "customer.example"
"""Where the tests' customers have their addresses."""


def betrayals(output: str, words: Iterable[str] = (PASSWORD, DOMAIN)) -> list[str]:
    """The lines that hold one of these, as it is or in Base64."""
    hidden = [form for word in words for form in (word, *_encoded(word.encode()))]
    return [line[:300] for line in output.splitlines() if any(form in line for form in hidden)]


def _encoded(word: bytes) -> list[str]:
    """What Base64 makes of its inside, wherever in a text it begins: four letters at either end depend on the rest."""
    return [b64encode(b" " * before + word)[4:-4].decode() for before in range(3)]
