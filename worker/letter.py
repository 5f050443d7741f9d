"""One customer's mail: from a claim to the bytes that the relay gets, or the reason why there is none."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol
from urllib.parse import quote
from uuid import UUID

from worker.catalog import options_from_text
from worker.errors import BadAddress, TemplateBroken
from worker.mailer import Mail
from worker.message import compose, envelope_address
from worker.outcomes import Failed, FailureCode
from worker.relay import Mailbox
from worker.render import MailContext, Renderer
from worker.store.claims import Claim


class ItemFacts(Protocol):
    """What a mail may say of an item: a row of `store.claims.items`."""

    catalog_item_id: str
    options: str
    name: str | None
    price: str | None
    currency: str | None
    image_url: str | None
    url: str | None


@dataclass(frozen=True, slots=True)
class Held:
    """The mail can't be made, and that is our fault: the request waits until the template is mended."""

    reason: str


class LetterWriter:
    """Writes mails; one for each process."""

    def __init__(
        self,
        renderer: Renderer,
        sender: Mailbox,
        item_url_template: str | None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._renderer = renderer
        self._sender = sender
        self._item_url_template = item_url_template
        self._now = now

    def write(self, claim: Claim, item: ItemFacts) -> Mail | Failed | Held:
        """The mail for this claim."""
        url = claim.item_url or item.url or self._made_up_url(item)
        if url is None:
            return Failed(FailureCode.MISSING_ITEM_URL, claim.tries, "no itemUrl in request or event")
        try:
            recipient = envelope_address(claim.email)
            return Mail(claim.id, recipient, self._content(claim.id, recipient, claim.locale, item, url))
        except BadAddress as error:
            return Failed(FailureCode.INVALID_ADDRESS, claim.tries, str(error))
        except TemplateBroken as error:
            return Held(str(error))

    def _content(self, request_id: UUID, recipient: str, locale: str | None, item: ItemFacts, url: str) -> bytes:
        context = MailContext(
            item_url=url,
            catalog_item_id=item.catalog_item_id,
            options=_options(item.options),
            item_name=item.name,
            price=item.price,
            currency=item.currency,
            image_url=item.image_url,
        )
        rendered, used = self._renderer.render(context, locale)
        return compose(
            rendered,
            request_id=request_id,
            sender=self._sender,
            recipient=recipient,
            date=self._now(),
            locale=used,
        )

    def _made_up_url(self, item: ItemFacts) -> str | None:
        if self._item_url_template is None:
            return None
        return self._item_url_template.replace("{catalogItemId}", quote(item.catalog_item_id, safe=""))


def _options(text: str) -> Mapping[str, str]:
    return dict(options_from_text(text)) if text != "{}" else {}
