"""Translates the errors of a session: those of aiosmtplib, TLS and the operating system. Pure."""

import ssl
from collections.abc import Iterator
from typing import cast

from aiosmtplib import SMTPException, SMTPResponse, SMTPResponseException, SMTPServerDisconnected

from worker.domain.outcomes import RelayDown, Scope, judge
from worker.domain.relays import Relay
from worker.domain.replies import Reply, Stage, one_line


class NotOfferedError(Exception):
    """The relay does not offer what its settings require."""


def relay_down(error: Exception, stage: Stage, relay: Relay) -> RelayDown:
    """Returns the outcome of an error at `stage` that is not about a mail."""
    if stage is Stage.CONNECT and _has_cause(error, SMTPResponseException, SMTPServerDisconnected):
        stage = Stage.GREETING  # aiosmtplib connects and reads the greeting in one step
    if isinstance(error, SMTPResponseException):
        return refusal(SMTPResponse(error.code, error.message), stage)
    ours = isinstance(error, NotOfferedError) or _has_cause(error, ssl.SSLCertVerificationError)
    scope = Scope.CONFIGURATION if ours else Scope.RELAY
    return RelayDown(scope, stage, one_line(f"{relay}: {words(error)}"))


def refusal(response: SMTPResponse, stage: Stage) -> RelayDown:
    """Returns the outcome of a refusal at `stage`, which must be before RCPT."""
    # Before RCPT, `judge` always returns RelayDown.
    return cast(RelayDown, judge(stage, Reply(response.code, response.message)))


def words(error: Exception) -> str:
    """Describes an error for people, by its innermost cause, which is the most exact."""
    *_, root = _causes(error)
    match root:
        case ssl.SSLCertVerificationError():
            return f"its certificate is not trusted: {root.verify_message}"
        case ssl.SSLError():
            return f"TLS failed (is it the right port and scheme?): {root.reason}"
        case TimeoutError():
            return "no answer in time"
        case SMTPServerDisconnected():
            return "it closed the connection"
        case OSError():
            return root.strerror or str(root)
        case NotOfferedError() | SMTPException():
            return str(root)
        case _:
            return type(root).__name__


def _causes(error: Exception) -> Iterator[Exception]:
    cause: BaseException | None = error
    while isinstance(cause, Exception):  # the cause of a timeout is a cancellation, which is not an Exception
        yield cause
        cause = cause.__cause__


def _has_cause(error: Exception, *kinds: type[Exception]) -> bool:
    return any(isinstance(cause, kinds) for cause in _causes(error))
