"""What reports mean: every row of the table, what codes alone mean, and whose words come first."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.domain import reply_rules
from worker.domain.bounces import MAY_COME_BACK, TABLE, Judged, Said, is_dead, judge, rules
from worker.domain.replies import parse_reply
from worker.domain.reply_rules import Blame, Rule, read, shipped, with_own
from worker.domain.returned import Kind

ROWS = read(TABLE)
EXAMPLES = [(rule, example) for rule in ROWS for example in rule.examples]
NAMED = [f"{rule.name}-{number}" for rule in ROWS for number, _ in enumerate(rule.examples, 1)]
FAILED = Said(action="failed", status=None, code=550, words="", system=None)


def kind_of(words: str, **changes: object) -> Kind:
    return judge(replace(FAILED, words=words, **changes)).kind  # type: ignore[arg-type] # the fields of Said


@pytest.fixture
def _own_rows(tmp_path: Path) -> Iterator[None]:
    own = tmp_path / "own.toml"
    own.write_text('[[rule]]\nname = "ours"\ncode = "550"\nwords = ["parti sans laisser"]\nblames = "recipient"\n')
    before = reply_rules.in_force()
    reply_rules.use(with_own(own))
    yield
    reply_rules.use(before)


# The table.


@pytest.mark.parametrize(("rule", "example"), EXAMPLES, ids=NAMED)
def test_each_row_decides_its_examples(rule: Rule, example: str) -> None:
    reply = parse_reply(example)
    found = judge(Said("failed", None, reply.code, reply.text, None))
    assert found == Judged(Kind.DEAD if is_dead(rule) else Kind.FAILED, rule.name, rule.source, rule.blames.value)


def test_each_row_has_words_an_example_a_source_and_a_name_of_its_own() -> None:
    assert [rule.name for rule in ROWS if not rule.words or not rule.examples or not rule.source] == []
    assert {rule.name for rule in ROWS} & {rule.name for rule in shipped().rules} == set()


def test_rows_for_replies_that_do_not_mean_a_dead_address_exist_and_blame_the_recipient() -> None:
    certain = {rule.name for rule in shipped().rules if rule.blames is Blame.RECIPIENT}
    assert certain >= MAY_COME_BACK


def test_what_blames_others_in_replies_never_means_a_dead_address() -> None:
    told_of_others = [
        (rule.name, example)
        for rule in shipped().rules
        for example in rule.examples
        if rule.blames not in {Blame.RECIPIENT, Blame.MAILBOX} and rule.name != "mailbox-unavailable-or-refused"
    ]
    found = [(name, judge(_said(example)).rule) for name, example in told_of_others]
    dead = {rule.name for rule in rules().rules if is_dead(rule)}
    assert [pair for pair in found if pair[1] in dead] == []


def _said(reply: str) -> Said:
    parsed = parse_reply(reply)
    return Said("failed", parsed.enhanced, parsed.code, parsed.text, None)


# Kinds.


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (Said("delivered", "2.0.0", None, "250 ok", None), Kind.DELIVERED),
        (Said("relayed", "2.0.0", None, "", None), Kind.DELIVERED),
        (Said("expanded", None, None, "", None), Kind.DELIVERED),
        (Said(None, "2.6.0", None, "Message received", None), Kind.DELIVERED),
        (Said("delayed", "4.4.1", None, "connection timed out", None), Kind.DELAYED),
        (Said("delayed", "5.1.1", 550, "5.1.1 User unknown", None), Kind.DELAYED),
        (Said(None, "4.2.2", 452, "4.2.2 mailbox full", None), Kind.DELAYED),
        (Said(None, None, 451, "try later", None), Kind.DELAYED),
        (Said(None, "4.4.7", None, "", None), Kind.DELAYED),
        (Said("failed", "4.4.7", None, "delivery time expired", None), Kind.FAILED),
        (Said("failed", None, None, "", None), Kind.FAILED),
        (Said(None, None, None, "", None), Kind.FAILED),
    ],
)
def test_the_action_comes_first_and_then_the_class_of_the_codes(said: Said, kind: Kind) -> None:
    assert judge(said).kind is kind


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("5.1.1", Kind.DEAD),
        ("5.1.2", Kind.DEAD),
        ("5.1.10", Kind.DEAD),
        ("5.1.6", Kind.DEAD),
        ("5.1.8", Kind.FAILED),
        ("5.1.0", Kind.FAILED),
        ("5.0.0", Kind.FAILED),
        ("5.2.1", Kind.FAILED),
        ("5.2.2", Kind.FAILED),
        ("5.4.7", Kind.FAILED),
        ("5.7.1", Kind.FAILED),
    ],
)
def test_a_status_without_words_means_a_dead_address_only_where_it_says_so(status: str, kind: Kind) -> None:
    assert kind_of("", status=status, code=None) is kind
    assert kind_of(f"{status} hm", status=status) is kind


def test_a_status_that_a_reporter_made_up_for_words_that_nobody_knows_is_not_believed() -> None:
    assert kind_of("Nope, sorry", status="5.1.1") is Kind.FAILED
    assert kind_of("", status="5.1.1") is Kind.DEAD
    assert kind_of("<jane@example.com>", status="5.1.1") is Kind.DEAD


@pytest.mark.parametrize(
    "words",
    [
        "5.1.1 <jane@example.com>: mailbox is full",
        "5.1.1 <jane@example.com> has sent to too many recipients this hour. IB607",
        "5.1.1 message blocked for policy reasons",
        "5.1.1 Sender address rejected: User unknown in local recipient table",
        "5.1.8 Domain of sender address shop@shop.example does not exist",
        "5.2.1 The user is receiving mail too quickly",
        "5.1.1 Relaying denied",
        "5.1.1 Your message looks like spam",
        "5.7.26 Unauthenticated email from shop.example is not accepted due to domain's DMARC policy",
        "Requested action not taken: mailbox unavailable or access denied",
        "RESOLVER.RST.AuthRequired; authentication required",
    ],
)
def test_a_living_address_stays_whatever_the_code(words: str) -> None:
    assert kind_of(words) is Kind.FAILED


def test_a_refusal_for_now_that_was_repeated_to_the_end_counts_by_its_words_alone() -> None:
    assert kind_of("4.1.1 Recipient address rejected: User unknown", status="4.1.1", code=450) is Kind.DEAD
    assert kind_of("4.1.1 Something else", status="4.1.1", code=450) is Kind.FAILED
    assert kind_of("Requested action not taken: mailbox unavailable", code=450) is Kind.FAILED
    assert kind_of("4.4.3 Host or domain name not found. Host not found, try again", code=450) is Kind.FAILED


def test_no_codes_are_needed_where_the_words_are_known() -> None:
    assert kind_of("Sorry, no mailbox here by that name.", code=None) is Kind.DEAD
    assert kind_of("delivery retry timeout exceeded", code=None) is Kind.FAILED


# Words as systems, hosts and providers say them, beyond the rows' examples.

NOBODY_IS_THERE = (
    "550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient jane@example.com not found by SMTP address lookup",
    "552 1 Requested mail action aborted, mailbox not found",
    "550 5.1.1 unknown or illegal alias: jane@example.com",
    "550 Requested action not taken: mailbox unavailable",
    "550 5.1.1 <jane@example.com>: Recipient address rejected: User unknown",
    "550 5.1.1 <jane@example.com>: Recipient address rejected: User unknown in relay recipient table",
    "550 5.7.1 No such user!",
    "550 User not found: jane@example.com",
    "550 Unknown user jane@example.com",
    "550 5.1.1 Not our Customer",
    "550 4.2.1 mailbox unavailable: user unknown",
    "550 5.1.1 <jane@example.com>: Email address could not be found, or was misspelled (G8)",
    "550 5.1.0 Address rejected.",
    "550 Recipient not found. <http://x.co/irbounce>",
    "550 Invalid Recipient - https://community.mimecast.com/docs/DOC-1369#550",
    "550 5.1.1 <jane@example.com>: Recipient address rejected: User unknown in virtual mailbox table",
    "553 5.1.1 No such user",
    "550 unrouteable address",
    "550-5.1.1 Recipient address lookup failed: user unknown",
    "5.4.4 Host or domain name not found. Name service error for name=example.invalid type=AAAA: Host not found",
    "Domain example.com has no MX records or is invalid: NXDOMAIN",
    "556 5.1.10 Recipient address has null MX",
    "550 5.4.310 DNS domain example.invalid does not exist [Message=InfoDomainNonexistent]",
    "Sorry, I couldn't find any host named example.invalid. (#5.1.2)",
    "User jane (jane@example.com) not listed in Domino Directory",
    "jane wasn't found at example.com.",
    "mail for jane: user unknown",
    "user is no longer employed here",
    "550 5.2.1 This mailbox has been deleted",
    "550 no mailbox by that name is currently available",
    "550 Domain does not exist",
    "550 5.1.1 Invalid mailbox: jane@example.com",
    "554 Unknown recipient address jane@example.com",
    "550 5.1.1 <jane@example.com> User not known",
    "550 Address unknown",
    "550 that user does not exist",
    "550 5.1.3 bad address syntax",
    "アドレスが見つからないか、メールを受信できないため、jane@example.com にメールを配信できませんでした。",
    "找不到 jane@example.com 这个地址，或该地址无法接收邮件",
    "Diese E-Mail-Adresse konnte nicht gefunden werden: Der Empfänger jane wurde in example.com nicht gefunden",
    "Empfänger unbekannt",
    "Usuário não encontrado",
    "Utente sconosciuto",
    "Пользователь с таким адресом не найден",
    "550 宛先のメールアドレスが存在しません",
    "550 無此使用者",
    "User jane@example.com doesn't have an account here",
    "jane@example.com: 550 No such person at this address",
    "550 5.1.1 Recipient's address is not on this server",
    "550 Sorry, that user isn't here",
    "550 5.1.1 Recipient unknown",
    "550-The recipient's email address no longer exists",
    "No such mailbox",
    "550 Empfaengeradresse unbekannt",
    "The following address does not exist on our server",
)
SOMEBODY_MAY_BE_THERE = (
    "552-5.2.2 The email account that you tried to reach is over quota and inactive",
    "550-5.7.26 This mail has been blocked because the sender is unauthenticated",
    "550 5.7.606 Access denied, banned sending IP [192.0.2.1]",
    "554 5.2.2 mailbox full;STOREDRV.Deliver.Exception:QuotaExceededException",
    "550 4.4.7 QUEUE.Expired; message expired",
    "550 5.4.14 Hop count exceeded - possible mail loop",
    "421 4.7.0 [TSS04] Messages from 192.0.2.1 temporarily deferred due to user complaints",
    "554 5.7.9 Message not accepted for policy reasons. See https://postmaster.yahooinc.com/error-codes",
    "554 5.7.1 [HM08] Message rejected due to local policy",
    "550 5.2.0 Mail rejete. Mail rejected. OFR_506 [506]",
    "554 5.7.1 [2] Message rejected under suspicion of SPAM",
    "550 Mailbox unavailable or access denied",
    "554 DT:SPM 163 smtp7",
    "552 5.2.0 Message blocked due to suspicious content",
    "553 sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)",
    "550 Administrative prohibition",
    "550 5.1.8 <shop@shop.example>: Sender address rejected: Domain not found",
    "554 5.1.8 Domain of sender address shop@shop.example does not exist",
    "550 Sender domain does not exist",
    "550 Denied by policy",
    "550 Rejected",
    "550 Message contains a virus",
    "554 5.6.0 message content rejected",
    "554 5.3.0 Internal error",
    "554 5.4.0 Error: too many hops",
    "lowest numbered MX record points to local host",
    "all hosts for 'example.com' have been failing for a long time (and retry time not reached)",
    "Connection refused",
    "lost connection with mx.example.com while sending end of data",
    "Host or domain name not found. Name service error for name=example.com type=MX: Host not found, try again",
    "550 550 User account is suspended",
    "550 5.2.1 Mailbox disabled for this recipient",
    "550 Mailbox is full / Blocks limit exceeded / Inode limit exceeded",
    "550 This account has not been activated yet",
    "554 5.7.1 Helo command rejected: Host not found",
    "550 Greylisted, please come again in 5 minutes",
    "550 Your message was rejected by the recipient's content filter",
    "550 permanent failure for one or more recipients (jane@example.com:blocked)",
    "550 No RDNS entry for 192.0.2.1",
    "550 The group waiting only accepts messages from people in its organization",
    "550 Too many invalid recipients",
    "503 valid RCPT command must precede DATA",
    "501 Syntax error in parameters or arguments",
    "550 5.2.0 STOREDRV.Deliver.Exception:CorruptDataException",
    "550 5.0.350 Remote server returned an error -> 554 5.7.1 spam",
    "550 5.1.1 Sender's domain example.invalid does not exist",
    "550 Return address does not exist",
    "550 EHLO hostname not found",
    "550 No MX record found for your sender domain",
    "550 5.7.1 Your message to jane was blocked because you are not a member of the list",
    "550 5.7.1 Mail from unknown user agent",
    "550 We do not accept mail for this user from unauthenticated hosts",
    "550 account jane is over quota; no such space",
    "550 mailbox unavailable (Spam filter)",
    "550 unknown error",
    "550 5.7.1 No such policy",
    "550 The URL in your message does not exist",
    "Das Postfach ist voll",
    "El buzón del destinatario está lleno",
    "A caixa postal do destinatário está cheia",
    "收件人的邮箱已满",
    "메일함이 가득 찼습니다",
    "Le message a été refusé pour raison de politique",
    "您的邮件被拒绝 垃圾邮件",
    "550 5.2.1 Mailbox temporarily disabled: user unknown to billing",
    "550 5.1.1 rejected by content filter",
    "550 5.1.1 mailbox quota exceeded",
)


def _as_quoted(text: str) -> Said:
    """Returns what a report says that quotes this text, with its code if it begins with one."""
    code, _, words = text.partition(" ")
    return Said("failed", None, int(code), words, None) if code.isdecimal() else Said("failed", None, None, text, None)


@pytest.mark.parametrize("text", NOBODY_IS_THERE)
def test_words_that_say_that_nobody_is_there(text: str) -> None:
    assert judge(_as_quoted(text)).kind is Kind.DEAD


@pytest.mark.parametrize("text", SOMEBODY_MAY_BE_THERE)
def test_words_that_may_mean_anything_else(text: str) -> None:
    assert judge(_as_quoted(text)).kind is Kind.FAILED


@pytest.mark.usefixtures("_own_rows")
def test_rows_of_ones_own_come_first_in_reports_too() -> None:
    found = judge(replace(FAILED, words="5.2.2 parti sans laisser d'adresse"))
    assert (found.kind, found.rule) == (Kind.DEAD, "ours")


@given(
    action=st.sampled_from([None, "failed", "delayed", "delivered"]),
    status=st.none() | st.from_regex(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}", fullmatch=True),
    code=st.none() | st.integers(400, 599),
    words=st.text(max_size=80),
)
def test_any_report_is_judged_and_dead_only_by_a_row(action: str, status: str, code: int, words: str) -> None:
    found = judge(Said(action, status, code, words, None))
    assert found.kind in {Kind.DEAD, Kind.FAILED, Kind.DELAYED, Kind.DELIVERED}
    assert found.kind is not Kind.DEAD or (action in {None, "failed"} and found.blame == "recipient")
