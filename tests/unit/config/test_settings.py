"""Settings: a wrong one stops the process with one line, which names the setting and hides its value."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from config.settings import SHIPPED_TEMPLATES, Settings, load, shown, variable
from worker.domain.errors import BadSetting
from worker.domain.relays import Mailbox, Relay, parse_relays

ROOT = Path(__file__).resolve().parents[3]
NAMES = [variable(field) for field in Settings.model_fields]

# Every wrong value contains SECRET, which no message may show.
SECRET = "hunter2"
WRONG = {
    "DATABASE_URL": [
        f"mysql://{SECRET}",
        f"postgresql://u:{SECRET}/x@host/db",
        f"postgresql://u:{SECRET}@host1,host2:port/db",
        f"postgresql://u:{SECRET}@host/db?colour=blue",
        f"sqlite://{SECRET}",
        f"sqlite:///:memory:?{SECRET}",
        f"sqlite:///{SECRET}.db?mode=ro",
        f"postgresql://u:{SECRET}\x1b@host/db",
    ],
    "STOCKBELL_DATABASE_POOLER": [SECRET],
    "STOCKBELL_MIGRATE_URL": [
        f"mysql://{SECRET}",
        f"postgresql://u:{SECRET}/x@host/db",
        f"postgresql://u:{SECRET}@host/db",  # DATABASE_URL is SQLite
        f"sqlite:///{SECRET}.db",
    ],
    "REDIS_URL": [
        SECRET,
        f"redis+cluster://{SECRET}:1",
        f"redis://u:{SECRET}@a:1,b:2",
        f"redis://u:{SECRET}@a:1;redis://b",
        f"redis://u:{SECRET}@a:0",
        f"redis://a/{SECRET}",
        f"redis://a/0/{SECRET}",
        f"sentinel://:{SECRET}@a:26379",
        f"redis+sentinel://:{SECRET}@a:1,b/0",
        f"redis+sentinel://a/shop/0?password={SECRET}",
    ],
    "STOCKBELL_EVENTS_URL": [f"http://{SECRET}", f"redis://u:{SECRET}@a:port", f"redis+sentinel://{SECRET}@a/shop"],
    "SMTP_URL": [f"smtp://u:{SECRET}@mail.example", f"smtps://u:{SECRET}@a,b", f"smtps://a,,smtps://u:{SECRET}@b"],
    "MAIL_FROM": [SECRET, f"{SECRET}\r\nBcc: x <a@shop.example>"],
    "STOCKBELL_EVENT_STREAM": [f"{SECRET} x", f"{SECRET}\x07"],
    "STOCKBELL_BATCH_SIZE": [SECRET, "0", "-1", "1.5", "10001", "9" * 5000],
    "STOCKBELL_SMTP_CONNECTIONS": [SECRET, "0", "1001"],
    "STOCKBELL_LEASE_SECONDS": [SECRET, "0", "4.9", "-1", "nan", "inf"],
    "STOCKBELL_SWEEP_SECONDS": [SECRET, "0", "-1", "nan"],
    "STOCKBELL_MAX_ATTEMPTS": [SECRET, "0"],
    "STOCKBELL_RETRY_SECONDS": [SECRET, "0", "3601"],
    "STOCKBELL_MAX_SEND_RATE": [SECRET, "0", "-1", "inf", "nan"],
    "STOCKBELL_MIN_QUANTITY": [SECRET, "0", "1.5", str(2**63)],
    "STOCKBELL_NOTIFY_PER_UNIT": [SECRET, "0", "-1", "1.5", "1000001", str(2**62), str(2**64), "9" * 5000],
    "STOCKBELL_WAVE_SECONDS": [SECRET, "-1", "nan", "inf", "316224001", "1h"],
    "STOCKBELL_SETTLE_SECONDS": [SECRET, "-0.1", "nan", "inf", "316224000.1", str(2**62)],
    "STOCKBELL_DIGEST": [SECRET, "ON", "true", "1", "daily"],
    "STOCKBELL_CONTACT_INTERVAL": [SECRET, "0", "-1", "nan", "inf", "316224000.1", "24h", "9" * 5000],
    "STOCKBELL_ASSUMED_QUANTITY": [SECRET, "0", "-1", "2.5", str(2**63)],
    "STOCKBELL_REQUEST_TTL_DAYS": [SECRET, "0", "-1", "1.5", "36501", "1000000000", "nan", "90d", "9" * 5000],
    "STOCKBELL_KEEP_TOLD_DAYS": [SECRET, "0", "-1", "0.5", "36501", "inf"],
    "STOCKBELL_KEEP_FAILED_DAYS": [SECRET, "0", "-1", "0.5", "36501", "inf"],
    "STOCKBELL_ON_UNKNOWN": [SECRET, "RESEND"],
    "STOCKBELL_SEND_WINDOW": [
        SECRET,
        f"mon-fri 08:00-20:00 Europe/{SECRET}",
        f"{SECRET} 08:00-20:00 UTC",
        f"mon {SECRET}-20:00 UTC",
        "mon 25:00-26:00 UTC",
        "mon 08:00-08:00 UTC",
        "mon-thu 08:00-20:00",
        "mon 08:00-20:00\x1b UTC",
    ],
    "STOCKBELL_SMTP_PIPELINING": [SECRET, "on"],
    "STOCKBELL_ITEM_URL_TEMPLATE": [
        f"javascript:{SECRET}{{catalogItemId}}",
        f"https://shop.example/{SECRET}",
        f"https://shop.example/{SECRET}/{{catalogItemId}}/{{other}}",
        f"https://u:{SECRET}@shop.example/{{catalogItemId}}",
    ],
    "STOCKBELL_TEMPLATE_DIR": [f"/{SECRET}"],
    "STOCKBELL_SECRET_KEY": [SECRET, f"{'k' * 64},{SECRET}", f"{'k' * 64},"],
    "STOCKBELL_BOUNCE_ADDRESS": [
        SECRET,
        f"bounces+{{token}}@{SECRET}.shop.example",
        f"{SECRET}@{{token}}.shop.example",
        f"{SECRET}+{{token}}",
        f"Shop <{SECRET}@shop.example>",
        "b{token}@shop.example\r\nBcc: x",
    ],
    "STOCKBELL_BOUNCE_IMAP": [
        SECRET,
        f"imaps://{SECRET}",
        f"pop3s://user:{SECRET}@imap.shop.example",
        f"imap://user:{SECRET}@imap.shop.example",
        f"imaps://user@imap.shop.example/{SECRET}",
        f"imaps://user:{SECRET}@imap.shop.example:99999",
        f"imaps://user:{SECRET}@imap.shop.example/INBOX?x",
        f"imaps://user:{SECRET}@imap.shop.example/a%0Ab",
    ],
    "STOCKBELL_DEFAULT_LOCALE": [f"{SECRET} x", "xx-Latn-!!", "1x", "../etc", "sv-"],
    "STOCKBELL_BRAND_LOGO_URL": [SECRET, f"http://{SECRET}.example/logo.png", f"https://{SECRET}.example/a b.png"],
    "STOCKBELL_BRAND_COLOR": [SECRET, "red", "red;}", "#9a8b7", f"#1f6b4a;{SECRET}", "rgb(1,2,3)"],
    "STOCKBELL_BRAND_ADDRESS": [r"\n \n", f"{SECRET}\x07", SECRET * 20, r"a\n" * 9],
    "STOCKBELL_REPLY_TO": [SECRET, f"{SECRET}\r\nBcc: x <a@shop.example>"],
    "STOCKBELL_PUBLIC_URL": [
        SECRET,
        f"ftp://{SECRET}.example",
        f"https://shop.example/?{SECRET}",
        f"https://s.example/#{SECRET}",
        f"https://{SECRET}.example/{'x' * 900}",
    ],
    "STOCKBELL_PROVIDER": [SECRET, "gmail"],
    "PORT": [SECRET, "0", "65536", "80.5"],
    "STOCKBELL_TRUSTED_PROXIES": [SECRET, "172.16.0.0/12,", "proxy.example"],
    "STOCKBELL_ADMIN_PROXY_HEADER": [SECRET, f"X {SECRET}", "X:"],  # the first without proxies that are trusted
    "STOCKBELL_DOUBLE_OPT_IN": [SECRET, "yes"],
    "STOCKBELL_CATALOGS": ["x" * 37, "a,,b"],
    "STOCKBELL_CAPTCHA": [SECRET, "recaptcha", "altcha"],  # without a key that signs
    "STOCKBELL_REPLY_RULES": [f"/{SECRET}", "."],
    "STOCKBELL_STORE_NAME": [f"{SECRET}\x1b[31m", SECRET * 20],
    "STOCKBELL_LOG_FORMAT": [SECRET],
}


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An environment without the settings and the `.env` of the person who runs the tests."""
    for name in list(os.environ):
        if name in NAMES or name.upper().startswith("STOCKBELL_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def refusal(env_file: Path = Path(".env")) -> str:
    with pytest.raises(BadSetting) as caught:
        load(env_file)
    assert caught.value.__cause__ is None
    line = str(caught.value)
    assert line.isprintable()
    return line


def test_nothing_needs_to_be_set() -> None:
    settings = load()
    assert settings == Settings()
    assert settings.database_url == "sqlite:///stockbell.db"
    assert settings.events_url == settings.redis_url == "redis://localhost:6379/0"
    assert settings.smtp is None
    assert settings.mail_from is None
    assert settings.template_dir == SHIPPED_TEMPLATES
    assert settings.template_dir.is_dir()


def test_every_setting_has_wrong_values_below() -> None:
    assert set(WRONG) == set(NAMES)


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_a_wrong_value_is_named_and_not_shown(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    line = refusal()
    assert line.startswith(f"{name} ")
    assert SECRET not in line
    assert value not in line.removeprefix(name) or value.isdigit()


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_a_wrong_value_is_not_shown_by_the_class_either(name: str, value: str) -> None:
    overrides: dict[str, Any] = {name: value}
    with pytest.raises(ValidationError) as caught:
        Settings(**overrides)
    assert SECRET not in f"{caught.value} {caught.value!r}"


def test_only_the_first_of_several_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "x")
    monkeypatch.setenv("STOCKBELL_BATCH_SIZE", "x")
    line = refusal()
    assert "REDIS_URL" in line
    assert "BATCH_SIZE" not in line


def test_an_unknown_name_in_the_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STOCKBELL_BATCHSIZE", SECRET)
    assert refusal() == ("STOCKBELL_BATCHSIZE in the environment is not a setting; did you mean STOCKBELL_BATCH_SIZE?")


def test_an_unknown_name_in_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"OTHER=1\nSTOCKBELL_LEASE={SECRET}\n")
    assert refusal() == ("STOCKBELL_LEASE in .env is not a setting; did you mean STOCKBELL_LEASE_SECONDS?")


def test_nothing_is_suggested_for_a_name_like_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STOCKBELL_XYZ", "1")
    assert refusal() == "STOCKBELL_XYZ in the environment is not a setting"


def test_a_prefix_too_many_is_recognised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STOCKBELL_SMTP_URL", SECRET)
    assert refusal().endswith("did you mean SMTP_URL?")


def test_a_name_in_lower_case_is_not_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("stockbell_batch_size", "1")
    assert refusal().endswith("did you mean STOCKBELL_BATCH_SIZE?")


def test_a_name_of_others_in_lower_case_is_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("redis_url", SECRET)
    assert load() == Settings()


def test_the_file_is_read_and_the_environment_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text(
        'MAIL_FROM="Käthe & Sons <no-reply@shop.example>"\n'
        "export STOCKBELL_BATCH_SIZE=7\nSTOCKBELL_MAX_ATTEMPTS=3\nREDIS_URL=\nOTHER=1\n",
        encoding="utf-8",
    )
    monkeypatch.setenv("STOCKBELL_MAX_ATTEMPTS", "4")
    settings = load()
    assert settings.mail_from == Mailbox("Käthe & Sons", "no-reply@shop.example")
    assert settings.batch_size == 7
    assert settings.max_attempts == 4
    assert settings.redis_url == "redis://localhost:6379/0"  # an empty value counts as not set


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"\n\nSTOCKBELL_BATCH_SIZE\n", ".env: line 3 is not NAME=value"),
        (b"A=1\nSTOCKBELL_STORE_NAME='hunter2\n", ".env: line 2 is not NAME=value"),
        (b"STOCKBELL_STORE_NAME=K\xe4the\n", ".env can't be read as a UTF-8 file"),
    ],
)
def test_a_file_that_cannot_be_understood_is_refused(content: bytes, line: str, tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(content)
    assert refusal() == line


def test_a_directory_in_the_files_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".env").mkdir()
    assert refusal() == ".env can't be read as a UTF-8 file"


def test_the_class_itself_never_reads_the_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("STOCKBELL_BATCH_SIZE=7\n")
    assert Settings().batch_size == 500


def test_keywords_win_and_a_wrong_keyword_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STOCKBELL_BATCH_SIZE", "7")
    relay = Relay("localhost", 25, "plain")
    settings = Settings(batch_size=3, smtp=(relay,))
    assert (settings.batch_size, settings.smtp) == (3, (relay,))
    with pytest.raises(ValidationError):
        Settings(bath_size=3)  # type: ignore[call-arg]  # that is the test


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        Settings().batch_size = 3  # type: ignore[misc]  # that is the test


def test_secrets_are_not_in_repr_or_str() -> None:
    settings = Settings(
        database_url=f"postgresql://user:{SECRET}@host/db",
        migrate_url=f"postgresql://owner:{SECRET}@host/db",
        redis_url=f"redis://:{SECRET}@host",
        events_url=f"redis://:{SECRET}@other",
        smtp=parse_relays(f"smtps://{SECRET}:{SECRET}@mail.example"),
    )
    assert SECRET not in f"{settings!r} {settings} {settings.smtp!r} {settings.smtp}"
    assert settings.smtp
    assert settings.smtp[0].password == SecretStr(SECRET)


@pytest.mark.parametrize("url", ["postgresql", "postgres", "postgresql:"])
def test_a_scheme_alone_is_no_database(url: str) -> None:
    with pytest.raises(ValidationError, match="must be postgresql://user:password@host/name or sqlite:///file"):
        Settings(database_url=url)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_every_name_of_postgresql_means_psycopg(scheme: str) -> None:
    settings = Settings(database_url=f"{scheme}://u:p%40@host:5433/db?sslmode=require")
    assert settings.database_url == "postgresql://u:p%40@host:5433/db?sslmode=require"


def test_the_template_of_item_urls_becomes_fit_for_a_mail() -> None:
    settings = Settings(item_url_template="HTTPS://münchen.example/käse/{catalogItemId}?x=1")
    assert settings.item_url_template == ("https://xn--mnchen-3ya.example/k%C3%A4se/{catalogItemId}?x=1")


def test_events_come_from_the_broker_unless_told_otherwise() -> None:
    assert Settings(redis_url="rediss://a").events_url == "rediss://a"
    assert Settings(redis_url="rediss://a", events_url="redis://b").events_url == "redis://b"


def test_migrations_go_to_the_database_unless_told_otherwise() -> None:
    assert Settings().migrate_url == Settings().database_url
    assert Settings(database_url="postgres://a/b").migrate_url == "postgresql://a/b"
    assert Settings(database_url="postgres://a/b", migrate_url="postgresql://a/b").migrate_url.endswith("//a/b")
    with pytest.raises(ValidationError, match="must be postgresql://, and DATABASE_URL too"):
        Settings(database_url="postgres://a/b", migrate_url="sqlite:///b.db")


def test_the_example_explains_every_setting_and_can_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    shown = re.findall(r"^#([A-Z_]+)=", example, re.MULTILINE)
    assert sorted(shown) == sorted(NAMES)
    (tmp_path / ".env").write_text(re.sub(r"^#([A-Z_]+=)", r"\1", example, flags=re.MULTILINE), encoding="utf-8")
    monkeypatch.chdir(ROOT)  # STOCKBELL_TEMPLATE_DIR is relative
    settings = load(tmp_path / ".env")
    given = {
        "notify_per_unit",
        "assumed_quantity",
        "smtp",
        "mail_from",
        "max_send_rate",
        "item_url_template",
        "reply_rules",
        "log_format",
    }
    given |= {"request_ttl_days", "keep_told_days", "keep_failed_days"}
    given |= {
        "secret_key",
        "bounce_address",
        "bounce_imap",
        "reply_to",
        "public_url",
        "trusted_proxies",
        "admin_proxy_header",
        "catalogs",
        "captcha",
        "send_window",
        "contact_interval",
        "brand_logo_url",
        "brand_color",
        "brand_address",
    }
    assert settings.model_dump(exclude=given) == Settings().model_dump(exclude=given)
    assert all(getattr(settings, field) is not None for field in given)


def test_reading_settings_loads_no_library_of_the_doors() -> None:
    heavy = {"rich", "typer", "sqlalchemy", "redis", "celery", "jinja2", "aiosmtplib", "dns"}
    code = f"import sys, config.settings; print(sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("name", "value", "means"),
    [
        ("NOTIFY_PER_UNIT", "1", 1),
        ("NOTIFY_PER_UNIT", "1000000", 1_000_000),
        ("WAVE_SECONDS", "0", 0.0),
        ("WAVE_SECONDS", "316224000", 316_224_000.0),
        ("WAVE_SECONDS", "0.5", 0.5),
        ("SETTLE_SECONDS", "316224000", 316_224_000.0),
        ("ASSUMED_QUANTITY", str(2**62), 2**62),
        ("MIN_QUANTITY", str(2**63 - 1), 2**63 - 1),
    ],
)
def test_sending_policies_may_be_as_small_and_as_large_as_makes_sense(
    name: str, value: str, means: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"STOCKBELL_{name}", value)
    assert getattr(load(), name.lower()) == means


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("NOTIFY_PER_UNIT", "0", "must be greater than or equal to 1"),
        ("NOTIFY_PER_UNIT", "1.5", "must be a whole number"),
        ("NOTIFY_PER_UNIT", str(2**62), "must be less than or equal to 1000000"),
        ("WAVE_SECONDS", "1h", "must be a number of seconds"),
        ("CONTACT_INTERVAL", "1h", "must be a number of seconds"),
        ("KEEP_TOLD_DAYS", "30d", "must be a whole number of days"),
        ("WAVE_SECONDS", "316224001", "must be less than or equal to 316224000"),
    ],
)
def test_a_sending_policy_that_makes_no_sense_is_refused_in_a_line(
    name: str, value: str, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"STOCKBELL_{name}", value)
    assert refusal() == f"STOCKBELL_{name} {line}"


def test_settings_are_shown_without_their_secrets() -> None:
    settings = Settings(
        database_url=f"postgresql://user:{SECRET}@db1,db2:5433/shop?sslpassword={SECRET}",
        redis_url=f"rediss://:{SECRET}@redis.example:6380/1?ssl_password={SECRET}",
        smtp=f"smtps://{SECRET}:{SECRET}@relay.example,smtp://localhost",
        bounce_imap=f"imaps://{SECRET}:{SECRET}@mail.example/Bounces",
        secret_key=f"{SECRET * 5},{SECRET * 6}",
        bounce_address="bounces+{token}@shop.example",
        mail_from="Shop <hello@shop.example>",
        send_window="Mon–Fri 8-20 europe/vienna",
    )
    found = {each.name: each for each in shown(settings)}
    assert found.keys() == set(NAMES)
    assert all(SECRET not in each.value for each in found.values())
    assert found["DATABASE_URL"].value == "postgresql://***@db1,db2:5433/shop?***"
    assert found["REDIS_URL"].value == "rediss://***@redis.example:6380/1?***"
    assert found["SMTP_URL"].value == "smtps://relay.example:465, smtp://localhost:25"
    assert found["STOCKBELL_SECRET_KEY"].value == "***, ***"
    assert found["STOCKBELL_BOUNCE_ADDRESS"].value == "bounces+{token}@shop.example"
    assert found["MAIL_FROM"].value == "Shop <hello@shop.example>"
    assert found["STOCKBELL_SEND_WINDOW"].value == "mon-fri 08:00-20:00 Europe/Vienna"
    assert [found[name].is_default for name in ("REDIS_URL", "STOCKBELL_EVENTS_URL", "PORT")] == [False, True, True]
