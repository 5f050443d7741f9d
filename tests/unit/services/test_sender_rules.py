"""Which rules for senders a mail keeps, before it is sent."""

import pytest

from worker.services.sender_rules import GMAIL_CLIPS, points_of

TOKEN = "0" * 42
MAILTO = f"mailto:bounces+{TOKEN}@shop.example?subject=unsubscribe"
HTTPS = "https://shop.example/u/x"
BODIES = (
    "--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nBack! {link}\r\n"
    "--b\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    '<p>Back!</p><a href=3D"{link}">Leave</a>\r\n--b--\r\n'
)


def mail(*headers: str, sender: str = "Shop <shop@shop.example>", link: str = "", more: str = "") -> bytes:
    lines = [f"From: {sender}", *headers, "Content-Type: multipart/alternative; boundary=b", "", ""]
    return ("\r\n".join(lines) + BODIES.replace("{link}", link + more)).encode()


def kept(message: bytes, return_path: str = "bounces@shop.example") -> dict[str, bool | None]:
    return {point.rule: point.is_kept for point in points_of(message, return_path)}


def test_a_mail_without_a_way_out_misses_three_rules() -> None:
    assert kept(mail()) == {
        "unsubscribe": False,
        "one-click": False,
        "visible link": False,
        "replies": True,
        "alignment": True,
        "size": True,
        "SPF, DKIM, DMARC": None,
    }


def test_a_mailto_is_a_way_out_but_not_with_one_click() -> None:
    found = kept(mail(f"List-Unsubscribe:\r\n <{MAILTO}>", link=MAILTO))
    assert (found["unsubscribe"], found["one-click"], found["visible link"]) == (True, False, True)
    by_hand = mail(f"List-Unsubscribe: <{MAILTO}>", link=f"bounces+{TOKEN}@shop.example")
    assert kept(by_hand)["visible link"] is True


def test_a_mail_keeps_all_rules() -> None:
    headers = [f"List-Unsubscribe: <{HTTPS}>,\r\n <{MAILTO}>", "List-Unsubscribe-Post: List-Unsubscribe=One-Click"]
    found = kept(mail(*headers, link=HTTPS))
    assert {rule: found[rule] for rule in found if not found[rule]} == {"SPF, DKIM, DMARC": None}


@pytest.mark.parametrize("post", ["", "list-unsubscribe=one-click", "List-Unsubscribe=One-Click, x"])
def test_one_click_has_to_be_said_exactly(post: str) -> None:
    assert kept(mail(f"List-Unsubscribe: <{HTTPS}>", f"List-Unsubscribe-Post: {post}"))["one-click"] is False


def test_the_link_has_to_be_in_both_bodies() -> None:
    message = mail(f"List-Unsubscribe: <{HTTPS}>", link=HTTPS).replace(b"Back! https://shop.example/u/x", b"Back!")
    assert kept(message)["visible link"] is False


@pytest.mark.parametrize(
    ("sender", "headers", "expected"),
    [
        ("Shop <no-reply@shop.example>", [], False),
        ("noreply@shop.example", [], False),
        ("Do Not Reply <do_not_reply@shop.example>", [], False),
        ("help@casino-reply.example", [], True),
        ("noreply@shop.example", ["Reply-To: help@shop.example"], True),
        ("shop@shop.example", ["Reply-To: NoReply@shop.example"], False),
    ],
)
def test_somebody_should_read_answers(sender: str, headers: list[str], expected: bool) -> None:
    assert kept(mail(*headers, sender=sender))["replies"] is expected


def test_the_return_path_should_be_of_the_same_organization() -> None:
    assert kept(mail(), "x@mail.shop.example")["alignment"] is True
    assert kept(mail(), "x@relay.example")["alignment"] is False
    assert kept(mail(sender='"x@relay.example" <shop@shop.example>'), "x@relay.example")["alignment"] is False


def test_a_large_mail_is_clipped() -> None:
    assert kept(mail(more="x" * (GMAIL_CLIPS - 200)))["size"] is True
    assert kept(mail(more="x" * GMAIL_CLIPS))["size"] is False
