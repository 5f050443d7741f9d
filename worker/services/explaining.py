"""Explains to people how a relay's reply is judged: by which row, who is blamed, and what follows."""

from dataclasses import dataclass
from typing import Final

from worker.domain.replies import Reply, Stage, reason
from worker.domain.reply_rules import Blame, ReplyRules, Rule

_FOLLOWS: Final = {
    Blame.ACCOUNT: "Nobody fails. Sending stops until a probe finds that the relay takes our mail again.",
    Blame.QUOTA: "Nobody fails, and no try is spent. Sending stops, and the relay is asked again rarely.",
    Blame.RELAY: "Nobody fails, however long it lasts. The relay is tried again.",
    Blame.CONNECTION: "Nobody fails, and no try is spent. The mail goes out at once on a new connection.",
    Blame.CONNECTIONS: "Nobody fails, and no try is spent. Sending goes on with fewer connections.",
    Blame.PACE: "Nobody fails, and no try is spent. Sending goes on more slowly.",
    Blame.MESSAGE: "This mail fails (MESSAGE_REJECTED) if the refusal is permanent (5xx), and is tried again if not.",
    Blame.RECIPIENT: "This customer's request fails (RECIPIENT_REJECTED). The others go on.",
    Blame.MAILBOX: "This customer's mail is tried again later. The others go on at full speed.",
    Blame.UNCLEAR: "Judged by evidence: about this mail if the relay took those of others meanwhile, else about us.",
}


def follows_from(blame: Blame) -> str:
    """Returns what happens if this one is to blame, in plain sentences."""
    return _FOLLOWS[blame]


@dataclass(frozen=True, slots=True)
class Explanation:
    """How a reply is judged. `rule` is None if no row knows it."""

    reply: Reply
    stage: Stage
    rule: Rule | None

    @property
    def follows(self) -> str:
        """What happens, in plain sentences."""
        if self.rule is not None:
            return follows_from(self.rule.blames)
        return f"No row knows it. {follows_from(Blame.UNCLEAR)} {_class(self.reply)}"

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


def _class(reply: Reply) -> str:
    return "A 4xx code is tried again later." if reply.code < 500 else "A 5xx code is a permanent refusal."
