"""Logging of every process: structlog to stderr, one line per event, without secrets.

Records of other libraries (logging, warnings) are written the same way. Everything that looks like an e-mail address or
like credentials in a URL is masked in every text, so that errors of libraries can't leak them.
"""

import logging
import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, Literal, TextIO, cast

if "rich" in sys.modules:
    import structlog
else:
    # structlog imports rich if it is installed. That costs 5 MB and 0.1 s in every worker, for a traceback style that
    # is not used.
    sys.modules["rich"] = None  # type: ignore[assignment]  # makes `import rich` fail
    import structlog

    del sys.modules["rich"]

from structlog.typing import EventDict, Processor, WrappedLogger

LogFormat = Literal["console", "json"]

# Celery logs two lines per bell, and imapclient one per connection, which repeat what our own events say.
_REDUNDANT_LOGGERS: Final = ("celery.app.trace", "celery.worker.strategy", "imapclient.imapclient")

# Matches only at the start of a word, with bounded lengths. This keeps the search linear even for a hostile text.
_SECRET: Final = re.compile(
    r"(?P<scheme>(?<![a-z0-9+.-])[a-z][a-z0-9+.-]{0,20}://)[^\s\"'<>]{0,1000}@"
    r"|(?<![\w!#$%&'*+/=?^`{|}~.-])[\w!#$%&'*+/=?^`{|}~.-]+@[^\s\"'<>()\[\]{},;:|=@]+",
    re.IGNORECASE,
)
# This includes direction marks, which can disguise a line, and lone surrogates, which can't be written.
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_MULTI_LINE: Final = ("exception", "stack")


def configure(log_format: LogFormat | None) -> None:
    """Sends all logging of this process at info and above to stderr.

    None means `console` on a terminal and `json` elsewhere. A later call replaces the configuration.
    """
    stream = sys.stderr
    as_json = log_format == "json" or (log_format is None and not stream.isatty())
    render = _json() if as_json else _console(stream)
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, *_COMMON, *render],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(cast(TextIO, _ErrorIgnoringStream(stream))),
    )
    _route_stdlib(stream, render)


def mask(text: str) -> str:
    """Returns `text` with e-mail addresses and the credentials in URLs masked."""
    return _SECRET.sub(_masked, text) if "@" in text else text


def _masked(match: re.Match[str]) -> str:
    scheme = match["scheme"]
    return f"{scheme}***@" if scheme else "***@***"


class _ErrorIgnoringStream:
    """A stream that ignores write errors (full disk, closed pipe), so that logging never stops a mail."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with suppress(OSError, ValueError):
            self._stream.write(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()


def _mask_all(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    return {key: _clean(value) for key, value in event.items()}


def _clean(value: object) -> object:
    """Returns the value as plain types with masked texts. A renderer would write other types by their repr."""
    match value:
        case str():
            return mask(value)
        case None | bool() | int() | float():
            return value
        case Mapping():
            return {mask(str(key)): _clean(inner) for key, inner in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_clean(inner) for inner in value]
        case _:
            return mask(str(value))


def _order_keys(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    first = {key: event[key] for key in ("timestamp", "level", "event") if key in event}
    return first | dict(event)


def _escape_control_characters(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    """Escapes control characters: text from outside must not start a new line or control the terminal."""
    return {
        key: _CONTROL.sub(_escaped_but_newline if key in _MULTI_LINE else _escaped, value)
        if isinstance(value, str)
        else value
        for key, value in event.items()
    }


def _escaped(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")


def _escaped_but_newline(match: re.Match[str]) -> str:
    return "\n" if match[0] == "\n" else _escaped(match)


def _json() -> list[Processor]:
    return [_mask_all, _order_keys, structlog.processors.JSONRenderer()]


def _console(stream: TextIO) -> list[Processor]:
    renderer = structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback)
    return [_mask_all, _escape_control_characters, renderer]


_COMMON: Final[list[Processor]] = [
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.StackInfoRenderer(),
    structlog.processors.format_exc_info,
]


def _route_stdlib(stream: TextIO, render: list[Processor]) -> None:
    remove_meta = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *_COMMON],
            processors=[remove_meta, *render],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.INFO)
    for name in _REDUNDANT_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)
    # Otherwise logging prints a record that can't be formatted, without masking.
    logging.raiseExceptions = False
