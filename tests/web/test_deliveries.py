"""Our events go out while the SDK changes requests, and its own handlers take them."""

import json

from tests.acceptance.stockbell import done
from tests.ports import free_port
from tests.web.conftest import Site


def test_each_change_reaches_receivers_of_both_formats_in_order(site: Site) -> None:
    program, port = site.program, free_port()
    public_key = done(program.run("webhooks", "keygen"))
    added = {
        form: json.loads(
            done(
                program.run(
                    *("webhooks", "add", f"http://127.0.0.1:{port}/{form}"),
                    *("--format", form, "--full", "--allow-private", "--json"),
                )
            )
        )
        for form in ("standard", "wix")
    }
    try:
        found = site.run("deliveries.mjs", port=port, publicKey=public_key, secret=added["standard"]["secret"])
    finally:
        for each in added.values():
            program.run("webhooks", "remove", each["id"])
    person = "told@customer.example"
    expected = [
        ["created", found["id"], "RECEIVED", person],
        ["updated", found["id"], "NOTIFICATION_SENT", person],
        ["deleted", found["id"], "NOTIFICATION_SENT", None],
    ]
    assert found["wix"] == expected
    assert found["standard"] == expected
