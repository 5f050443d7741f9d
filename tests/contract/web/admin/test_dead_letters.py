"""The page "Dead letters". On PostgreSQL, with a real Redis."""

import json
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.contract.shop import Shop
from tests.contract.web.admin.trail import trail
from tests.contract.web.site import Site, pages_over
from tests.redis_server import RedisServer
from worker.domain.admins import Role
from worker.stream.entries import Entry
from worker.stream.event_stream import Stream

EVENTS = "inventory:events"
MISSING, OLD = "catalogItemId is missing", "a form that is read today"
HOSTILE = "<script>alert(1)</script>"
GOOD = {b"catalogItemId": b"mug-1", b"quantity": b"5"}


@pytest.fixture
def stream(redis_server: RedisServer) -> Iterator[Stream]:
    with closing(Stream(redis_server.url, EVENTS, consumer="me")) as stream:
        stream.read(1, 0)
        yield stream


def buried(stream: Stream, *letters: tuple[dict[bytes, bytes], str]) -> list[str]:
    """Makes dead letters of these events. Returns their ids, newest first."""
    for fields, reason in letters:
        entry = stream.publish({name.decode(): value.decode(errors="replace") for name, value in fields.items()})
        stream.dead_letters.bury([(Entry(entry, fields), reason)])
    return [letter.id for letter in reversed(stream.dead_letters.newest(len(letters)))]


def test_letters_are_grouped_by_reason_and_say_what_todays_program_makes_of_them(site: Site, stream: Stream) -> None:
    buried(stream, ({b"quantity": b"5"}, MISSING), ({b"quantity": b"6"}, MISSING), (GOOD, OLD))
    site.log_in(Role.VIEWER)
    page = site.client.get("/admin/dead-letters").text
    assert "3 dead letters" in page
    assert page.index(MISSING) < page.index(OLD)  # most first
    assert page.count("still can’t be read") == 2
    assert page.count("can be read now") == 1
    assert "&#34;mug-1&#34;, the whole item: in stock, quantity 5" in page
    assert "<button" not in page.partition("<main")[2]
    one_reason = site.client.get("/admin/dead-letters", params={"reason": OLD}).text
    assert one_reason.count("<article") == 1


def test_nothing_that_an_event_says_is_executed(site: Site, stream: Stream) -> None:
    text = json.dumps({"catalogItemId": HOSTILE, "x": "\ud800", "long": "y" * 9000}).encode()
    letter, *_ = buried(stream, ({b"event": text, b"<img src=x>": b"\xff\x00"}, HOSTILE))
    site.log_in()
    for path in ("/admin/dead-letters", f"/admin/dead-letters/{letter}"):
        page = site.client.get(path)
        assert page.status_code == 200
        assert HOSTILE not in page.text
        assert "&lt;script&gt;" in page.text
        assert "<img src=x>" not in page.text


def test_pages_go_back_by_the_letters_id(site: Site, stream: Stream) -> None:
    ids = buried(stream, *[({b"quantity": b"5"}, MISSING)] * 60)
    site.log_in()
    first = site.client.get("/admin/dead-letters").text
    assert first.count("<article") == 50
    assert "60 dead letters" in site.client.get("/admin/dead-letters").text  # counted once, and kept
    assert f"before={ids[49]}" in first
    second = site.client.get("/admin/dead-letters", params={"before": ids[49]}).text
    assert second.count("<article") == 10
    assert f'id="letter-{ids[50]}"' in second
    stream.dead_letters.drop(ids[-1:])
    assert "59 dead letters" in site.client.get("/admin/dead-letters").text


def test_one_letter_is_replayed_and_the_trail_says_so(site: Site, shop: Shop, stream: Stream) -> None:
    letter, bad = buried(stream, ({b"quantity": b"5"}, MISSING), (GOOD, OLD))
    site.log_in()
    shop.sign_up()
    assert "1 who waits" in site.client.get(f"/admin/dead-letters/{letter}").text
    answer = site.client.post("/admin/dead-letters/replay", data={"id": letter}, follow_redirects=False)
    assert answer.status_code == 303
    assert "1 dead letter was replayed" in site.client.get(answer.headers["Location"]).text
    assert stream.dead_letters.count() == 1
    done = trail(shop)[-1]
    assert (done.who, done.verb, done.changed) == ("ada", "dead-letters replay", 1)
    assert done.about == {"letters": [letter]}
    refused = site.client.post("/admin/dead-letters/replay", data={"id": bad})
    assert refused.status_code == 404
    assert MISSING in refused.text
    assert len(trail(shop)) == 1


def test_more_than_one_is_replayed_after_a_page_with_the_number(site: Site, shop: Shop, stream: Stream) -> None:
    buried(stream, (GOOD, OLD), (GOOD, OLD), (GOOD, "another"), ({b"quantity": b"5"}, OLD))
    site.log_in()
    sure = site.client.post("/admin/dead-letters/replay", data={"reason": OLD}).text
    assert "Replay 2<" in sure
    assert MISSING in sure  # why one of them stays
    assert stream.dead_letters.count() == 4
    upto = sure.partition('name="upto" value="')[2].partition('"')[0]
    buried(stream, (GOOD, OLD))  # comes after the count
    answer = site.client.post("/admin/dead-letters/replay", data={"reason": OLD, "upto": upto, "sure": "yes"})
    assert "2 dead letters were replayed, 1 can still not be read" in answer.text
    assert stream.dead_letters.count() == 3
    done = trail(shop)[-1]
    assert (done.changed, done.refused, done.about) == (2, 1, {"reason": OLD})
    everything = site.client.post("/admin/dead-letters/replay").text
    assert "Replay 2<" in everything


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/admin/dead-letters?before=nonsense", 400),
        ("/admin/dead-letters?before=99999999999999999999-0", 400),
        ("/admin/dead-letters?reason=%00&done=x&left=-1", 200),
        ("/admin/dead-letters/nonsense", 404),
        ("/admin/dead-letters/1-0", 404),
    ],
)
def test_nonsense_is_answered(site: Site, path: str, status: int) -> None:
    site.log_in()
    assert site.client.get(path).status_code == status
    for form in ({"upto": "nonsense", "reason": ""}, {"upto": "9-9"}, {"upto": "9-9", "raeson": OLD}):
        post = site.client.post("/admin/dead-letters/replay", data={"sure": "yes", **form})
        assert post.status_code == 400, "a reason that is missing is not every reason"


def test_viewers_replay_nothing(site: Site, stream: Stream) -> None:
    letter, *_ = buried(stream, (GOOD, OLD))
    site.log_in(Role.VIEWER)
    assert site.client.post("/admin/dead-letters/replay", data={"id": letter}).status_code == 403
    assert stream.dead_letters.count() == 1


def test_the_page_says_that_redis_is_away(shop: Shop) -> None:
    with pages_over(shop) as site:
        site.log_in()
        page = site.client.get("/admin/dead-letters")
        assert page.status_code == 503
        assert "Redis can’t be asked" in page.text
        assert site.client.post("/admin/dead-letters/replay", data={"id": "1-0"}).status_code == 503


def test_an_empty_page_says_what_will_appear(site: Site) -> None:
    site.log_in()
    assert "every event so far could be read" in site.client.get("/admin/dead-letters").text
