"""Tag lists: `v=DKIM1; k=rsa; p=...` of DKIM's records and signatures, and of DMARC's records.

Pure. By RFC 6376 section 3.2, which RFC 7489 section 6.4 takes over.
"""

import re
from collections.abc import Mapping
from typing import Final

_TAG: Final = re.compile(r"\s*([A-Za-z][A-Za-z0-9_]*)\s*=(.*)", re.DOTALL)


def parse_tags(text: str) -> Mapping[str, str]:
    """Returns the tags by name, with the blanks around their values left out. Raises ValueError.

    An empty text, a tag without a name or value sign, and a tag that occurs twice are errors.
    """
    found: dict[str, str] = {}
    parts = text.split(";")
    if len(parts) > 1 and not parts[-1].strip():
        parts.pop()
    for part in parts:
        match = _TAG.fullmatch(part)
        if match is None or match[1] in found:
            raise ValueError("is not a list of name=value, each once, with ; between them")
        found[match[1]] = match[2].strip()
    return found


def without_blanks(value: str) -> str:
    """Returns a value whose blanks mean nothing, such as base64 that was folded."""
    return re.sub(r"\s+", "", value)
