"""What a relay is told of a mail beside its content: sender, recipient, and what names the mail in a bounce.

Without I/O. A mail with a token is named by it three times: in the return path (if that has a place for it), in the
ENVID of the delivery status notifications (RFC 3461) that the relay offers, and in the header of a provider.
"""

from typing import Final

import structlog

from worker.domain.providers import Provider, around_token
from worker.domain.return_path import ReturnPath
from worker.smtp.rules import Mail

ORCPT_LIMIT: Final = 500
"""Characters of ORCPT's value, at most (RFC 3461 section 4.2)."""

_UNKNOWN_PARAMETERS: Final = frozenset({501, 504, 555})
_INVALID_ARGUMENTS: Final = "5.5.4"

log = structlog.get_logger()


class Envelope:
    """What one relay is told, for all mails of this process. `relay` is its name for the log.

    `sample` is a token as mails have them, for a probe. Empty: mails have none.
    """

    def __init__(
        self, path: ReturnPath, provider: Provider | None = None, *, sample: str = "", relay: str = ""
    ) -> None:
        self._mail_from, self._after_token = f"MAIL FROM:<{path.before}", path.after
        self._before, self._after = around_token(provider) if provider else ("", "")
        self.sample = sample
        """The token with which a probe says MAIL FROM as mails do."""
        self._relay = relay
        self._is_doubted = self._is_refused = False

    # RFC 3461's parameters

    def has_parameters(self, token: str) -> bool:
        """Whether a mail with this token is named to a relay that offers DSN. Not if it refuses what it offers."""
        return bool(token) and not (self._is_doubted or self._is_refused)

    def doubt(self) -> None:
        """The relay refused something that had parameters, perhaps because of them. From now on nothing has any."""
        self._is_doubted = True

    def settle(self, *, without: bool) -> None:
        """After a doubt the relay was asked again without parameters. `without`: whether it then took it."""
        self._is_doubted = False
        if without and not self._is_refused:
            self._is_refused = True
            log.info("relay.refuses_parameters", relay=self._relay)

    # Commands, without line ends

    def mail_from(self, token: str, contact_token: str, *, parameters: bool) -> str:
        """Returns MAIL FROM. A bounce of the mail goes to its address."""
        after = self._after_token
        command = f"{self._mail_from}>" if after is None else f"{self._mail_from}{token}{after}>"
        if not parameters:
            return command
        # At most 100 characters (RFC 3461 section 4.4). By the second half the customer is found without the request.
        envid = f"{token}-{contact_token}" if contact_token else token
        return f"{command} RET=HDRS ENVID={envid}"

    def rcpt_to(self, recipient: str, *, parameters: bool) -> str:
        """Returns RCPT TO. Only failures are reported: nobody reads that a mail is late or has arrived."""
        if not parameters:
            return f"RCPT TO:<{recipient}>"
        original = xtext(recipient)
        if len(original) > ORCPT_LIMIT - len("rfc822;"):
            return f"RCPT TO:<{recipient}> NOTIFY=FAILURE"
        return f"RCPT TO:<{recipient}> NOTIFY=FAILURE ORCPT=rfc822;{original}"

    def commands(self, mail: Mail, *, parameters: bool) -> bytes:
        """Returns MAIL, RCPT and DATA with their line ends, for one write."""
        sender = self.mail_from(mail.token, mail.contact_token, parameters=parameters)
        return f"{sender}\r\n{self.rcpt_to(mail.recipient, parameters=parameters)}\r\nDATA\r\n".encode("ascii")

    # Content

    def content(self, mail: Mail) -> bytes:
        """Returns what follows DATA: the mail, with the provider's header before its own ones."""
        if not (self._before and mail.token):
            return mail.content
        return f"{self._before}{mail.token}{self._after}".encode("ascii") + mail.content


def are_parameters_doubted(code: int, enhanced: str | None) -> bool:
    """Whether a refusal of MAIL or RCPT may be one of their parameters (RFC 5321 section 4.2.3, RFC 3463: X.5.4).

    It may as well be about the sender or the recipient. Who asks again without parameters knows.
    """
    return code in _UNKNOWN_PARAMETERS or enhanced == _INVALID_ARGUMENTS


def xtext(text: str) -> str:
    """Returns printable ASCII without blanks as xtext (RFC 3461 section 4)."""
    return text.replace("+", "+2B").replace("=", "+3D")
