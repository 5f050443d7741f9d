"""`stockbell hooks`: make, list, revoke."""

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.unit.shops.signing import public_key
from worker import cli
from worker.store import hooks
from worker.store.database import Database


@pytest.fixture(autouse=True)
def database(sqlite_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Database:
    for name in list(os.environ):
        if name.upper().startswith("STOCKBELL_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("DATABASE_URL", sqlite_url)
    monkeypatch.setenv("STOCKBELL_PUBLIC_URL", "https://notify.shop.example")
    monkeypatch.setenv("STOCKBELL_SECRET_KEY", "0123456789abcdef0123456789abcdef")
    monkeypatch.chdir(tmp_path)
    return Database(sqlite_url)


def run(*arguments: str, stdin: str | None = None) -> tuple[int, str, str]:
    answer = CliRunner(env={"COLUMNS": "200"}).invoke(cli.app, ["hooks", *arguments], input=stdin)
    return answer.exit_code, answer.stdout, answer.stderr


def kept(database: Database, url: str) -> hooks.Hook:
    found = database.read(hooks.find, url.rpartition("/")[2])
    assert found
    return found


def test_the_url_and_a_secret_that_was_made_are_shown(database: Database) -> None:
    code, out, err = run("create", "woocommerce", "--name", "main", "--currency", "eur", "--item-id", "sku")
    secret, url = out.split()
    assert (code, err) == (0, "the secret, which is shown once:\n")
    assert url.startswith("https://notify.shop.example/connect/woocommerce/")
    hook = kept(database, url)
    assert (hook.secret, dict(hook.options)) == (secret, {"currency": "EUR", "item-id": "sku"})


def test_a_secret_is_read_whole_from_stdin_and_not_shown_again(database: Database) -> None:
    code, out, err = run("create", "wix", "--secret", "-", "--json", stdin=public_key())
    assert (code, err) == (0, "")
    said = json.loads(out)
    assert set(said) == {"id", "kind", "url"}
    assert kept(database, said["url"]).secret == public_key()


def test_a_hook_is_listed_without_its_secret_and_closed_once() -> None:
    _, out, _ = run("create", "shopify", "--secret", "shopify-secret-0123", "--json")
    hook_id = json.loads(out)["id"]
    _, listed, _ = run("list", "--json")
    assert hook_id in listed
    assert "shopify-secret" not in listed
    assert run("revoke", hook_id)[0] == 0
    code, _, err = run("revoke", hook_id)
    assert (code, err) == (1, f"no such hook, or revoked before: {hook_id}\n")
    assert "never" in run("list")[1]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["ebay"], "KIND must be one of brevo, magento, mailgun"),
        (["shopify"], "shopify needs --secret"),
        (["wix", "--secret", "short"], "must be a public key"),
        (["brevo", "--secret", ""], "--secret is empty"),
        (["woocommerce", "--secret", "-"], "--secret is empty"),
        (["woocommerce", "--header", "X-Signature"], "woocommerce does not know --header"),
        (["woocommerce", "--item-id", "handle"], "--item-id must be one of id, sku"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_and_nothing_is_made(
    database: Database, arguments: list[str], reason: str
) -> None:
    code, out, err = run("create", *arguments)
    assert (code, out) == (2, "")
    assert reason in err
    assert list(database.read(hooks.each)) == []
