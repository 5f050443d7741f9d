"""The pages that links in mails lead to, in Chromium: how they look to people, and that they need no JavaScript."""

import email
import os
import re
import shutil
from collections.abc import Iterator
from email.policy import default
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import pytest

from tests.polling import eventually
from tests.web.conftest import SECRET, Site, site_on
from worker.domain.tokens import Tokens

LOOKS: Final = ("light", "dark", "narrow", "rightToLeft")
PERSON: Final = "page@people.example"
WORDS: Final = {"stopAll": "Stop all back-in-stock mails", "takeBack": "Take that back", "erase": "Erase my data"}


@pytest.fixture(scope="module")
def asking_site(in_pages: None, migrated_sqlite: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A web process that asks everybody to confirm."""
    folder = tmp_path_factory.mktemp("asking")
    url = f"sqlite:///{shutil.copy(migrated_sqlite, folder / 'stockbell.db')}"
    with site_on(url, folder, STOCKBELL_DOUBLE_OPT_IN="on") as opened:
        yield opened


def link_in_mail(site: Site) -> str:
    """Returns the link of the mail that asks to confirm, once it is there."""
    mails = site.program.relay.accepted
    eventually(lambda: [mail for mail in mails if mail.recipient == PERSON], until="the mail is there")
    text = email.message_from_bytes(mails[0].content, policy=default).get_body(("plain",))
    assert text
    found = re.search(rf"https://{site.host}/confirm/\S+", text.get_content())
    assert found
    return found[0]


@pytest.fixture(scope="module")
def seen(asking_site: Site) -> Any:
    """What people.mjs saw and did, on the pages of one person. PICTURES=folder keeps pictures."""
    made = asking_site.run("sign_up.mjs", email=PERSON)
    leave = f"https://{asking_site.host}/u/{Tokens([SECRET.encode()]).for_link(UUID(made['contactId']))}"
    links = {"confirm": link_in_mail(asking_site), "leave": leave, "unknown": f"{leave}x"}
    return asking_site.run("people.mjs", links=links, words=WORDS, pictures=os.environ.get("PICTURES"))


def test_each_page_is_accessible_fits_and_keeps_to_its_policy_however_it_is_looked_at(seen: Any) -> None:
    looks = seen["looks"]
    for look in LOOKS:
        watched = looks.pop(look)
        assert (watched["violations"], watched["foreign"]) == ([], []), look
        assert [each for each in watched["errors"] if "404" not in each] == [], look
    assert len(looks) == 3 * len(LOOKS)
    for name, each in looks.items():
        assert each["axe"] == [], name
        assert not each["isTooWide"], name
        assert each["status"] == (404 if name.startswith("unknown") else 200), name
        assert each["dir"] == ("rtl" if name.endswith("rightToLeft") else "ltr"), name


def test_without_javascript_a_person_confirms_leaves_comes_back_and_is_erased(seen: Any) -> None:
    assert seen["used"] == {
        "asked": "Please confirm",
        "confirming": [200, "Thank you, it is confirmed"],
        "leaving": [200, "Done. All of these mails are stopped."],
        "takingBack": [200, "Done. Everything is as it was before."],
        "erasing": [200, "Erase your data?"],
        "erased": [200, "We hold nothing about you"],
    }
    assert (seen["violations"], seen["foreign"]) == ([], [])
