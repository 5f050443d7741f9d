"""All settings, read once where a process is put together (see `.env.example`).

A wrong or unknown setting stops the process with one line that names the setting and never shows its value.
"""

import ipaddress
import os
import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from io import StringIO
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple

from dotenv.parser import parse_stream
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
)
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from worker.domain.brand import parse_address, parse_colour, parse_logo_url
from worker.domain.catalog import checked_url, item_of
from worker.domain.errors import BadReference, BadSetting, BadUrl
from worker.domain.event_facts import MAX_QUANTITY
from worker.domain.imap_account import ImapAccount, parse_imap_account
from worker.domain.policies import LONGEST_SECONDS, MOST_PER_UNIT
from worker.domain.redis_url import sentinels_of
from worker.domain.relays import Mailbox, Relay, parse_mailbox, parse_relays
from worker.domain.return_path import ReturnPath, parse_return_path
from worker.domain.send_window import SendWindow, parse_send_window

ENV_FILE: Final = Path(".env")
SHIPPED_TEMPLATES: Final = Path(__file__).resolve().parent.parent / "templates"

_PREFIX: Final = "STOCKBELL_"
_OTHER_NAMES: Final = {
    "database_url": "DATABASE_URL",
    "redis_url": "REDIS_URL",
    "smtp": "SMTP_URL",
    "mail_from": "MAIL_FROM",
    "port": "PORT",
}

_LEAST_KEY: Final = 32
"""Characters. `openssl rand -hex 32` gives 64."""
_PUBLIC_URL_LIMIT: Final = 900
"""A line of a message has at most 998 (RFC 5322 section 2.1.1)."""
_ITEM_ID: Final = "{catalogItemId}"
_SAMPLE_ID: Final = "x-catalog-item-id-x"
_PLAIN_MESSAGES: Final = {
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_parsing": "must be a number",
}
_UNITS: Final = {"SECONDS": " of seconds", "INTERVAL": " of seconds", "DAYS": " of days"}
"""what a setting counts, by the last word of its name"""


def variable(field: str) -> str:
    """Returns the environment variable for a field of Settings."""
    return _OTHER_NAMES.get(field, _PREFIX + field.upper())


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must not contain control characters")
    return text


def _database_url(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    if separator and scheme in {"postgres", "postgresql", "postgresql+psycopg"}:
        from worker.store import postgres  # takes a while to load, and SQLite needs none of it

        postgres.parse(url)
        return f"postgresql://{rest}"
    if scheme != "sqlite" or not rest.startswith("/"):
        raise ValueError("must be postgresql://user:password@host/name or sqlite:///file")
    if rest == "/" or ":memory:" in rest:
        raise ValueError("must name a file: processes can't share a database in memory")
    if "?" in rest:
        raise ValueError("must be sqlite:///file without options: the file is read and written")
    return url


def _redis_url(url: str) -> str:
    sentinels_of(url)  # raises what is wrong with it; those who connect need the URL itself
    return url


def _stream_name(name: str) -> str:
    if " " in name:
        raise ValueError("must not contain spaces")
    return name


def _item_url_template(template: str) -> str:
    """Returns the template as a checked URL that still contains its placeholder."""
    before, placeholder, after = template.partition(_ITEM_ID)
    if not placeholder or set("{}") & set(before + after):
        raise ValueError(f"must contain {_ITEM_ID} once, and no other braces")
    try:
        url = checked_url(f"{before}{_SAMPLE_ID}{after}")
    except BadUrl as error:
        raise ValueError(str(error)) from None
    return url.replace(_SAMPLE_ID, _ITEM_ID)


def _directory(path: Path) -> Path:
    if not path.is_dir():
        raise ValueError("must be an existing directory")
    return path.resolve()


def _file(path: Path) -> Path:
    if not path.is_file():
        raise ValueError("must be an existing file")
    return path.resolve()


def _relays(raw: object) -> object:
    return parse_relays(raw) if isinstance(raw, str) else raw


def _mailbox(raw: object) -> object:
    return parse_mailbox(raw) if isinstance(raw, str) else raw


def _imap_account(raw: object) -> object:
    return parse_imap_account(raw) if isinstance(raw, str) else raw


def _send_window(raw: object) -> object:
    return parse_send_window(raw) if isinstance(raw, str) else raw


def _locale(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{2,8}){0,3}", text):
        raise ValueError("must be a language like en, de-AT or pt-BR")
    return text.replace("_", "-")


def _colour(text: str) -> str:
    return str(parse_colour(text))


def _address(raw: object) -> object:
    return parse_address(raw) if isinstance(raw, str) else raw


def _secret_keys(raw: object) -> object:
    return tuple(SecretStr(key.strip()) for key in raw.split(",")) if isinstance(raw, str) else raw


def _long_enough(keys: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
    if any(len(key.get_secret_value()) < _LEAST_KEY for key in keys):
        raise ValueError(
            f"must have at least {_LEAST_KEY} characters; several keys are separated by commas, newest first"
        )
    return keys


def _return_path(raw: object, others: ValidationInfo) -> object:
    path = parse_return_path(raw) if isinstance(raw, str) else raw
    if isinstance(path, ReturnPath) and path.has_token and not others.data.get("secret_key"):
        raise ValueError("has {token}, which STOCKBELL_SECRET_KEY has to sign: set it too")
    return path


def _public_url(url: str) -> str:
    try:
        checked = checked_url(url)
    except BadUrl as error:
        raise ValueError(str(error)) from None
    if set("?#") & set(checked):
        raise ValueError("must be https://host or https://host/path, without ? and #")
    if len(checked) > _PUBLIC_URL_LIMIT:
        raise ValueError(f"must have at most {_PUBLIC_URL_LIMIT} characters: with a token it stands in one header line")
    return checked.rstrip("/")


def _networks(raw: object) -> object:
    if not isinstance(raw, str):
        return raw
    found = tuple(each.strip() for each in raw.split(","))
    for each in found:
        try:
            ipaddress.ip_network(each, strict=False)
        except ValueError:
            raise ValueError("must be addresses or networks, separated by commas: 10.0.0.0/8, 127.0.0.1") from None
    return found


def _proxy_header(name: str | None, others: ValidationInfo) -> str | None:
    if name is None:
        return None
    if not re.fullmatch(r"[A-Za-z0-9-]+", name):
        raise ValueError("must be the name of a header, like X-Remote-User")
    proxies = others.data.get("trusted_proxies") or ()
    if not proxies:
        raise ValueError("needs STOCKBELL_TRUSTED_PROXIES, which names who is believed: set it too")
    if any(ipaddress.ip_network(each, strict=False).prefixlen == 0 for each in proxies):
        raise ValueError("needs STOCKBELL_TRUSTED_PROXIES to name the proxies: everybody would be believed")
    return name


def _captcha(kind: str | None, others: ValidationInfo) -> str | None:
    if kind and not others.data.get("secret_key"):
        raise ValueError("needs STOCKBELL_SECRET_KEY, which signs what is asked: set it too")
    return kind


def _catalogs(raw: object) -> object:
    if not isinstance(raw, str):
        return raw
    try:
        return tuple(item_of("1", each.strip()).app_id for each in raw.split(","))
    except BadReference:
        raise ValueError("must be appIds of 1 to 36 characters, separated by commas") from None


def _migrate_url(url: str, others: ValidationInfo) -> str:
    database = str(others.data.get("database_url"))
    if url == database:
        return url
    url = _database_url(url)
    if url.startswith("sqlite") or database.startswith("sqlite"):
        raise ValueError("must be postgresql://, and DATABASE_URL too: only PostgreSQL can be reached in two ways")
    return url


def _database_url_of(earlier: dict[str, Any]) -> str:
    return str(earlier["database_url"])


def _redis_url_of(earlier: dict[str, Any]) -> str:
    return str(earlier["redis_url"])


Text = Annotated[str, Field(min_length=1, max_length=2000), AfterValidator(_printable)]
StoreName = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_printable)]
# URLs may hold passwords, so they are left out of repr and str.
DatabaseUrl = Annotated[Text, AfterValidator(_database_url), Field(repr=False)]
MigrateUrl = Annotated[Text, AfterValidator(_migrate_url), Field(repr=False)]
RedisUrl = Annotated[Text, AfterValidator(_redis_url), Field(repr=False)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Days = Annotated[int, Field(ge=1, le=36_500)]


class Settings(BaseSettings):
    """All settings, validated and frozen. `.env.example` describes each of them.

    Keyword arguments win over the environment. Only `load` reads a `.env` file.
    """

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=variable,
        validate_by_name=True,
        validate_by_alias=True,
        case_sensitive=True,
        # `validate_by_name` allows field names as keywords. Without a prefix, the environment could also set
        # `redis_url` by its field name.
        env_prefix=_PREFIX,
        env_ignore_empty=True,
        env_file_encoding="utf-8",
        dotenv_filtering="only_existing",
        enable_decoding=False,
        str_strip_whitespace=True,
        hide_input_in_errors=True,
    )

    database_url: DatabaseUrl = "sqlite:///stockbell.db"
    database_pooler: Literal["auto", "none", "transaction"] = "auto"
    migrate_url: MigrateUrl = Field(default_factory=_database_url_of)
    redis_url: RedisUrl = "redis://localhost:6379/0"
    events_url: RedisUrl = Field(default_factory=_redis_url_of)
    smtp: Annotated[tuple[Relay, ...] | None, Field(min_length=1), BeforeValidator(_relays)] = None
    mail_from: Annotated[Mailbox | None, BeforeValidator(_mailbox)] = None

    event_stream: Annotated[Text, AfterValidator(_stream_name)] = "inventory:events"
    batch_size: int = Field(default=500, ge=1, le=10_000)
    smtp_connections: int = Field(default=10, ge=1, le=1_000)
    # A shorter lease could end while a busy machine or a slow database delays a heartbeat.
    lease_seconds: Annotated[Seconds, Field(ge=5)] = 60
    sweep_seconds: Seconds = 5
    max_attempts: int = Field(default=10, ge=1, le=1_000)
    retry_seconds: Annotated[Seconds, Field(le=3600)] = 60
    max_send_rate: Annotated[float, Field(ge=0.001, allow_inf_nan=False)] | None = None
    min_quantity: int = Field(default=1, ge=1, le=MAX_QUANTITY)
    notify_per_unit: Annotated[int, Field(ge=1, le=MOST_PER_UNIT)] | None = None
    wave_seconds: Annotated[float, Field(ge=0, le=LONGEST_SECONDS, allow_inf_nan=False)] = 3600
    settle_seconds: Annotated[float, Field(ge=0, le=LONGEST_SECONDS, allow_inf_nan=False)] = 0
    digest: Literal["off", "on"] = "off"
    contact_interval: Annotated[float, Field(gt=0, le=LONGEST_SECONDS, allow_inf_nan=False)] | None = None
    assumed_quantity: Annotated[int, Field(ge=1, le=MAX_QUANTITY)] | None = None
    request_ttl_days: Days | None = None
    keep_told_days: Days | None = None
    keep_failed_days: Days | None = None
    on_unknown: Literal["resend", "fail"] = "resend"
    send_window: Annotated[SendWindow | None, BeforeValidator(_send_window)] = None
    smtp_pipelining: Literal["auto", "off"] = "auto"
    reply_rules: Annotated[Path, AfterValidator(_file)] | None = None
    item_url_template: Annotated[Text, AfterValidator(_item_url_template)] | None = None
    template_dir: Annotated[Path, AfterValidator(_directory)] = SHIPPED_TEMPLATES
    default_locale: Annotated[str, AfterValidator(_locale)] = "en"
    store_name: StoreName = "Stockbell"
    brand_logo_url: Annotated[Text, AfterValidator(parse_logo_url)] | None = None
    brand_color: Annotated[Text, AfterValidator(_colour)] | None = None
    brand_address: Annotated[tuple[str, ...], BeforeValidator(_address)] = ()
    secret_key: Annotated[tuple[SecretStr, ...], BeforeValidator(_secret_keys), AfterValidator(_long_enough)] = ()
    bounce_address: Annotated[ReturnPath | None, BeforeValidator(_return_path)] = None
    bounce_imap: Annotated[ImapAccount | None, BeforeValidator(_imap_account)] = None
    reply_to: Annotated[Mailbox | None, BeforeValidator(_mailbox)] = None
    public_url: Annotated[Text, AfterValidator(_public_url)] | None = None
    port: int = Field(default=8000, ge=1, le=65535)
    trusted_proxies: Annotated[tuple[str, ...], BeforeValidator(_networks)] = ()
    admin_proxy_header: Annotated[Text | None, AfterValidator(_proxy_header)] = None
    double_opt_in: Literal["off", "on", "first"] = "off"
    catalogs: Annotated[tuple[str, ...], BeforeValidator(_catalogs)] = ()
    captcha: Annotated[Literal["altcha"] | None, AfterValidator(_captcha)] = None
    provider: Literal["auto", "none", "ses", "postmark", "sendgrid", "mailgun", "brevo"] = "auto"
    log_format: Literal["console", "json"] | None = None


def load(env_file: Path = ENV_FILE) -> Settings:
    """Returns the settings of this process, from the environment and `env_file` (which may be missing).

    Raises BadSetting with one line about the first error.
    """
    _refuse_unknown(os.environ, "the environment")
    _refuse_unknown(_names_in(env_file), env_file.name)
    try:
        return Settings(_env_file=env_file)
    except ValidationError as error:
        raise BadSetting(_error_line(error.errors()[0])) from None


class Shown(NamedTuple):
    """A setting for people to read."""

    name: str
    """the environment variable"""
    value: str
    """without user and password"""
    is_default: bool


def shown(settings: Settings) -> list[Shown]:
    """Returns all settings in the order of their definition. Of secrets only whether they are set is told."""
    return [
        Shown(
            variable(field),
            _shown(getattr(settings, field)) if about.repr else _without_secrets(str(getattr(settings, field))),
            field not in settings.model_fields_set,
        )
        for field, about in Settings.model_fields.items()
    ]


def _shown(value: object) -> str:
    match value:
        case None:
            return ""
        case SecretStr():
            return "***"
        case tuple():
            return ", ".join(map(_shown, value))
        case Mailbox(name, address):
            return f"{name} <{address}>" if name else address
        case ReturnPath():
            return value.with_token("{token}")
        case _:  # relays and mailboxes leave out user and password themselves
            return str(value)


def _without_secrets(url: str) -> str:
    """Returns a URL without user, password and options, any of which may be a secret; of other texts nothing."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return "***"
    place, options, _ = rest.partition("?")
    authority, slash, path = place.partition("/")
    _, at, host = authority.rpartition("@")
    return f"{scheme}://{'***@' if at else ''}{host}{slash}{path}{'?***' if options else ''}"


def _names_in(env_file: Path) -> Iterator[str]:
    # python-dotenv silently skips lines that it can't parse; here they are errors.
    try:
        text = env_file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return
    except (OSError, UnicodeDecodeError):
        raise BadSetting(f"{env_file.name} can't be read as a UTF-8 file") from None
    for binding in parse_stream(StringIO(text)):
        if binding.error or (binding.key and binding.value is None):
            before = binding.original.string.partition(binding.original.string.strip())[0]
            line = binding.original.line + before.count("\n")
            raise BadSetting(f"{env_file.name}: line {line} is not NAME=value")
        if binding.key:
            yield binding.key


def _refuse_unknown(names: Iterable[str], where: str) -> None:
    known = [variable(field) for field in Settings.model_fields]
    by_stem = {name.removeprefix(_PREFIX): name for name in known}
    for name in names:
        if name.upper().startswith(_PREFIX) and name not in known:
            close = get_close_matches(name.upper().removeprefix(_PREFIX), by_stem, n=1, cutoff=0.5)
            hint = f"; did you mean {by_stem[close[0]]}?" if close else ""
            raise BadSetting(f"{name} in {where} is not a setting{hint}")


def _error_line(error: ErrorDetails) -> str:
    """Returns one validation error as "NAME must be ...", without the value."""
    field = str(error["loc"][0])
    name = variable(field) if field in Settings.model_fields else field
    own = error.get("ctx", {}).get("error", error["msg"])
    unit = _UNITS.get(name.rpartition("_")[2], "")
    reason = f"{plain}{unit}" if (plain := _PLAIN_MESSAGES.get(error["type"])) else str(own)
    return f"{name} {re.sub(r'^(Input|String) should ', 'must ', reason)}"
