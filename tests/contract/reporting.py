"""What comes back for the mails of a shop, as the tests make it."""

from dataclasses import replace
from typing import Final
from uuid import UUID

from tests.contract.shop import Shop, ref
from worker.domain.recognition import Recognizer
from worker.domain.returned import Clues, Kind, Report, Returned
from worker.domain.tokens import Tokens
from worker.services.returning import Intake, Taken
from worker.store import recording
from worker.store.claims import Claim
from worker.store.recording import Ends

DOMAIN: Final = "shop.example"
RETIRED: Final = b"r" * 32
TOKENS: Final = Tokens([b"k" * 32, RETIRED])
WORDS: Final = "550 5.1.1 <***@***>: no such user"


def intake_of(shop: Shop) -> Intake:
    return Intake(shop.database, Recognizer(TOKENS, DOMAIN))


def told(shop: Shop, number: int = 1) -> list[Claim]:
    """Adds requests, and mails them."""
    _, claims = shop.claimed(number)
    record_told(shop, *claims)
    return claims


def claimed_together(shop: Shop, number: int = 3, email: str = "jane@example.com") -> list[Claim]:
    """Claims requests of one customer for one mail. The first one's is the mail."""
    wanted = [ref(f"item-{number}") for number in range(number)]
    for reference in wanted:
        shop.sign_up(reference, email)
        shop.tell(reference)
    first, *others = shop.claim(shop.owner(), *wanted).claims
    return [first, *(replace(claim, mail_id=first.id) for claim in others)]


def told_together(shop: Shop, number: int = 3, email: str = "jane@example.com") -> list[Claim]:
    """Adds requests of one customer, and tells them in one mail."""
    claims = claimed_together(shop, number, email)
    record_told(shop, *claims)
    return claims


def record_told(shop: Shop, *claims: Claim) -> None:
    shop.write(recording.record, Ends(told=list(claims)))


def return_token(claim: Claim) -> str:
    return TOKENS.for_return(claim.id, claim.claim_no)


def contact_of(shop: Shop, request_id: UUID) -> UUID:
    found: UUID = shop.row(request_id).contact_id
    return found


def report(
    kind: Kind,
    *tokens: str,
    message_id: str | None = None,
    recipient: str | None = None,
    arrival: str = "4bXqJ72p1Zz",
    words: str = WORDS,
) -> Report:
    said = Returned(kind, "5.1.1", 550, words, recipient)
    return Report([said], Clues(tokens, (message_id,) if message_id else ()), arrival, "RFC 3464")


def take(shop: Shop, *reports: Report, source: str = "maildir") -> list[Taken]:
    """Takes reports from messages that have no name."""
    return list(intake_of(shop).take([("", each) for each in reports], source))


def take_one(shop: Shop, one: Report) -> Taken:
    (taken,) = take(shop, one)
    return taken
