"""Explains to people how a report is judged: by which row, what would follow for the customer, and what it proves.

Nothing is looked up in the database, so only a token's signature is sure: whether there is such a request is not.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from worker.domain.bounces import row
from worker.domain.proof import Named, Proof
from worker.domain.replies import one_line
from worker.domain.returned import Kind, Report, Returned
from worker.domain.tokens import CLAIMS
from worker.feedback import messages

_SUPPRESSED: Final = "The customer is suppressed ({}) and gets no more mail."
_FOLLOWS: Final = {
    Kind.DEAD: f"{_SUPPRESSED.format('bounced')} The request fails (BOUNCED).",
    Kind.FAILED: "The request fails (BOUNCED) and can be retried. The customer goes on getting mail.",
    Kind.DELAYED: "Nothing. The relay still tries.",
    Kind.DELIVERED: "Nothing. The mail arrived.",
    Kind.COMPLAINT: f"{_SUPPRESSED.format('complained')} The request stays as it is.",
    Kind.UNSUBSCRIBE: f"{_SUPPRESSED.format('unsubscribed')} The request stays as it is.",
    Kind.FEEDBACK: "Nothing. It is counted.",
    Kind.AUTO_REPLY: "Nothing. It is counted.",
    Kind.OTHER: "Nothing. This is no report that is understood.",
}
_NO_PROOF: Final = "Nothing, since it proves nothing. With proof: "


@dataclass(frozen=True, slots=True)
class ReportExplanation:
    """How a message that came back is judged."""

    report: Report
    named: Named

    @property
    def proves(self) -> list[str]:
        """What the message names for certain, in plain words, best proof first."""
        return [*self._mails(), *(f"token of contact {contact_id}" for contact_id in self.named.contacts)]

    def _mails(self) -> Iterator[str]:
        for mail in self.named.mails:
            if mail.is_signed:
                yield f"token of request {mail.request_id}, claim {mail.claim_no} (modulo {CLAIMS})"
            else:
                yield f"Message-ID of request {mail.request_id}, if there is one"

    def as_json(self) -> dict[str, object]:
        """Returns the explanation as JSON, with addresses masked. What does not apply is null."""
        return {
            "form": self.report.form or None,
            "trouble": self.report.trouble,
            "proves": self.proves,
            "recipients": self.recipients,
        }

    @property
    def recipients(self) -> list[dict[str, object]]:
        """How it is judged for each recipient, who are in the order of the report and not named."""
        return [self._one(each) for each in self.report.returned]

    def _one(self, returned: Returned) -> dict[str, object]:
        found = row(returned.rule) if returned.rule else None
        return {
            "means": returned.kind.value,
            "said": one_line(returned.words) or None,
            "code": returned.code,
            "status": returned.status,
            "row": returned.rule,
            "file": found and found.file,
            "source": found and (found.source or None),
            "blames": found and found.blames.value,
            "follows": self._follows(returned.kind),
        }

    def _follows(self, kind: Kind) -> str:
        follows = _FOLLOWS[kind]
        return follows if self.proves or follows.startswith("Nothing") else f"{_NO_PROOF}{follows}"


def explain_report(message: bytes, proof: Proof) -> ReportExplanation:
    """Returns how a message is judged, as it came. Raises BadRules."""
    report = messages.read(message)
    return ReportExplanation(report, proof.named(report.clues))
