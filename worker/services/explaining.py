"""Explains to people how a relay's reply is judged: by which row, who is blamed, and what follows."""

from dataclasses import dataclass
from typing import Final

from worker.domain.outcomes import Deferred, Outcome, Rejected, RelayDown, Scope, by_blame, by_class
from worker.domain.replies import Reply, Stage, reason
from worker.domain.reply_rules import Blame, ReplyRules, Rule

_DOWN: Final = {
    Scope.CONFIGURATION: "Nobody fails and no try is spent. Sending stops until the relay takes our mail again.",
    Scope.QUOTA: (
        "Nobody fails and no try is spent. Sending stops; one mail is tried now and then, at most 15 min apart."
    ),
    Scope.RELAY: "Nobody fails and no try is spent, however long it lasts. The relay is tried again.",
}
_BY_BLAME: Final = {
    Blame.CONNECTION: "Nobody fails and no try is spent. Mails go on by a new connection.",
    Blame.CONNECTIONS: "Nobody fails and no try is spent. Sending goes on with fewer connections.",
    Blame.PACE: "Nobody fails and no try is spent. Sending goes on more slowly.",
}
_PROOF: Final = (
    "If the relay takes nobody's mail, it is about us: nobody fails, and after some refusals in a row mails are tried "
    "one at a time until one is taken. If it takes the mails of others, it is about this one: "
)


@dataclass(frozen=True, slots=True)
class Explanation:
    """How a reply is judged. `rule` is None if no row knows it."""

    reply: Reply
    stage: Stage
    rule: Rule | None

    @property
    def outcome(self) -> Outcome:
        """What becomes of a mail that is refused so."""
        if self.rule is None:
            return by_class(self.stage, self.reply)
        return by_blame(self.stage, self.reply, self.rule.blames)

    @property
    def follows(self) -> str:
        """What happens, in plain sentences."""
        match self.outcome:
            case Rejected(is_certain=True) as rejected:
                return f"This customer's request fails ({rejected.code}). The others go on at full speed."
            case Deferred(is_certain=True):
                return "This customer's mail is tried again later, as often as is set. The others go on at full speed."
            case Rejected() as rejected:
                return f"{_PROOF}this request fails ({rejected.code})."
            case Deferred(policy=True) as deferred:
                return f"{_PROOF}this request fails ({deferred.code}) if it is refused again."
            case Deferred():
                return f"{_PROOF}this mail is tried again later, as often as is set."
            case RelayDown(scope, blame=blame):
                return (blame and _BY_BLAME.get(blame)) or _DOWN[scope]
        return "This is not a refusal."

    def as_json(self) -> dict[str, object]:
        """Returns the explanation as JSON, with addresses masked. What does not apply is null."""
        return {
            "reply": reason(self.reply),
            "stage": self.stage.value,
            "row": self.rule and self.rule.name,
            "file": self.rule and self.rule.file,
            "source": self.rule and (self.rule.source or None),
            "blames": self.rule and self.rule.blames.value,
            "follows": self.follows,
        }


def explain(rules: ReplyRules, stage: Stage, reply: Reply) -> Explanation:
    """Returns how a reply at this stage is judged."""
    return Explanation(reply, stage, rules.match(stage, reply))
