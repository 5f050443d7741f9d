"""A customer leaves by the link in a mail while mails go out: it takes effect within the run."""

import asyncio
import re
from contextlib import closing
from email import message_from_bytes

from config.settings import SHIPPED_TEMPLATES
from tests.contract.lines import FlakyDatabase, line_of, serve_until_done
from tests.contract.mailing import SENDER
from tests.contract.web.site import Site
from tests.relay import ScriptedRelay
from worker.domain.relays import Mailbox
from worker.mail.letter import LetterWriter
from worker.mail.render import Renderer
from worker.mail.sources import Sources
from worker.models import Status
from worker.store import claims


def letters_of(site: Site) -> LetterWriter:
    """Returns a writer with the ways out that this installation has."""
    parts = site.context.parts
    renderer = Renderer(Sources(SHIPPED_TEMPLATES), "Shop")
    return LetterWriter(renderer, Mailbox("Shop", SENDER), None, tokens=parts.tokens, ways=parts.ways_out)


def test_who_leaves_in_the_middle_of_a_run_gets_no_mail_and_the_others_do(site: Site) -> None:
    ids = site.shop.waiting(8)
    tokens = site.context.parts.tokens
    assert tokens
    leaver = f"/u/{tokens.for_link(site.shop.row(ids[-1]).contact_id)}"

    async def run() -> None:
        with closing(FlakyDatabase(site.shop.url)) as database, ScriptedRelay() as server:
            database.follows(claims.claim, lambda: site.client.post(leaver, data={"List-Unsubscribe": "One-Click"}))
            async with line_of(
                site.shop, server, database=database, connections=1, claim_size=2, letters=letters_of(site)
            ) as line:
                await serve_until_done(line, site.shop)
            mails.extend(server.accepted)

    mails: list[object] = []
    asyncio.run(run())
    assert len(mails) == 7
    assert [site.shop.status(each) for each in ids] == [*[Status.NOTIFICATION_SENT] * 7, Status.FAILED]


def test_the_link_in_the_header_of_a_mail_is_one_that_is_answered(site: Site) -> None:
    (request_id,) = site.shop.waiting(1)

    async def run() -> bytes:
        with ScriptedRelay() as server:
            async with line_of(site.shop, server, letters=letters_of(site)) as line:
                await serve_until_done(line, site.shop)
            return server.accepted[0].content

    mail = message_from_bytes(asyncio.run(run()))
    found = re.fullmatch(r"<https://notify\.shop\.example(/u/[\w-]+)>", mail["List-Unsubscribe"])
    assert found
    assert site.client.post(found[1], data=dict([mail["List-Unsubscribe-Post"].split("=")])).status_code == 200
    (left,) = site.shop.ask("SELECT id, suppressed_why FROM contact WHERE suppressed_at IS NOT NULL", id="uuid")
    assert (left.id, left.suppressed_why) == (site.shop.row(request_id).contact_id, "unsubscribed")
