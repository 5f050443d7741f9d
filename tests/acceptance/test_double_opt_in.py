"""Double opt-in through the real processes: sign-up, mail, link, button, event, told."""

import re
from email import message_from_bytes
from email.policy import default
from http.client import HTTPConnection

from tests.acceptance.stockbell import Loaded, Stockbell
from tests.polling import eventually
from tests.ports import free_port
from worker.domain.catalog import CatalogReference, item_of
from worker.domain.tokens import Tokens
from worker.services.signing_up import Desk, SignUp
from worker.store.requests import NewRequest

KIND = Loaded

SECRET = "0123456789abcdef0123456789abcdef"


def ask(port: int, method: str, path: str) -> int:
    """Returns the status of the answer, or 0 if nobody listens yet."""
    connection = HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path)
        return connection.getresponse().status
    except ConnectionRefusedError:
        return 0
    finally:
        connection.close()


def test_who_confirms_by_the_link_of_the_mail_is_told_and_who_does_not_is_not(program: Stockbell) -> None:
    port = free_port()
    program.environment |= {
        "STOCKBELL_DOUBLE_OPT_IN": "on",
        "STOCKBELL_SECRET_KEY": SECRET,
        "STOCKBELL_PUBLIC_URL": "https://notify.shop.example",
    }
    program.start("web", "--port", str(port))
    program.start_all()
    desk = Desk(program._database, Tokens([SECRET.encode()]), "on")
    for name in ("jane", "bob"):
        new = NewRequest(f"{name}@customer.example", CatalogReference(item_of("mug-1")))
        desk.sign_up(SignUp(new, "k", is_public=True))
    eventually(lambda: len(program.relay.accepted) == 2, until="both are asked to confirm")
    asked = next(mail for mail in program.relay.accepted if mail.recipient.startswith("jane"))
    text = message_from_bytes(asked.content, policy=default).get_body(("plain",)).get_content()  # type: ignore[union-attr]  # it has one
    link = re.search(r"https://notify\.shop\.example(/confirm/\S+)", text)
    assert link
    assert eventually(lambda: ask(port, "GET", link[1])) == 200
    program.publish(catalogItemId="mug-1", quantity=5)
    assert ask(port, "POST", link[1]) == 200
    program.until(NOTIFICATION_SENT=1, RECEIVED=1)
    assert program.mails() == {"jane@customer.example": 2, "bob@customer.example": 1}
    assert [request["waiting"] for request in program.requests("--status", "RECEIVED")] == ["unconfirmed"]
    assert program.status()["unconfirmed"] == 1


def test_a_web_process_that_could_not_ask_says_what_is_missing(alone: Stockbell) -> None:
    alone.environment |= {"STOCKBELL_DOUBLE_OPT_IN": "first", "STOCKBELL_SECRET_KEY": SECRET}
    answer = alone.run("web", "--port", str(free_port()))
    assert answer.returncode == 1
    assert "STOCKBELL_DOUBLE_OPT_IN=first needs STOCKBELL_PUBLIC_URL: " in answer.stderr
    assert "Traceback" not in answer.stderr
