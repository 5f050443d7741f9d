"""The alert rules and the dashboard in `ops/`: each alert fires when it should, and what they name exists."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
import typer.main
import yaml

from worker.cli import app
from worker.services.metrics import Queued, Stored, families
from worker.store.breaker import Breaker
from worker.store.figures import RequestFigures
from worker.store.pauses import Paused
from worker.stream.figures import Figures
from worker.web.admin.frame import MENU
from worker.web.http_counts import HttpCounts

ROOT: Final = Path(__file__).parents[2]
RULES_FILE: Final = ROOT / "ops" / "prometheus" / "stockbell.rules.yaml"
(GROUP,) = yaml.safe_load(RULES_FILE.read_text())["groups"]
RULES: Final[dict[str, dict[str, Any]]] = {rule["alert"]: rule for rule in GROUP["rules"]}
PAGE: Final = (ROOT / "docs" / "alerts.md").read_text()
STEPS: Final = 241
"""Samples of each series, one every 30 s: two hours."""
JOB: Final = 'job="stockbell"'

needs_promtool = pytest.mark.skipif(
    not shutil.which("promtool"), reason="promtool is not installed (Debian: apt install prometheus)"
)

Series = Mapping[str, Callable[[float], float | None]]
"""Values of series by minute; None: absent."""


def always(value: float | None) -> Callable[[float], float | None]:
    return lambda _minute: value


def after(minute: float, value: float | None, before: float | None = 0) -> Callable[[float], float | None]:
    return lambda now: value if now >= minute else before


def until(minute: float, value: Callable[[float], float | None]) -> Callable[[float], float | None]:
    return lambda now: value(now) if now < minute else None


def between(start: float, end: float, value: float, else_: float = 0) -> Callable[[float], float | None]:
    return lambda now: value if start <= now < end else else_


def without_a_quarter(value: Callable[[float], float | None]) -> Callable[[float], float | None]:
    return lambda now: None if 20 <= now < 35 else value(now)


def rate(per_minute: float, start: float = 0) -> Callable[[float], float | None]:
    """A counter that grows from that minute on."""
    return lambda now: 1000 + per_minute * max(0.0, now - start)


def buckets(late: float) -> Series:
    """First mails of which this share comes after 60 s, and none after 120 s."""
    name = "stockbell_restock_to_first_mail_seconds_bucket"
    return {
        f'{name}{{le="1"}}': rate(4),
        f'{name}{{le="60"}}': rate(10 * (1 - late)),
        f'{name}{{le="120"}}': rate(10),
        f'{name}{{le="+Inf"}}': rate(10),
    }


def mails(told: float, failed: float, suppressed: float = 0, start: float = 0) -> Series:
    """So many mails a minute from that minute on."""
    return {
        'stockbell_mails_total{outcome="told",code=""}': rate(told, start),
        'stockbell_mails_total{outcome="failed",code="RECIPIENT_REJECTED"}': rate(failed / 2, start),
        'stockbell_mails_total{outcome="failed",code="MESSAGE_REJECTED"}': rate(failed / 2, start),
        'stockbell_mails_total{outcome="failed",code="SUPPRESSED"}': rate(suppressed, start),
    }


def leaving(unsubscribed: float, bounced: float = 0) -> Series:
    return {
        'stockbell_unsubscribes_total{how="unsubscribed"}': rate(unsubscribed / 2),
        'stockbell_unsubscribes_total{how="complained"}': rate(unsubscribed / 2),
        'stockbell_unsubscribes_total{how="bounced"}': rate(bounced),
        'stockbell_unsubscribes_total{how="manual"}': rate(bounced),
    }


HEALTHY: Final[Series] = {
    "up": always(1),
    'stockbell_build_info{version="0.1.0"}': always(1),
    'stockbell_up{part="database"}': always(1),
    'stockbell_up{part="redis"}': always(1),
    "stockbell_oldest_due_seconds": lambda now: now % 5 * 10,
    "stockbell_requests_due": lambda now: now % 3 * 500,
    "stockbell_requests_held": always(0),
    "stockbell_overdue_claims": always(0),
    "stockbell_workers": always(2),
    "stockbell_last_sweep_seconds": lambda now: now % 2 * 4,
    "stockbell_breaker_open": always(0),
    "stockbell_events_lag": lambda now: now % 2 * 40,
    "stockbell_dead_letters": always(7),
    "stockbell_webhook_oldest_seconds": lambda now: now % 7,
    **mails(told=100, failed=1, suppressed=30),
    **buckets(late=0.01),
    **leaving(unsubscribed=0.2, bounced=9),
}

JUST_BELOW: Final[Series] = {
    "up": between(10, 12, 0, 1),  # a scrape that fails for two minutes
    'stockbell_build_info{version="0.1.0"}': lambda now: None if 10 <= now < 12 else 1,
    'stockbell_up{part="redis"}': between(20, 22, 0, 1),
    "stockbell_oldest_due_seconds": always(60),
    "stockbell_requests_due": lambda now: 0 if 30 <= now < 40 else 500,
    "stockbell_workers": lambda now: 0 if 30 <= now < 40 or 50 <= now < 51 else 1,
    "stockbell_requests_held": between(15, 16, 3),
    "stockbell_overdue_claims": lambda now: 3 if 20 <= now < 25 or 26 <= now < 31 else 0,
    "stockbell_last_sweep_seconds": always(60),
    "stockbell_breaker_open": lambda now: 1 if 20 <= now < 22 or 23 <= now < 25 else 0,
    # Grows for nine minutes, is read, and comes down slowly from a flood.
    "stockbell_events_lag": lambda now: now * 100 if now < 9 else 0 if now < 15 else (60 - now) * 1000,
    "stockbell_dead_letters": lambda now: 50 - now // 10,
    "stockbell_webhook_oldest_seconds": always(3600),
    **mails(told=95.1, failed=4.9),
    **buckets(late=0.049),
    **leaving(unsubscribed=0.99 * 0.951),
}


@dataclass(frozen=True)
class Case:
    """What makes one alert fire, and no other."""

    alert: str
    series: Series
    quiet: float
    """a minute at which it does not fire yet"""
    fires: float
    value: str = ""
    """what its words say instead of $value"""
    labels: Mapping[str, str] = field(default_factory=lambda: {"job": "stockbell"})


def case(alert: str, series: Series, quiet: float, fires: float, value: str = "", **labels: str) -> Case:
    return Case(alert, series, quiet, fires, value, {"job": "stockbell", **labels})


GONE: Final[Series] = {name: until(10, value) for name, value in HEALTHY.items()}
CASES: Final = (
    case("StockbellTargetDown", {**GONE, "up": after(10, 0, 1)}, 11.5, 12),
    Case("StockbellNoMetrics", GONE, 14.5, 15, labels={}),
    case("StockbellPartAway", {'stockbell_up{part="redis"}': after(10, 0, 1)}, 11.5, 12, part="redis"),
    case(
        "StockbellPartAway",
        {**GONE, "up": always(1), 'stockbell_build_info{version="0.1.0"}': always(1)}
        | {'stockbell_up{part="database"}': after(10, 0, 1)},
        11.5,
        40,
        part="database",
    ),
    case("StockbellDue", {"stockbell_oldest_due_seconds": after(10, 61)}, 11.5, 12, "1m 1s"),
    case("StockbellBreakerOpen", {"stockbell_breaker_open": after(10, 1)}, 11.5, 12),
    case(
        "StockbellNoWorker", {"stockbell_requests_due": always(1), "stockbell_workers": after(10, 0, 1)}, 10.5, 11, "1"
    ),
    case("StockbellSweepLate", {"stockbell_last_sweep_seconds": after(10, 61)}, 10.5, 11),
    case("StockbellSweepLate", {"stockbell_last_sweep_seconds": always(None)}, 0.5, 1),  # it never ran
    case("StockbellClaimsOverdue", {"stockbell_overdue_claims": after(10, 1)}, 14.5, 15, "1"),
    case("StockbellHeld", {"stockbell_requests_held": after(10, 1)}, 10.5, 11, "1"),
    case("StockbellFailing", mails(told=94.9, failed=5.1, suppressed=50, start=30), 30, 50, "5.1%"),
    case("StockbellFailing", mails(told=0, failed=20.3 / 15, start=30), 40, 45.5, "100%"),
    case("StockbellSlow", buckets(late=0.051), 0, 20, "1m 1s"),
    case("StockbellEventsWait", {"stockbell_events_lag": after(10, 1)}, 19, 20.5, "1"),  # nobody reads
    case("StockbellEventsWait", {"stockbell_events_lag": lambda now: 100 * max(0.0, now - 10)}, 19, 21, "600"),
    case("StockbellDeadLetters", {"stockbell_dead_letters": after(10, 8, 7)}, 9.5, 10, "1"),
    case("StockbellDeadLetters", {"stockbell_dead_letters": after(10, 1)}, 9.5, 24, "1"),  # the first one ever
    case("StockbellWebhooksLate", {"stockbell_webhook_oldest_seconds": after(10, 3601)}, 9.5, 10, "1h 0m 1s"),
    case("StockbellUnsubscribes", leaving(unsubscribed=1.01), 0, 60, "1.01%"),
)
DOWN: Final = "Prometheus was down for a quarter of an hour"
NEVER_FIRE: Final[Mapping[str, Series]] = {
    "a healthy hour": {},
    "just below every limit": JUST_BELOW,
    "all of 19 mails failed": mails(told=0, failed=19.5 / 15),
    "99 were told and half of them left": {**mails(told=99 / 60, failed=0), **leaving(unsubscribed=0.5)},
    "nothing happens at all": {**mails(0, 0), **leaving(0), **{name: always(5) for name in buckets(0)}},
    "one of two replicas is away": {},
    "a replica that is new": {},
    DOWN: {name: without_a_quarter(value) for name, value in HEALTHY.items()},
}


def promtool(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, check=False)


def samples(value: Callable[[float], float | None], gap: str = "stale") -> str:
    """Returns the samples in promtool's words. Prometheus marks a series as stale that a scrape did not have."""
    found = (value(step / 2) for step in range(STEPS))
    return " ".join(gap if each is None else f"{each:.6f}" for each in found)


def labelled(name: str, more: str) -> str:
    return f"{name[:-1]},{more}}}" if name.endswith("}") else f"{name}{{{more}}}"


def inputs(
    series: Series, second: Callable[[str], Callable[[float], float | None]] | None = None, gap: str = "stale"
) -> list[Any]:
    """Returns the series of two web processes of one shop. `second` are those of the other one, if they differ."""
    return [
        {"series": labelled(name, f'{JOB},instance="{instance}:8000"'), "values": samples(value, gap)}
        for name, first in {**HEALTHY, **series}.items()
        for instance, value in (("a", first), ("b", second(name) if second else first))
    ]


def alerts(case: Case) -> dict[str, Any]:
    """Returns the alert with its words, as promtool wants it."""
    labels = {**case.labels, **RULES[case.alert]["labels"]}

    def filled(words: str) -> str:
        words = re.sub(r"{{ \$value[^}]*}}", case.value, words)
        return re.sub(r"{{ \$labels.(\w+) }}", lambda found: case.labels[found[1]], words)

    words = {name: filled(text) for name, text in RULES[case.alert]["annotations"].items()}
    return {"exp_labels": labels, "exp_annotations": words}


def firing(case: Case) -> str:
    labels = {"alertname": case.alert, "alertstate": "firing", **case.labels, **RULES[case.alert]["labels"]}
    return "ALERTS{" + ", ".join(f'{name}="{value}"' for name, value in labels.items()) + "}"


def test_of(case: Case) -> dict[str, Any]:
    question = {"expr": 'ALERTS{alertstate="firing"}'}
    return {
        "interval": "30s",
        "name": f"{case.alert} fires at {case.fires} min, and nothing else does",
        "input_series": inputs(case.series),
        "promql_expr_test": [
            {**question, "eval_time": f"{case.quiet * 60:.0f}s", "exp_samples": []},
            {**question, "eval_time": f"{case.fires * 60:.0f}s", "exp_samples": [{"labels": firing(case), "value": 1}]},
        ],
        "alert_rule_test": [
            {"eval_time": f"{case.quiet * 60:.0f}s", "alertname": case.alert, "exp_alerts": []},
            {"eval_time": f"{case.fires * 60:.0f}s", "alertname": case.alert, "exp_alerts": [alerts(case)]},
        ],
    }


test_of.__test__ = False  # type: ignore[attr-defined]  # it makes tests for promtool
SECOND: Final[Mapping[str, Callable[[str], Callable[[float], float | None]]]] = {
    "one of two replicas is away": lambda name: after(10, 0 if name == "up" else None, HEALTHY[name](0)),
    "a replica that is new": lambda name: lambda now: HEALTHY[name](now) if now >= 30 else None,
}


def silence(name: str) -> dict[str, Any]:
    # promtool evaluates the rules also while there is nothing. A Prometheus that is down does not.
    others = ', alertname!="StockbellNoMetrics"' if name == DOWN else ""
    question = f'count_over_time(ALERTS{{alertstate="firing"{others}}}[1h])'
    return {
        "interval": "30s",
        "name": name,
        "input_series": inputs(NEVER_FIRE[name], SECOND.get(name), "_" if name == DOWN else "stale"),
        "promql_expr_test": [{"expr": question, "eval_time": "1h", "exp_samples": []}],
    }


def verdict(tests: list[dict[str, Any]], tmp_path: Path, rules: Path = RULES_FILE) -> str:
    """Returns what promtool finds wrong; "" if nothing is."""
    path = tmp_path / "tests.yaml"
    path.write_text(json.dumps({"rule_files": [str(rules)], "evaluation_interval": "30s", "tests": tests}))
    done = promtool("test", "rules", path)
    return "" if done.returncode == 0 else done.stdout + done.stderr


@needs_promtool
def test_prometheus_takes_the_rules() -> None:
    done = promtool("check", "rules", RULES_FILE)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{len(RULES)} rules found" in done.stdout


@needs_promtool
def test_each_alert_fires_when_it_should_and_no_other_does(tmp_path: Path) -> None:
    assert {case.alert for case in CASES} == set(RULES)
    wrong = verdict([test_of(case) for case in CASES], tmp_path)
    assert not wrong, wrong


@needs_promtool
@pytest.mark.parametrize("name", NEVER_FIRE)
def test_no_alert_fires_in(name: str, tmp_path: Path) -> None:
    wrong = verdict([silence(name)], tmp_path)
    assert not wrong, wrong


@needs_promtool
def test_promtool_tells_when_alerts_are_missing(tmp_path: Path) -> None:
    path = tmp_path / "none.yaml"
    path.write_text('groups: [{ name: none, rules: [{ record: "none", expr: "1" }] }]')
    wrong = verdict([test_of(case) for case in CASES], tmp_path, path)
    assert set(re.findall(r"alertname: (\w+)", wrong)) == set(RULES)


# what the rules say


@pytest.mark.parametrize("alert", RULES)
def test_an_alert_says_what_it_is_and_where_to_look(alert: str) -> None:
    rule = RULES[alert]
    assert rule["labels"]["severity"] in {"critical", "warning"}
    words = rule["annotations"]
    assert words.keys() == {"summary", "description", "runbook"}
    assert words["runbook"] == f"docs/alerts.md#{alert.lower()}"
    assert f"\n### {alert}\n" in PAGE
    named = set(re.findall(r"`stockbell ([a-z-]+)(?: ([a-z-]+))?[^`]*`", words["description"]))
    assert named
    commands: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]  # it is a group
    for command, inner in named:
        assert command in commands
        assert not inner or inner in commands[command].commands
    pages = {entry.path for entries in MENU.values() for entry in entries}
    assert set(re.findall(r"/admin(/[a-z-]*)", words["description"])) <= pages


def test_the_page_tells_of_each_alert_and_of_no_other() -> None:
    assert re.findall(r"^### (\w+)$", PAGE, re.MULTILINE) == list(RULES)


PARTS: Final = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "info": ("_info",), "gauge": ("",)}
"""what the names of a family's series end with"""


def series_names() -> set[str]:
    """Returns the names of all series that a web process tells."""
    requests = RequestFigures({}, None, 0, 0, {})
    closed, nothing_paused = Breaker("closed", None, None, None), Paused(everything=False, items=())
    stored = Stored(requests, closed, nothing_paused, {}, 0.0, 1.0, {})
    found = (*families(stored, Queued(Figures(0, 0, 0, 0), 0)), *HttpCounts().families())
    return {f"{family.name}{part}" for family in found for part in PARTS[family.type]}


NAMES: Final = series_names()


def names_in(expression: str) -> set[str]:
    return set(re.findall(r"\bstockbell_\w+", expression))


@pytest.mark.parametrize("alert", RULES)
def test_the_rules_name_metrics_of_ours(alert: str) -> None:
    assert names_in(RULES[alert]["expr"]) - NAMES == set()


def test_replicas_are_never_added_up() -> None:
    """Each tells the whole truth, so that a sum of two would be twice as much."""
    for rule in RULES.values():
        for place in re.finditer(r"\bstockbell_\w+", rule["expr"]):
            before = rule["expr"][: place.start()]
            assert "max without (instance, pod" in before or "absent(" in before, rule["alert"]


@needs_promtool
def test_prometheus_takes_the_configuration_of_the_page(tmp_path: Path) -> None:
    (config, *_) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "prometheus.yml").write_text(config)
    done = promtool("check", "config", "--syntax-only", tmp_path / "prometheus.yml")
    assert (done.returncode, done.stderr) == (0, "")
    assert yaml.safe_load(config)["rule_files"] == [RULES_FILE.name]


# the dashboard

DASHBOARD: Final[dict[str, Any]] = json.loads((ROOT / "ops" / "grafana" / "stockbell.json").read_text())
PANELS: Final[list[dict[str, Any]]] = DASHBOARD["panels"]
EXPRESSIONS: Final = [target["expr"] for panel in PANELS for target in panel.get("targets", ())]
VARIABLES: Final = {"$job": "stockbell", "$__rate_interval": "2m", "$__range": "6h"}
WIDE: Final = 24
"""columns of Grafana's grid"""


def filled(expression: str) -> str:
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    return expression


def test_the_dashboard_has_a_row_for_each_question() -> None:
    rows = [panel["title"] for panel in PANELS if panel["type"] == "row"]
    assert rows == ["Are customers told?", "How fast?", "Who was not told?", "What stands still?"]


def test_the_panels_have_an_id_each_and_do_not_overlap() -> None:
    ids = [panel["id"] for panel in PANELS]
    assert len(set(ids)) == len(ids) > 30
    taken: set[tuple[int, int]] = set()
    for panel in PANELS:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < WIDE, panel["title"]
        taken |= cells
    height = max(y for _, y in taken) + 1
    assert len(taken) == WIDE * height, "there are no holes either"


def test_the_dashboard_can_be_imported_anywhere() -> None:
    source, job = DASHBOARD["templating"]["list"]
    assert (source["type"], source["query"]) == ("datasource", "prometheus")
    assert DASHBOARD.get("uid") is DASHBOARD.get("id") is None, "it would replace another one"
    assert DASHBOARD["schemaVersion"] == 38, "Grafana 10.0; later ones migrate it"
    variable = {"type": "prometheus", "uid": "${datasource}"}
    shown = [panel for panel in PANELS if panel["type"] != "row"]
    assert all(panel["description"] for panel in shown)
    sources = [target["datasource"] for panel in shown for target in panel["targets"]]
    assert all(each == variable for each in (*sources, *(panel["datasource"] for panel in shown), job["datasource"]))


@pytest.mark.parametrize("expression", sorted(set(EXPRESSIONS)))
def test_the_dashboard_asks_for_metrics_of_ours_in_one_shop(expression: str) -> None:
    assert names_in(expression) - NAMES == set()
    assert "$" not in filled(expression)
    if "ALERTS" not in expression:
        assert re.findall(r"max without \(instance, pod\)", expression)
        assert expression.count('job="$job"') == len(re.findall(r"\b(?:stockbell_\w+|up)\{", expression))


@needs_promtool
def test_prometheus_understands_what_the_dashboard_asks(tmp_path: Path) -> None:
    rules = [{"record": f"panel:{place}", "expr": filled(each)} for place, each in enumerate(EXPRESSIONS)]
    path = tmp_path / "rules.yaml"
    path.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    done = promtool("check", "rules", path)
    assert (done.returncode, done.stderr) == (0, "")
