"""The one-time link: once, for ten minutes, and only this one."""

from worker.web.first_link import LINK_SECONDS, FirstLink


def test_a_link_is_good_until_it_is_used_or_too_old() -> None:
    now = 0.0
    link = FirstLink(lambda: now)
    assert not link.is_good("")
    old = link.issue()
    assert link.is_good(old)
    assert not link.is_good(f"{old}x")
    now = LINK_SECONDS
    assert not link.is_good(old)
    new = link.issue()
    assert link.is_good(new)
    assert not link.is_good(old)
    link.use_up()
    assert not link.is_good(new)
    assert not link.is_good("")
