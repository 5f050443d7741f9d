"""Attacks on single doors: addresses, languages, templates, logs, and the `repr` of objects."""

import logging
import re
from pathlib import Path
from typing import Final
from uuid import UUID

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from config.logging import LogFormat, configure
from config.settings import Settings
from tests.attacks import COMMAND, EVIL, Shape, shape_of
from worker.domain.catalog import CatalogReference, item_of
from worker.domain.errors import BadAddress, BadReference, TemplateBroken
from worker.domain.verdicts import Tries
from worker.mail.message import envelope_address
from worker.mail.render import MailContext, Renderer
from worker.mail.sources import Sources
from worker.services.addresses import checked_address
from worker.services.import_file import checked_locale
from worker.smtp.mailer import Mail
from worker.store.claims import Claim
from worker.store.requests import NewRequest

PLAIN_URL: Final = "https://shop.example/p"
MUG: Final = CatalogReference(item_of("mug-1"))

# Addresses


LOOK_ALIKES: Final = (
    *("jane＠example.com", "jane@example。com", "jane@еxample.com", "jane@ex＠mple.com", "ｊane@example.com"),
    *(
        "jane@example.com\u202e",
        "jane\u200b@example.com",
        "jane@xn--e1awd7f.com",
        "jane@[127.0.0.1]",
        '"a b"@x.example',
    ),
    *("jane@example.com,evil@example.com", "jane@example.com evil@example.com", "<jane@example.com>", "a@b@c.example"),
    *("jane%evil.example@shop.example", "@evil.example:jane@shop.example", "evil.example!jane@shop.example"),
    *(f"{evil}@shop.example" for evil in EVIL),
    *(f"jane@{evil}.example" for evil in EVIL),
    *("j" * 65 + "@shop.example", "j@" + "a." * 130 + "example"),
)


@pytest.mark.parametrize("raw", LOOK_ALIKES)
def test_an_address_is_one_ascii_address_for_the_relay_or_none(raw: str) -> None:
    try:
        recipient = envelope_address(checked_address(raw))
    except BadAddress as bad:
        reason = str(bad)
    else:
        reason = ""
        assert COMMAND.fullmatch(f"RCPT TO:<{recipient}>")
        assert recipient.count("@") == 1
        assert len(recipient) <= 254
    assert raw not in reason


@pytest.mark.parametrize("evil", EVIL)
def test_a_locale_is_a_language_tag_and_no_path(evil: str) -> None:
    for raw in (evil, f"../{evil}", f"de/{evil}", f"de-{evil}"):
        try:
            said = checked_locale(raw) or ""
        except BadReference as bad:
            said = str(bad)
        assert raw not in said or re.fullmatch("[A-Za-z0-9_-]{2,35}", said)


# HTML


@given(name=st.sampled_from(EVIL) | st.text(max_size=100))
def test_no_fact_changes_the_shape_of_the_html(name: str) -> None:
    def shape(value: str) -> Shape:
        context = MailContext(PLAIN_URL, "mug-1", {f"{value}: x": value}, value, f"1 {value}", value, PLAIN_URL)
        rendered, _ = RENDERER.render(context, None)
        return shape_of(rendered.html)

    attacked, usual = shape(f"x{name}"), shape("x")
    isolating = ("span", ("dir",))  # around facts that are read from right to left
    assert [tag for tag in attacked.tags if tag != isolating] == usual.tags
    assert attacked.links == usual.links


RENDERER: Final = Renderer(Sources(Path(__file__).parents[2] / "templates"), "Shop")


# Templates


ESCAPES: Final = (
    "{{ ''.__class__.__mro__ }}",
    "{{ ''['__class__'] }}",
    "{{ ''|attr('__class__') }}",
    "{{ store_name.__init__.__globals__ }}",
    "{{ options.items.__self__.__class__ }}",
    "{{ self.__init__.__globals__ }}",
    "{{ self._TemplateReference__context.environment }}",
    "{{ super.__init__ }}",
    "{{ '{0.__class__.__mro__}'.format('') }}",
    "{{ '{x.__class__}'.format_map({'x': ''}) }}",
    "{{ ('{0.__class__}'|safe).format('') }}",
    "{{ (options|attr('items')).__self__.__class__ }}",
    "{% for x in [1] %}{{ loop.__init__.__globals__ }}{% endfor %}",
    "{% macro m() %}{% endmacro %}{{ m.__init__.__globals__ }}",
    "{{ options.clear() }}",
    "{{ options.update({'a': 'b'}) }}",
    "{{ [].append(1) }}",
    "{{ lipsum.__globals__ }}",
    "{{ cycler.__init__.__globals__.os }}",
    "{{ config }}",
    "{{ request }}",
    "{% include '/etc/passwd' %}",
    "{% include '../secret.txt' %}",
    "{% include 'back_in_stock/../../secret.txt' %}",
    "{% import 'os' as os %}",
    "{% extends '../secret.txt' %}",
)


@pytest.mark.parametrize("escape", ESCAPES)
@pytest.mark.parametrize("file", ["subject.txt", "body.txt", "body.html"])
def test_a_template_does_not_leave_the_sandbox(tmp_path: Path, escape: str, file: str) -> None:
    (tmp_path / "secret.txt").write_text("secret-words")
    folder = tmp_path / "templates" / "back_in_stock"
    folder.mkdir(parents=True)
    for name in ("subject.txt", "body.txt", "body.html"):
        (folder / name).write_text(escape if name == file else "words")
    context = MailContext(PLAIN_URL, "mug-1", {"Size": "L"})
    try:
        rendered, _ = Renderer(Sources(tmp_path / "templates"), "Shop").render(context, None)
        shown = f"{rendered.subject} {rendered.text} {rendered.html}"
    except TemplateBroken as broken:
        shown = str(broken).replace("class__", "")  # the error names what the template may not do
    assert not re.search(r"secret-words|class|object at|function|module|root:", shown)
    assert context.options == {"Size": "L"}


@pytest.mark.parametrize("evil", [evil for evil in EVIL if "{" in evil])
def test_a_name_is_never_taken_for_a_template(evil: str) -> None:
    rendered, _ = RENDERER.render(MailContext(PLAIN_URL, "mug-1", {}, evil), None)
    assert evil in rendered.text


# Logs and reprs


@pytest.mark.usefixtures("log_restored")
@pytest.mark.parametrize("log_format", ["console", "json"])
def test_a_text_in_a_log_stays_on_its_line_and_steers_no_terminal(
    log_format: LogFormat, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(log_format)
    for evil in EVIL:
        structlog.get_logger().info(
            "event.rejected", reason=evil, item=[evil], about={f"jane@example.com {evil}": evil}
        )
        logging.getLogger("other").warning("%s", evil)
        logged = capsys.readouterr().err
        assert len(logged.splitlines()) == 2
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]", logged)
        assert "jane@" not in logged


def test_no_repr_tells_an_address_or_a_secret() -> None:
    request = NewRequest("jane@example.com", MUG)
    claim = Claim(UUID(int=1), 1, UUID(int=2), UUID(int=3), UUID(int=4), "jane@example.com", None, None, Tries())
    mail = Mail(UUID(int=1), "jane@example.com", b"To: jane@example.com")
    settings_ = Settings(
        database_url="postgresql://shop:s3cr3t@db.example/shop",
        redis_url="redis://:s3cr3t@redis.example/0",
        smtp="smtps://shop:s3cr3t@relay.example",
    )
    for thing in (request, claim, mail, settings_, settings_.smtp):
        for text in (repr(thing), str(thing), f"{thing}"):
            assert "jane" not in text
            assert "s3cr3t" not in text
