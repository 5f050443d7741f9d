"""Every command with a password in every URL. None writes a password, or an address where none belongs."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from tests.acceptance.conftest import running
from tests.acceptance.stockbell import Stockbell
from tests.confidential import DOMAIN, PASSWORD, betrayals
from tests.redis_server import RedisServer
from tests.relay import ScriptedRelay

SOMEBODY = "00000000-0000-7000-8000-000000000000"
COMMANDS = [
    *("migrate", "doctor", "status", "pause", "resume", "import requests.csv", "publish mug-1 --quantity 5"),
    *(
        "dead-letters list",
        "dead-letters replay --all",
        "dead-letters drop --all",
        "send-test me@shop.example",
        "preview mug-1",
    ),
    *("report --item mug-1", f"retry {SOMEBODY}", f"mark-sent {SOMEBODY}", f"requests show {SOMEBODY}"),
]
ABOUT_PEOPLE = [f"requests create jane@{DOMAIN} mug-1", "requests list --json"]
PROCESSES = ("listen",), ("work", "-c", "1"), ("schedule",)


@pytest.fixture
def careful(postgres_url: str, tmp_path: Path) -> Iterator[Stockbell]:
    """The program with a password in every URL."""
    url = make_url(postgres_url).set(password=PASSWORD).render_as_string(hide_password=False)
    with closing(RedisServer(password=PASSWORD)) as server, ScriptedRelay(users={"shop": PASSWORD}) as relay:
        server.start()
        relay.script("rcpt", f"550 5.1.1 <nobody@{DOMAIN}> unknown", recipient=f"mug-1-1@{DOMAIN}", always=True)
        for program in running(url, server, relay, tmp_path):
            program.environment["SMTP_URL"] = relay.url
            yield program


def said(program: Stockbell, directory: Path, commands: Sequence[str]) -> str:
    """Returns all that these commands write."""
    lines = [f"jane@{DOMAIN},mug-1", f"jane@@{DOMAIN},mug-1", f"jim@{DOMAIN},", f"joe@{DOMAIN},mug-1,a,b,c,d,e"]
    (directory / "requests.csv").write_text("\n".join(["email,catalogItemId", *lines]))
    answers = [program.run(*command.split()) for command in commands]
    output = "\n".join(answer.stdout + answer.stderr for answer in answers)
    assert "Traceback" not in output
    return output


def test_no_output_tells_a_secret_while_all_is_well(careful: Stockbell, tmp_path: Path) -> None:
    careful.waiting("mug-1", 3)
    for process in PROCESSES:
        careful.start(*process)
    output = said(careful, tmp_path, COMMANDS)
    assert "ok    smtp" in output, "they do what they should"
    careful.until(NOTIFICATION_SENT=3, FAILED=1)
    assert betrayals(output) == []
    assert betrayals(said(careful, tmp_path, ABOUT_PEOPLE), [PASSWORD]) == []
    assert betrayals(careful.logs()) == []


@pytest.mark.parametrize(
    ("wrong", "commands"),
    [
        (
            {"REDIS_URL": "redis://shop:PASSWORD@127.0.0.1:1/0", "SMTP_URL": "smtps://shop:PASSWORD@127.0.0.1:1"},
            ["doctor", "publish mug-1 --quantity 5", "send-test me@shop.example", "report --item mug-1"],
        ),
        ({"DATABASE_URL": "postgresql://shop:PASSWORD@127.0.0.1:1/PASSWORD"}, ["doctor", "status"]),
    ],
    ids=["no Redis, no relay", "no database"],
)
def test_no_error_tells_a_secret(
    careful: Stockbell, tmp_path: Path, wrong: dict[str, str], commands: list[str]
) -> None:
    careful.environment |= {name: value.replace("PASSWORD", PASSWORD) for name, value in wrong.items()}
    output = said(careful, tmp_path, commands)
    assert "127.0.0.1" in output, "it says what is wrong"
    assert betrayals(output) == []
