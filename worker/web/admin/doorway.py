"""Around everything under `/admin`: forms of other sites are refused, and every answer has the headers that protect it.

It is outside of CORS, which lets every page call the API. Nothing of that holds here.
"""

from collections.abc import Mapping
from typing import Final

from fastapi import Request
from fastapi.responses import Response
from python_multipart.multipart import parse_options_header
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from worker.domain.admins import PAGES
from worker.domain.origins import SAFE_METHODS, is_from_us
from worker.web import peers
from worker.web.admin.frame import HEADERS
from worker.web.admin.office import Office

STATIC: Final = "/static/admin/"
EXPORT: Final = ".csv"
"""The end of the paths of exports: each is noted in the audit trail, and has what is personal."""
_OF_PAGES: Final = {**HEADERS, "X-Content-Type-Options": "nosniff"}
_OF_FILES: Final = {**_OF_PAGES, "Cache-Control": "no-cache"}  # they are asked for again, and answered with 304


class Doorway:
    """Lets requests to the pages in, and others by."""

    def __init__(self, app: ASGIApp, office: Office) -> None:
        self._app = app
        self._office = office
        self._root = office.frame.root
        self._proxies = office.context.parts.settings.trusted_proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on, or refuses it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope = self._without_root(scope)
        path = scope["path"]
        if path.startswith(STATIC):
            await self._app(scope, receive, _dressed(send, _OF_FILES))
        elif _is_below(path, PAGES):
            answer = self._refusal(Request(scope))
            await (answer or self._app)(scope, receive, _dressed(send, _OF_PAGES))
        else:
            await self._app(scope, receive, send)

    def _without_root(self, scope: Scope) -> Scope:
        """A proxy takes the path of STOCKBELL_PUBLIC_URL away. Who comes without a proxy has it still."""
        root, path = self._root, scope["path"]
        if not root or not (_is_below(path, f"{root}{PAGES}") or path.startswith(f"{root}{STATIC}")):
            return scope
        raw = scope.get("raw_path") or path.encode()
        return {**scope, "path": path.removeprefix(root), "raw_path": raw.removeprefix(root.encode())}

    def _refusal(self, request: Request) -> Response | None:
        if request.method == "OPTIONS":  # no page of another origin is let in
            return Response(status_code=405, headers={"Allow": "GET, POST"})
        headers = request.headers
        if request.method in SAFE_METHODS:
            is_led_here = not {"cross-site", "same-site"}.isdisjoint(headers.getlist("sec-fetch-site"))
            if is_led_here and request.url.path.endswith(EXPORT):
                return self._refused(
                    request, 403, "Another site has led here. A file is fetched on a page of ours only."
                )
            return None
        if not is_from_us(headers.getlist("sec-fetch-site"), headers.getlist("origin"), self._own(request)):
            return self._refused(request, 403, "This form was not sent by a page of this program, so nothing was done.")
        if not _is_utf_8(headers.get("content-type", "")):
            return self._refused(request, 400, "This form is not in UTF-8, so nothing was done.")
        return None

    def _refused(self, request: Request, status: int, words: str) -> Response:
        return self._office.frame.show(
            request, None, "problem.html", title="Refused", status=status, words=words, is_form=True
        )

    def _own(self, request: Request) -> list[str]:
        """Returns our origins as the browser may know them."""
        scheme, headers = request.url.scheme, request.headers
        own = [f"{scheme}://{headers.get('host', '')}"]
        if peers.is_in(self._proxies, peers.peer_of(request.scope)):
            host = headers.get("x-forwarded-host", "").partition(",")[0].strip() or headers.get("host", "")
            own.append(f"{scheme}://{host}")
            if port := headers.get("x-forwarded-port", "").partition(",")[0].strip():
                own.append(f"{scheme}://{host}:{port}")
        return own


def _is_below(path: str, place: str) -> bool:
    return path == place or path.startswith(f"{place}/")


def _is_utf_8(content_type: str) -> bool:
    """Whether a form is in the charset of our pages. Others would be decoded, and some decode to what is no text."""
    charset = parse_options_header(content_type)[1].get(b"charset", b"utf-8")
    return charset.lower() in (b"utf-8", b"utf8")


def _dressed(send: Send, headers: Mapping[str, str]) -> Send:
    wanted = [(name.lower().encode(), value.encode()) for name, value in headers.items()]

    async def dressed(message: Message) -> None:
        if message["type"] == "http.response.start":
            kept = [pair for pair in message["headers"] if not pair[0].lower().startswith(b"access-control-")]
            given = {name.lower() for name, _ in kept}
            message["headers"] = [*kept, *(pair for pair in wanted if pair[0] not in given)]
        await send(message)

    return dressed
