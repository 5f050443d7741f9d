"""The relay of the fault tests. It notes each mail that it takes, before it says so, and each refusal."""

import time
from collections.abc import Callable, Collection
from typing import Literal

from tests.confidential import PASSWORD
from tests.faults.checker import Mail, Refusal
from tests.relay import HOST, Accepted, Answer, Do, Later, ScriptedRelay

PERSONAL = {"rcpt", "data", "dot"}
"""The stages at which a refusal is about one mail."""

USER = "shop"


class LoggingRelay(ScriptedRelay):
    """A relay with the logs `mails` and `refusals`. It is used as the acceptance tests use theirs."""

    def __init__(
        self,
        *,
        pipelining: bool = True,
        security: Literal["plain", "starttls", "tls"] = "plain",
        host: str = HOST,
    ) -> None:
        super().__init__(
            pipelining=pipelining, security=security, users={USER: PASSWORD}, host=host, certificate_for=host
        )
        self.mails: list[Mail] = []
        self.refusals: list[Refusal] = []
        self.taken = 0
        """How many mails this relay took itself, if several relays share the log."""
        self.troubles = 0
        """How often the relay did anything but its duty."""
        self.watch: Callable[[int], None] = lambda _number: None
        """Called with the number of each mail that the relay took, before it says so."""

    def log_to(self, other: "LoggingRelay") -> None:
        """Shares the log of the other relay from now on."""
        self.mails, self.refusals = other.mails, other.refusals

    def hold_back(self, recipients: Collection[str]) -> None:
        """Holds back the replies to these people's mails, until `let_go`. Called in the relay's thread."""
        held = frozenset(recipients)
        self._released.clear()
        self.decide = lambda stage, recipient: Do.HOLD if stage == "dot" and recipient in held else None

    def let_go(self) -> None:
        """Sends the replies that were held back."""
        self.decide = None
        self.release()

    def answer(self, stage: str, recipient: str | None) -> Answer:
        answer = super().answer(stage, recipient)
        if answer not in (Do.USUAL, Do.HOLD) and not isinstance(answer, Later):
            self.troubles += 1
            if stage in PERSONAL and recipient is not None and answer is not Do.LEAVE:
                code = int(answer[:3]) if isinstance(answer, str) and answer[:3].isdigit() else None
                self.refusals.append(Refusal(recipient, stage, code, took_it=answer is Do.TAKE_AND_DROP))
        return answer

    def accept(self, mail: Accepted) -> None:
        # Contents are not kept: there may be a million.
        self.mails.append(Mail(mail.recipient, mail.message_id, mail.client, time.time()))
        self.taken += 1
        self.commands.clear()
        self.conversations.clear()
        self.packets.clear()
        self.watch(len(self.mails))
