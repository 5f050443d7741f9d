"""Logging: one line for each event, in either format, without addresses and credentials."""

import io
import json
import logging
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import structlog
from pydantic import SecretStr

from config.logging import LogFormat, configure, mask
from tests.bounded import bounded

pytestmark = pytest.mark.usefixtures("log_restored")

ROOT = Path(__file__).resolve().parents[3]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def written(capsys: pytest.CaptureFixture[str]) -> str:
    out, err = capsys.readouterr()
    assert not out
    return err


def only_record(text: str) -> dict[str, Any]:
    (line,) = text.splitlines()
    record = json.loads(line)
    assert isinstance(record, dict)
    return record


def raise_with_secrets() -> None:
    try:
        raise ValueError("550 <jane@shop.example> unknown")
    except ValueError as error:
        raise RuntimeError("smtps://shop:s3cr3t@relay.example:465 is away") from error


def test_an_event_is_one_json_object_with_its_fields(capsys: pytest.CaptureFixture[str]) -> None:
    configure("json")
    structlog.get_logger().info("mail.sent", request_id=UUID(int=1), attempts=2, late=None)
    record = only_record(written(capsys))
    assert list(record)[:3] == ["timestamp", "level", "event"]
    assert record.pop("timestamp").endswith("Z")
    assert record == {
        "level": "info",
        "event": "mail.sent",
        "request_id": str(UUID(int=1)),
        "attempts": 2,
        "late": None,
    }


def test_an_event_is_one_line_on_a_console(capsys: pytest.CaptureFixture[str]) -> None:
    configure("console")
    structlog.get_logger().bind(owner="o-1").warning("mail.deferred", reason="try again")
    (line,) = written(capsys).splitlines()
    assert "mail.deferred" in line
    assert "owner=o-1" in line
    assert "reason='try again'" in line


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_text_from_outside_cannot_begin_a_line(log_format: LogFormat, capsys: pytest.CaptureFixture[str]) -> None:
    configure(log_format)
    structlog.get_logger().info("a\nb\x1b[31m\u2028", field="c\r\nd\x1b[2J", nested=["e\nf"])
    logging.getLogger("library").warning("g\n%s", "h\x1b[31m")
    text = written(capsys)
    assert len(text.splitlines()) == 2
    assert "\x1b" not in text


def test_without_a_format_it_is_json_unless_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(None)
    structlog.get_logger().info("x")
    assert only_record(written(capsys))["event"] == "x"
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    configure(None)
    structlog.get_logger().info("x")
    assert "\x1b[" in terminal.getvalue()
    with pytest.raises(json.JSONDecodeError):
        json.loads(terminal.getvalue())


def test_there_are_no_colours_off_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    configure("console")
    structlog.get_logger().error("x", reason="y")
    assert "\x1b" not in written(capsys)


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_secrets_are_masked_wherever_they_stand(log_format: LogFormat, capsys: pytest.CaptureFixture[str]) -> None:
    configure(log_format)
    structlog.get_logger().error(
        "to jane@shop.example",
        address="Jane.O'Doe+tag@shop.example",
        url="redis://user:s3cr3t@redis.example:6379/0",
        nested={"jane@shop.example": [("jane@shop.example", {"x": "postgresql://s3cr3t@db"})]},
        error=ValueError("jane@shop.example"),
        password=SecretStr("s3cr3t"),
        raw=b"jane@shop.example",
    )
    text = written(capsys)
    assert len(text.splitlines()) == 1
    for secret in ("jane", "Jane", "Doe", "shop.example", "s3cr3t"):
        assert secret not in text
    assert "redis://***@redis.example:6379/0" in text


@pytest.mark.parametrize("log_format", ["json", "console"])
@pytest.mark.parametrize("via_stdlib", [True, False])
def test_secrets_are_masked_in_tracebacks(
    log_format: LogFormat, via_stdlib: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(log_format)
    logger = logging.getLogger("library") if via_stdlib else structlog.get_logger()
    try:
        raise_with_secrets()
    except RuntimeError:
        logger.exception("mail.crashed")
    text = written(capsys)
    assert "mail.crashed" in text
    assert "raise_with_secrets" in text
    assert "smtps://***@relay.example:465 is away" in text
    assert "550 <***@***> unknown" in text
    assert "jane" not in text
    assert "s3cr3t" not in text
    if log_format == "json":
        assert "RuntimeError" in only_record(text)["exception"]


def test_other_libraries_log_the_same_way(capsys: pytest.CaptureFixture[str]) -> None:
    configure("json")
    logging.getLogger("kombu").error("lost %s", "amqp://user:s3cr3t@host//")
    record = only_record(written(capsys))
    assert record.pop("timestamp").endswith("Z")
    assert record == {"level": "error", "event": "lost amqp://***@host//", "logger": "kombu"}


def test_warnings_are_logged_too(capsys: pytest.CaptureFixture[str]) -> None:
    configure("json")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=False)
        logging.captureWarnings(capture=True)
        warnings.warn("careful, jane@shop.example", UserWarning, stacklevel=1)
    record = only_record(written(capsys))
    assert record["logger"] == "py.warnings"
    assert "careful, ***@***" in record["event"]


def test_a_record_that_cannot_be_formatted_is_not_dumped_raw(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure("json")
    logging.getLogger("library").warning("number %d", "jane@shop.example")
    assert "jane" not in written(capsys)


def test_what_tells_nothing_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    configure("json")
    structlog.get_logger().debug("x")
    logging.getLogger("library").debug("x")
    logging.getLogger("celery.worker.strategy").info("Task received")
    logging.getLogger("celery.app.trace").info("Task succeeded")
    logging.getLogger("imapclient.imapclient").info("Connection closed")
    assert not written(capsys)


def test_configuring_twice_does_not_double_the_lines(capsys: pytest.CaptureFixture[str]) -> None:
    configure("json")
    configure("json")
    structlog.get_logger().info("x")
    logging.getLogger("library").warning("y")
    assert len(written(capsys).splitlines()) == 2


def test_a_log_that_cannot_be_written_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    monkeypatch.setattr(sys, "stderr", closed)
    configure("json")
    closed.close()
    structlog.get_logger().info("x")
    logging.getLogger("library").warning("y")


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("jane@shop.example", "***@***"),
        ("<jane@shop.example>:", "<***@***>:"),
        ("to 'jane@localhost'", "to ***@***'"),
        ("jürgen@münchen.example, x@y", "***@***, ***@***"),
        ("redis://:s3cr3t@host:1/0", "redis://***@host:1/0"),
        ("smtp+starttls://a@b.de:s3@cr/et@host", "smtp+starttls://***@host"),
        ('{"u": "redis://a:b@h", "to": "x@y.de"}', '{"u": "redis://***@h", "to": "***@***"}'),
        ("redis://host:6379/0", "redis://host:6379/0"),
        ("https://shop.example/p/mug-1", "https://shop.example/p/mug-1"),
        ('File "x.py", line 1, in <module>\n    @decorated', None),
        ("4 @ 12.50", None),
    ],
)
def test_what_is_masked_and_what_is_not(text: str, masked: str | None) -> None:
    assert mask(text) == (masked or text)


@pytest.mark.parametrize(
    "text", ["a" * 65_000 + " @", "@" * 65_000, "a@" * 32_000, "a." * 32_000 + " @", "://" * 20_000]
)
def test_a_hostile_text_is_masked_quickly(text: str) -> None:
    with bounded():
        mask(text + "@")


def test_logging_loads_no_library_that_is_only_for_show() -> None:
    code = "import sys, config.logging; print('rich' in sys.modules); import rich.console"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
