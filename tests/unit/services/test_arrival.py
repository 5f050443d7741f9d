"""A mail that arrived: what it shows of its authentication and of its way."""

import io
import random
from pathlib import Path

import pytest

from worker.domain.errors import BadFile
from worker.services.arrival import points_of, read_file

ID = "01934c4e-7a58-7d2b-8000-000000000001@shop.example"
RESULTS = (
    "Authentication-Results: mx.receiver.example;\r\n"
    "\tdkim=pass (2048-bit key) header.i=@shop.example header.s=s1;\r\n"
    "\tspf=pass smtp.mailfrom=bounces@shop.example;\r\n"
    "\tdmarc=pass (p=REJECT) header.from=shop.example\r\n"
)
SIGNATURE = (
    "DKIM-Signature: v=1; a=rsa-sha256; d=shop.example; s=s1;\r\n"
    "\th=From:To:Subject:List-Unsubscribe:List-Unsubscribe-Post; bh=x; b=y\r\n"
)
OUT = "List-Unsubscribe: <https://shop.example/u/x>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
REST = (
    f"Message-ID: <{ID}>\r\n"
    "From: Shop <shop@shop.example>\r\n"
    "Content-Type: text/html\r\n\r\n<a href='https://shop.example/u/x'>Leave</a>\r\n"
)
GOOD = f"Return-Path: <bounces@shop.example>\r\n{RESULTS}{SIGNATURE}{OUT}{REST}"


def checked(mail: str) -> dict[str, tuple[bool | None, str]]:
    file = io.BytesIO(mail.encode("utf-8", "surrogateescape"))
    return {point.rule: (point.is_kept, point.text) for point in points_of(read_file(Path("-"), file))}


def kept(mail: str) -> dict[str, bool | None]:
    return {rule: is_kept for rule, (is_kept, _) in checked(mail).items()}


def test_a_good_mail_keeps_all_rules() -> None:
    found = checked(GOOD)
    assert {rule: is_kept for rule, (is_kept, _) in found.items() if not is_kept} == {"results": None}
    assert found["results"][1] == "by mx.receiver.example, the receiver if it is yours"
    assert found["SPF"][1] == "pass, for shop.example"


@pytest.mark.parametrize(
    ("old", "new", "missed"),
    [
        ("spf=pass", "spf=softfail", {"SPF"}),
        ("dkim=pass", "dkim=fail", {"DKIM", "DKIM h="}),
        ("header.i=@shop.example", "header.d=relay.example", {"DKIM", "DKIM h="}),
        ("dmarc=pass", "dmarc=fail", {"DMARC"}),
        ("\tdmarc=pass (p=REJECT) header.from=shop.example\r\n", "", {"DMARC"}),
        (":List-Unsubscribe-Post;", ";", {"DKIM h="}),
        ("d=shop.example; s=s1", "d=other.example; s=s1", {"DKIM h="}),
        (SIGNATURE, "", {"DKIM h="}),
        (RESULTS, "", {"results"}),
        (OUT, "", {"unsubscribe", "one-click", "visible link"}),
        ("Return-Path: <bounces@shop.example>", "Return-Path: <x@relay.example>", {"alignment"}),
        ("<a href", "x" * 105_000 + "<a href", {"size"}),
        ("From: Shop", "X-Spam-Status: Yes, score=7.1 required=5\r\nFrom: Shop", {"spam filter"}),
        ("From: Shop", "X-Forefront-Antispam-Report: CIP:1.2.3.4;SFV:SPM;SCL:9;x\r\nFrom: Shop", {"spam filter"}),
        ("From: Shop", "X-Spam-Status: No, score=-1.9\r\nX-Spam-Score: -1.9\r\nFrom: Shop", set[str]()),
        ("From: Shop <shop@", "From: Shop <no-reply@", {"replies"}),
    ],
)
def test_what_is_wrong_is_found(old: str, new: str, missed: set[str]) -> None:
    assert old in GOOD
    assert {rule for rule, is_kept in kept(GOOD.replace(old, new, 1)).items() if is_kept is False} == missed


@pytest.mark.parametrize(
    "change",
    [
        (f"<{ID}>", "<0102018f-000000@eu-west-1.amazonses.com>"),
        (f"<{ID}>", f"<{ID.replace('shop.example', 'relay.example')}>"),
        (f"Message-ID: <{ID}>\r\n", ""),
    ],
)
def test_another_message_id_is_noted(change: tuple[str, str]) -> None:
    assert kept(GOOD.replace(*change))["Message-ID"] is None


def test_only_the_topmost_host_counts() -> None:
    forged = RESULTS.replace("mx.receiver.example", "mx.evil.example")
    failed = RESULTS.replace("=pass", "=fail")
    found = checked(GOOD.replace(RESULTS, failed + forged))
    assert (found["SPF"][0], found["DKIM"][0], found["DMARC"][0]) == (False, False, False)
    assert found["results"][1].endswith("those of mx.evil.example")


def test_a_host_may_write_a_field_for_each_method() -> None:
    fields = "".join(
        f"Authentication-Results: mx.receiver.example; {each}\r\n"
        for each in ("spf=pass smtp.mailfrom=shop.example", "dkim=pass header.d=shop.example", "dmarc=pass")
    )
    assert kept(GOOD.replace(RESULTS, fields)) == kept(GOOD)


def test_of_hosts_without_a_name_only_one_counts() -> None:
    top = "Authentication-Results: spf=pass smtp.mailfrom=shop.example\r\n"
    forged = "Authentication-Results: dkim=pass header.d=shop.example; dmarc=pass\r\n"
    found = kept(GOOD.replace(RESULTS, top + forged))
    assert (found["SPF"], found["DKIM"], found["DMARC"]) == (True, False, False)


def test_the_results_of_a_relay_before_the_receiver_do_not_count() -> None:
    assert kept(GOOD.replace("Authentication-Results", "ARC-Authentication-Results"))["results"] is False


def test_what_a_file_says_is_safe_to_show() -> None:
    evil = GOOD.replace("shop.example;\r\n", "sh\x1b[31mop\u202e.example;\r\n").replace("mx.", "\x1b]0;x\x07mx.")
    assert all(text.isprintable() and len(text) <= 300 for _, text in checked(evil).values())


@pytest.mark.parametrize("mail", ["", "\0" * 100, "no mail at all", "Subject: x\r\n\r\nhi", "From: nobody\r\n\r\n"])
def test_what_is_no_mail_is_refused(mail: str) -> None:
    with pytest.raises(BadFile, match="no mail"):
        checked(mail)


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.eml", Path("a\0b")):
        with pytest.raises(BadFile) as refused:
            read_file(path, io.BytesIO())
        assert str(refused.value).startswith(f"{path}: ")


def test_a_huge_file_is_read_at_its_beginning_only(tmp_path: Path) -> None:
    path = tmp_path / "huge.eml"
    with path.open("wb") as file:
        file.write(GOOD.encode())
        file.truncate(50 * 2**20)
    mail = read_file(path, io.BytesIO())
    assert mail.size == 50 * 2**20
    assert points_of(mail)


def test_a_damaged_mail_has_no_traceback() -> None:
    rng = random.Random(7)
    for _ in range(150):
        octets = bytearray(GOOD.encode())
        for _ in range(rng.randint(1, 30)):
            octets[rng.randrange(len(octets))] = rng.randrange(256)
        try:
            mail = read_file(Path("-"), io.BytesIO(octets))
        except BadFile:
            continue
        assert points_of(mail)
