"""A real Prometheus with our rules scrapes real web processes: it takes both, and an alert fires."""

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
import yaml

from tests.acceptance.stockbell import Stockbell, done
from tests.polling import eventually
from tests.ports import free_port

ROOT: Final = Path(__file__).parents[2]
RULES: Final = ROOT / "ops" / "prometheus" / "stockbell.rules.yaml"
BOARD: Final[dict[str, Any]] = json.loads((ROOT / "ops" / "grafana" / "stockbell.json").read_text())
VARIABLES: Final = {"$job": "stockbell", "$__rate_interval": "1m", "$__range": "5m"}
EMPTY: Final = {"stockbell_webhook_backlog"}
"""What has no series in a shop without webhooks."""

pytestmark = pytest.mark.skipif(
    not shutil.which("prometheus"), reason="Prometheus is not installed (Debian: apt install prometheus)"
)


class Prometheus:
    """A running server, asked by its HTTP API."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    def ask(self, path: str, **query: str) -> Any:
        """Returns the data of an answer. Raises OSError if it does not answer."""
        with urlopen(f"{self.url}/api/v1/{path}?{urlencode(query)}", timeout=10) as reply:  # noqa: S310  # our own
            return json.load(reply)["data"]

    def values(self, expression: str) -> list[float]:
        return [float(each["value"][1]) for each in self.ask("query", query=expression)["result"]]

    def is_ready(self) -> bool:
        with suppress(OSError, HTTPException):
            return bool(self.ask("status/buildinfo"))
        return False

    def targets(self) -> list[str]:
        return [each["health"] for each in self.ask("targets")["activeTargets"]]

    def rules(self) -> Mapping[str, dict[str, Any]]:
        (group,) = self.ask("rules")["groups"]
        return {rule["name"]: rule for rule in group["rules"]}

    def firing(self) -> dict[str, dict[str, Any]]:
        found = self.ask("alerts")["alerts"]
        return {each["labels"]["alertname"]: each for each in found if each["state"] == "firing"}


@contextmanager
def prometheus(directory: Path, *ports: int, key: str) -> Iterator[Prometheus]:
    """Runs a server that scrapes these ports every second, as docs/alerts.md says."""
    directory.mkdir()
    (directory / "stockbell.key").write_text(key)
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(RULES)],
        "scrape_configs": [
            {
                "job_name": "stockbell",
                "authorization": {"credentials_file": str(directory / "stockbell.key")},
                "static_configs": [{"targets": [f"127.0.0.1:{port}" for port in ports]}],
            }
        ],
    }
    (directory / "prometheus.yml").write_text(yaml.safe_dump(config))
    port = free_port()
    options = (
        f"--config.file={directory}/prometheus.yml",
        f"--storage.tsdb.path={directory}/data",
        f"--web.listen-address=127.0.0.1:{port}",
    )
    with (directory / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(["prometheus", *options], stdout=log, stderr=log, cwd=directory)
    try:
        server = Prometheus(port)
        eventually(server.is_ready, until=f"Prometheus answers; {(directory / 'prometheus.log').read_text()[-500:]}")
        yield server
    finally:
        process.terminate()
        process.wait(30)


def filled(expression: str) -> str:
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    return expression


def test_a_real_prometheus_reads_the_figures_and_fires_an_alert(stockbell: Stockbell, tmp_path: Path) -> None:
    key = json.loads(done(stockbell.run("keys", "create", "prometheus", "--scope", "read", "--json")))["key"]
    stockbell.start_all()
    ports = [free_port(), free_port()]
    for port in ports:
        stockbell.start("web", PORT=str(port))
    addresses = stockbell.waiting("mug-1", 3)
    eventually(lambda: stockbell.logs().count('"web.started"') == 2, until="both web processes listen")

    with prometheus(tmp_path / "prometheus", *ports, key=key) as server:
        eventually(lambda: server.targets() == ["up", "up"], until="both targets are up")
        eventually(lambda: server.values('stockbell_mails_total{outcome="told"}') == [0, 0], until="there are samples")

        stockbell.publish(catalogItemId="mug-1", inStock="true")
        stockbell.until(NOTIFICATION_SENT=len(addresses))
        stockbell.publish(nonsense="1")
        eventually(lambda: "StockbellDeadLetters" in server.firing(), until="the dead letter is noticed")
        alert = server.firing()["StockbellDeadLetters"]
        assert alert["labels"] == {"alertname": "StockbellDeadLetters", "job": "stockbell", "severity": "warning"}
        assert alert["annotations"]["description"].startswith(
            "Events that became dead letters in the last 15 minutes: 1."
        )

        told = 'stockbell_mails_total{outcome="told"}'
        eventually(lambda: server.values(told) == [3, 3], until="both processes tell the same")
        increase = eventually(lambda: server.values(f"sum(max without (instance) (increase({told}[5m])))"))
        assert 2.9 < increase[0] < 4.5, "it is not twice as much; a bit is added for the ends of the window"

        # Evaluated with the series of two processes, where labels have to match.
        rules = server.rules()
        assert {name: rule["health"] for name, rule in rules.items()} == dict.fromkeys(rules, "ok")
        assert {rule.get("lastError", "") for rule in rules.values()} == {""}
        assert len(rules) == len(yaml.safe_load(RULES.read_text())["groups"][0]["rules"])
        assert set(server.firing()) == {"StockbellDeadLetters"}

        for panel in BOARD["panels"]:
            for target in panel.get("targets", ()):
                found = server.values(filled(target["expr"]))
                assert found or any(name in target["expr"] for name in EMPTY), target["expr"]
