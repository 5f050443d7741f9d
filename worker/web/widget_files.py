"""The sign-up script and its style sheet, as they are sent to shops' pages: small, and kept by browsers for an hour."""

import gzip
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from fastapi import Request, Response

from worker.web.pages import STATIC

_MEDIA: Final = {"v1.js": "text/javascript; charset=utf-8", "v1.css": "text/css; charset=utf-8"}
_COMMENT: Final = re.compile(r"/\*[\s\S]*?\*/|(?m:^\s*//.*$|(?<=;) //.*$)")
_BLANK: Final = re.compile(r"(?m)^\s+|[ \t]+$")
_HEADERS: Final = {
    # After the hour a browser shows what it has, and asks beside. A mended script is everywhere within a day.
    "Cache-Control": "public, max-age=3600, stale-while-revalidate=86400",
    "Vary": "Accept-Encoding",
    # Pages of other origins load it, also those with `crossorigin` or a strict embedder policy.
    "Access-Control-Allow-Origin": "*",
    "Cross-Origin-Resource-Policy": "cross-origin",
}


@dataclass(frozen=True, slots=True)
class Sent:
    """A file as it is sent."""

    media: str
    plain: bytes
    packed: bytes
    """by gzip"""
    tag: str
    """its ETag. It is weak, since it stands for both forms."""


@lru_cache
def sent(name: str) -> Sent:
    """Returns `v1.js` or `v1.css` without comments and indents. They are half of it."""
    text = (STATIC / name).read_text(encoding="utf-8")
    plain = _BLANK.sub("", _COMMENT.sub("", text)).strip().encode()
    tag = f'W/"{hashlib.sha256(plain).hexdigest()[:20]}"'
    return Sent(_MEDIA[name], plain, gzip.compress(plain, 9, mtime=0), tag)


def answer(name: str, request: Request) -> Response:
    """Returns the file, or 304 for a browser that has it."""
    file = sent(name)
    headers: Mapping[str, str] = {**_HEADERS, "ETag": file.tag}
    if file.tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=dict(headers))
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(file.packed, media_type=file.media, headers={**headers, "Content-Encoding": "gzip"})
    return Response(file.plain, media_type=file.media, headers=dict(headers))
