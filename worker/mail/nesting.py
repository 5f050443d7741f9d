"""How deep CSS, and how large a page, may be for their parsers.

Those call themselves for each level. tinycss2 ends in RecursionError, after a long time if there are many mails;
css-inline ends the process once its stack is used up, which takes somewhere between 10,000 and 20,000 levels.
"""

import re
from typing import Final

MOST_BRACKETS: Final = 50
"""Within one another. Those of colours, gradients and conditions are five at most."""
MOST_TAGS: Final = 5_000
"""In a page, so it can't have more levels. One about 20 items has some hundreds."""

_BRACKET: Final = re.compile(
    r"/\*.*?(?:\*/|\Z)|\"(?:[^\"\\\n]|\\.)*+\"?|'(?:[^'\\\n]|\\.)*+'?|\\.|(?P<opens>[(\[{])|(?P<closes>[)\]}])",
    re.DOTALL,
)


class TooDeep(ValueError):
    """CSS has too many brackets within one another."""


def deep_line(css: str) -> int | None:
    """Returns the line of CSS in which brackets are too deep, or None."""
    depth = 0
    for found in _BRACKET.finditer(css):
        if found["opens"]:
            depth += 1
            if depth > MOST_BRACKETS:
                return css.count("\n", 0, found.start()) + 1
        elif found["closes"]:
            depth = max(0, depth - 1)
    return None


def has_too_many_tags(page: str) -> bool:
    """Whether a page may be too deep for css-inline."""
    return page.count("<") > MOST_TAGS
