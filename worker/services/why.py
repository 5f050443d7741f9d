"""Why somebody was told or was not: the story of one request, and who is meant by an address and an item."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from worker.domain import reply_rules
from worker.domain.catalog import CatalogReference, compared_options, options_from_text
from worker.domain.errors import BadSetting, Refused
from worker.domain.stock import matches
from worker.domain.tokens import Tokens
from worker.models import Status
from worker.services.addresses import checked_address
from worker.services.spellings import other_spellings, unwrapped
from worker.services.story import Story, tell
from worker.services.story_words import CAUSES, at_words, count_words, item_words, options_words
from worker.store import contacts, stories
from worker.store.database import Connection, Database

LEASE_SECONDS = 60.0
"""A worker that was not seen for so long does not count as running, unless the settings say another time."""
MOST_SPELLINGS = 5
"""So many customers with other spellings are named."""


@dataclass(frozen=True, slots=True)
class Other:
    """A customer whose address is another spelling of the one that was asked for."""

    address: str
    requests: Sequence[Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """Who was found for an address and an item. Rows are those of `store.stories`, newest first."""

    address: str
    sentences: Sequence[str]
    """What there is to say without a story: nobody is known, or nobody asked for this."""
    requests: Sequence[Any] = ()
    """those that were asked for"""
    story: Story | None = None
    """of the one that was asked for, or of the newest of several, unresolved ones first"""
    nearest: Sequence[Any] = ()
    """other requests of this customer"""
    others: Sequence[Other] = ()
    contact: Any | None = None


def story(
    database: Database, request_id: UUID, *, lease: float = LEASE_SECONDS, rules: reply_rules.ReplyRules | None = None
) -> Story:
    """Returns the story of a request. Raises Refused if there is no such request, and DatabaseAway."""
    return database.read(_story, request_id, lease, rules)


def find(
    database: Database,
    address: str,
    reference: CatalogReference | None = None,
    *,
    tokens: Tokens | None = None,
    lease: float = LEASE_SECONDS,
    rules: reply_rules.ReplyRules | None = None,
) -> Answer:
    """Returns what is known of a customer and an item: the story, or the nearest requests.

    Blanks, a name or `mailto:` around the address do no harm. With options, requests for just these count. Raises
    BadAddress and DatabaseAway.
    """
    normalised = checked_address(unwrapped(address)).lower()
    return database.read(_find, normalised, reference, tokens, lease, rules)


def _story(c: Connection, request_id: UUID, lease: float, rules: reply_rules.ReplyRules | None) -> Story:
    known = stories.read(c, request_id, lease)
    if known is None:
        raise Refused(f"no such request: {request_id}")
    return tell(known, rules or reply_rules.in_force())


def _find(
    c: Connection,
    address: str,
    reference: CatalogReference | None,
    tokens: Tokens | None,
    lease: float,
    rules: reply_rules.ReplyRules | None,
) -> Answer:
    known = stories.contacts(c, [address, *other_spellings(address)])
    contact = known.pop(address, None)
    others = [Other(row.address, stories.of_contact(c, row.id, most=MOST_SPELLINGS)) for row in known.values()]
    answer = Answer(address, (), others=[other for other in others if other.requests][:MOST_SPELLINGS], contact=contact)
    if contact is None:
        return replace(answer, sentences=[_unknown(c, address, tokens)])
    rows = stories.of_contact(c, contact.id)
    asked = _asked_for(c, contact.id, rows, reference)
    nearest = [row for row in rows if row.id not in {each.id for each in asked}]
    if not asked:
        return replace(answer, sentences=[*_nothing(contact, nearest, reference)], nearest=nearest)
    first = next((row for row in asked if row.status in (Status.RECEIVED, Status.PROCESSING)), asked[0])
    return replace(answer, requests=asked, nearest=nearest, story=_story(c, first.id, lease, rules))


def _asked_for(c: Connection, contact_id: UUID, rows: Sequence[Any], reference: CatalogReference | None) -> list[Any]:
    if reference is None:
        return list(rows)
    # Of an item of which there are more than the newest ones, the rest is read too.
    of_item = stories.of_contact(c, contact_id, reference.item)
    if not reference.options:
        return list(of_item)
    exactly = [row for row in of_item if _options(row) == reference.options]
    return exactly or [row for row in of_item if matches(_options(row), reference.options)]


def _options(row: Any) -> Any:
    return compared_options(row.options_key or row.options)


def _unknown(c: Connection, address: str, tokens: Tokens | None) -> str:
    try:
        why = contacts.erased(c, [address], tokens).get(address)
    except BadSetting:
        why = None
    if why:
        return f"A customer with this address was erased. They {CAUSES.get(why, why)}, and get no mail."
    return "Nobody with this address has asked for anything. A request that was deleted leaves no trace."


def _nothing(contact: Any, nearest: Sequence[Any], reference: CatalogReference | None) -> Sequence[str]:
    """What to say of a customer who has no request for what was asked."""
    sentences = []
    if contact.suppressed_at:
        why = CAUSES.get(contact.suppressed_why, contact.suppressed_why)
        by = f", as {contact.suppressed_by} told" if contact.suppressed_by else ""
        sentences.append(f"The customer gets no mail since {at_words(contact.suppressed_at)}: they {why}{by}.")
    if not nearest:
        since = at_words(contact.created_date)
        sentences.append(
            f"The address is known since {since}, but has no request now. A deleted request leaves no trace."
        )
        return sentences
    if reference is not None:
        sentences.append(_other_request(nearest, reference))
    return sentences


def _other_request(nearest: Sequence[Any], reference: CatalogReference) -> str:
    item = reference.item
    same = [row for row in nearest if (row.app_id, row.catalog_item_id) == (item.app_id, item.catalog_item_id)]
    if same:
        asked = " and ".join(dict.fromkeys(options_words(options_from_text(row.options)) or "any" for row in same[:3]))
        return f"The customer asked for {asked}, not for {options_words(reference.spelled)}."
    if named := next((row for row in nearest if item.catalog_item_id.casefold() == (row.name or "").casefold()), None):
        return f"{item.catalog_item_id} is a name: the id of that item is {named.catalog_item_id}."
    names = ", ".join(dict.fromkeys(_item_and_id(row) for row in nearest[:3]))
    more = f" and {count_words(len(nearest) - 3, 'other request')}" if len(nearest) > 3 else ""
    return (
        f"The customer never asked for an item with the id {item.catalog_item_id}, or it was deleted. "
        f"They asked for {names}{more}."
    )


def _item_and_id(row: Any) -> str:
    """An item as people know it, and as commands do."""
    return f"{item_words(row)} (its id is {row.catalog_item_id})" if row.name else item_words(row)
