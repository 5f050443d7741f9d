"""The recipes in `ops/` fit the program: commands, settings, versions, users and periods."""

import os
import re
import shlex
import shutil
import subprocess
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from config.settings import Settings, load, variable
from worker.cli import app
from worker.domain.errors import BadSetting
from worker.processes import supervisor
from worker.stream.entries import GROUP

ROOT = Path(__file__).parents[2]
OPS = ROOT / "ops"
KUBERNETES = OPS / "kubernetes"
SYSTEMD = OPS / "systemd"
DOCKERFILE = (OPS / "docker" / "Dockerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((OPS / "compose.yaml").read_text())
OURS = {name: each for name, each in COMPOSE["services"].items() if each["image"].startswith("stockbell:")}
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]  # it is a group
PROGRAM = "/usr/local/lib/stockbell/bin/stockbell"
SCRATCH = "/tmp"  # noqa: S108  # in a container of its own
PROCESSES = {
    "listener": "listen",
    "worker": "work",
    "scheduler": "schedule",
    "bounces": "bounces",
    "web": "web",
    "admin": "web",
}
LONGEST_STOP = supervisor.PATIENCE_SECONDS
"""Seconds after which a worker has ended by itself, whatever hangs."""


def objects(*names: str) -> Iterator[dict[str, Any]]:
    """Yields the Kubernetes objects of these files (default: of all)."""
    for path in sorted(KUBERNETES.rglob("*.yaml")):
        if path.name != "kustomization.yaml" and (not names or path.name in names):
            yield from yaml.safe_load_all(path.read_text())


def named(kind: str) -> dict[str, dict[str, Any]]:
    return {each["metadata"]["name"]: each for each in objects() if each["kind"] == kind}


def pods() -> dict[str, dict[str, Any]]:
    """Returns the pods that the manifests make, by the name of what makes them."""
    found = {}
    for each in objects():
        spec = each.get("spec", {})
        spec = spec.get("jobTemplate", {}).get("spec", spec)
        if "template" in spec:
            found[each["metadata"]["name"]] = spec["template"]["spec"]
    return found


def containers() -> dict[str, dict[str, Any]]:
    return {
        f"{name}/{each['name']}": each
        for name, pod in pods().items()
        for each in (*pod.get("initContainers", ()), *pod["containers"])
    }


def units() -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted(SYSTEMD.glob("stockbell*.service"))}


def command_lines() -> Iterator[tuple[str, list[str]]]:
    """Yields where a command of ours is run, and its words."""
    for name, container in containers().items():
        script = " ".join(container.get("command", ()))
        yield name, container.get("args") or re.findall(r"stockbell ([^;]+);", script)[0].split()
    for name, service in OURS.items():
        yield name, service.get("command") or service["healthcheck"]["test"][2:]
    for name, text in units().items():
        for line in re.findall(rf"^ExecStart={PROGRAM} (.*)$", text, re.MULTILINE):
            yield name, shlex.split(line.replace("${CHILDREN}", "2"))


def test_each_command_that_a_recipe_runs_is_one_with_its_options() -> None:
    found = list(command_lines())
    assert len(found) == 14 + 8 + 8
    for where, (name, *arguments) in found:
        assert name in COMMANDS, where
        COMMANDS[name].make_context(name, list(arguments))  # raises for an unknown option


@pytest.mark.parametrize("process", PROCESSES)
def test_each_recipe_runs_each_process(process: str) -> None:
    running = {words[0] for where, words in command_lines() if process in where and "schema" not in where}
    assert running == {PROCESSES[process]}
    assert sum(process in where for where, _ in command_lines()) == 4  # with the init container


# Settings


def settings_of(environment: Mapping[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    for name in (*os.environ, *map(variable, Settings.model_fields)):
        if name.startswith("STOCKBELL_") or name.endswith("_URL") or name == "MAIL_FROM":
            monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return load(tmp_path / "no.env")


def test_the_settings_of_the_pods_are_valid(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environment = named("ConfigMap")["stockbell"]["data"] | named("Secret")["stockbell"]["stringData"]
    found = settings_of(environment, monkeypatch, tmp_path)
    assert found.smtp
    assert found.mail_from
    assert set(environment) <= {variable(field) for field in Settings.model_fields}


def filled_in(text: str, given: Mapping[str, str]) -> str:
    """Does what Compose does with ${NAME}, ${NAME:-default} and ${NAME:?what to do}."""

    def value(match: re.Match[str]) -> str:
        name, how, rest = match.groups()
        if not given.get(name):
            assert how == ":-", f"{name} has to be set"
            return rest or ""
        return given[name]

    return re.sub(r"\$\{(\w+)(:-|:\?)?([^}]*)\}", value, text)


def example() -> dict[str, str]:
    """Returns the values of `ops/compose.env.example`, those that are commented out too, with passwords."""
    lines = re.findall(r"^#?([A-Z_]+)=(.*)$", (OPS / "compose.env.example").read_text(), re.MULTILINE)
    return {name: value.strip('"') for name, value in lines} | {"DATABASE_PASSWORD": "secret", "REDIS_PASSWORD": "word"}


@pytest.mark.parametrize("service", OURS)
def test_the_settings_of_the_compose_file_are_valid(
    service: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given = example() | {"DATABASE_HOST": "pgbouncer"}
    environment = {name: filled_in(value, given) for name, value in OURS[service]["environment"].items()}
    found = settings_of(environment, monkeypatch, tmp_path)
    host = "postgres" if service == "migrate" else "pgbouncer"
    assert found.database_url.endswith(f"stockbell:secret@{host}:5432/stockbell")
    assert found.redis_url == "redis://:word@valkey:6379/0"
    assert set(environment) <= {variable(field) for field in Settings.model_fields}


def test_the_compose_file_needs_passwords_relay_and_sender() -> None:
    given = dict.fromkeys(re.findall(r"\$\{(\w+):\?", (OPS / "compose.yaml").read_text()), "")
    assert set(given) == {"DATABASE_PASSWORD", "REDIS_PASSWORD", "SMTP_URL", "MAIL_FROM"}
    known = set(re.findall(r"\$\{(\w+)", (OPS / "compose.yaml").read_text()))
    assert set(example()) == known, "the example names all variables of the compose file"


def test_what_kubernetes_would_add_for_a_service_stops_a_process(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(BadSetting, match="STOCKBELL_SERVICE_HOST"):
        settings_of({"STOCKBELL_SERVICE_HOST": "10.0.0.1"}, monkeypatch, tmp_path)
    assert {name for name, pod in pods().items() if pod.get("enableServiceLinks") is not False} == set()


# Versions


def test_all_recipes_name_this_version() -> None:
    images = {each["image"] for each in (*containers().values(), *OURS.values())}
    tags = re.findall(r"--tag (\S+)", DOCKERFILE)
    assert images | set(tags) == {f"stockbell:{VERSION}"}
    (renamed,) = yaml.safe_load((KUBERNETES / "base" / "kustomization.yaml").read_text())["images"]
    assert (renamed["name"], renamed["newTag"]) == ("stockbell", VERSION)


def test_the_image_is_built_from_what_the_wheel_needs() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    files = {"pyproject.toml", project["project"]["readme"], *project["project"]["license-files"], "requirements.lock"}
    copied = {
        word for line in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE) for word in line.split()
    }
    assert copied == {*packages, *files}
    assert {f"!{name}" for name in copied} <= set((ROOT / ".dockerignore").read_text().splitlines())
    assert "--require-hashes" in DOCKERFILE


# Users and rights


def test_each_pod_is_confined() -> None:
    uid, gid = re.findall(r"^USER (\d+):(\d+)$", DOCKERFILE, re.MULTILINE)[0]
    for name, pod in pods().items():
        assert pod["securityContext"] == {
            "runAsNonRoot": True,
            "runAsUser": int(uid),
            "runAsGroup": int(gid),
            "seccompProfile": {"type": "RuntimeDefault"},
        }, name
        assert pod["automountServiceAccountToken"] is False, name
    for name, container in containers().items():
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, name
        assert container["resources"]["limits"].keys() == {"memory"}, f"{name}: a limit of CPU would slow it down"
        assert [mount["mountPath"] for mount in container["volumeMounts"]] == [SCRATCH], name


@pytest.mark.parametrize("service", OURS)
def test_each_container_is_confined(service: str) -> None:
    found = OURS[service]
    assert (found["read_only"], found["cap_drop"], found["tmpfs"]) == (True, ["ALL"], [SCRATCH])
    assert "no-new-privileges:true" in found["security_opt"]
    assert found["mem_limit"]


# Starting and stopping


def seconds(text: object) -> float:
    return float(str(text).removesuffix("s"))


def test_each_recipe_waits_until_a_worker_has_ended() -> None:
    common = (SYSTEMD / "stockbell-.service.d" / "common.conf").read_text()
    periods = {
        **{name: pods()[name]["terminationGracePeriodSeconds"] for name in named("Deployment")},
        **{name: seconds(each["stop_grace_period"]) for name, each in OURS.items()},
        "systemd": seconds(re.findall(r"^TimeoutStopSec=(.+)$", common, re.MULTILINE)[0]),
    }
    assert len(periods) == 6 + 8 + 1
    assert {name for name, period in periods.items() if period < LONGEST_STOP + 5} == set()
    assert "KillMode=control-group" in common
    assert "STOPSIGNAL SIGTERM" in DOCKERFILE


def test_no_process_starts_before_the_migration_is_done() -> None:
    for process in PROCESSES:
        (schema,) = pods()[f"stockbell-{process}"]["initContainers"]
        assert schema["name"] == "schema"
        assert OURS[process]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"
    for name, text in units().items():
        if re.search(r" (listen|work|schedule|bounces|web)\b", text):
            assert re.findall(r"^(Wants|After)=stockbell-migrate.service$", text, re.MULTILINE) == ["Wants", "After"], (
                name
            )


def test_nothing_kills_a_process_because_something_else_is_away() -> None:
    probes = {"livenessProbe", "readinessProbe", "startupProbe"}
    probed = {name: probes & each.keys() for name, each in containers().items() if probes & each.keys()}
    assert probed == {"stockbell-web/web": {"readinessProbe"}}, "it only decides who gets requests"
    probe = containers()["stockbell-web/web"]["readinessProbe"]["httpGet"]
    assert probe["path"] == "/healthz", "a database that is away changes nothing"
    assert "HEALTHCHECK NONE" in DOCKERFILE
    assert {name for name, each in OURS.items() if "healthcheck" in each} == {"check"}


# Kubernetes


def test_the_kustomizations_name_all_files_but_the_examples() -> None:
    for path in KUBERNETES.glob("*/kustomization.yaml"):
        listed = set(yaml.safe_load(path.read_text())["resources"]) - {"../base"}
        there = {each.name for each in path.parent.glob("*.yaml")} - {path.name, "secret.example.yaml"}
        assert listed == there


def test_selectors_find_their_pods_and_scalers_their_deployments() -> None:
    deployments = named("Deployment")
    for each in deployments.values():
        assert each["spec"]["selector"]["matchLabels"] == each["spec"]["template"]["metadata"]["labels"]
    labels = [each["spec"]["template"]["metadata"]["labels"] for each in deployments.values()]
    for budget in named("PodDisruptionBudget").values():
        assert budget["spec"]["selector"]["matchLabels"] in labels
    for scaler in named("ScaledObject").values():
        target = deployments[scaler["spec"]["scaleTargetRef"]["name"]]
        assert scaler["spec"]["minReplicaCount"] == scaler["spec"]["fallback"]["replicas"] == target["spec"]["replicas"]
        assert scaler["spec"]["triggers"][0]["authenticationRef"]["name"] in named("TriggerAuthentication")
    keys = named("Secret")["stockbell-keda"]["stringData"].keys()
    wanted = [each for found in named("TriggerAuthentication").values() for each in found["spec"]["secretTargetRef"]]
    assert {each["key"] for each in wanted} == keys


def test_the_listeners_scale_on_the_stream_and_the_group_that_are_read() -> None:
    metadata = named("ScaledObject")["stockbell-listener"]["spec"]["triggers"][0]["metadata"]
    assert metadata["stream"] == Settings.model_fields["event_stream"].default
    assert metadata["consumerGroup"] == GROUP
    assert {"lagCount", "activationLagCount"} <= metadata.keys(), "older KEDA refuses the one without the other"


@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed")
def test_kubectl_puts_the_manifests_together() -> None:
    for folder, kinds in (("base", 9), ("keda", 13), ("bounces", 11), ("web", 12), ("admin", 10)):
        done = subprocess.run(
            ["kubectl", "kustomize", KUBERNETES / folder], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
        found = list(yaml.safe_load_all(done.stdout))
        assert len(found) == kinds
        deployments = {each["metadata"]["name"]: each["spec"] for each in found if each["kind"] == "Deployment"}
        counted = {name for name, spec in deployments.items() if "replicas" in spec}
        assert counted == ({"stockbell-scheduler"} if folder == "keda" else set(deployments))


# systemd


def verified(directory: Path) -> str:
    """Returns what systemd finds wrong with the units. It wants the program to be there, so ours takes its place."""
    program = directory / "stockbell"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    for path in directory.glob("*.service"):
        path.write_text(path.read_text().replace(PROGRAM, str(program)))
    names = [path.name.replace("@.", "@1.") for path in directory.glob("stockbell*.*") if path.is_file()]
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *(f"./{name}" for name in names)],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


needs_systemd = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")


@needs_systemd
def test_systemd_understands_the_units(tmp_path: Path) -> None:
    units = Path(shutil.copytree(SYSTEMD, tmp_path / "units"))
    assert verified(units) == ""
    common = units / "stockbell-.service.d" / "common.conf"
    common.write_text(common.read_text().replace("TimeoutStopSec=30", "TimeoutStopSec=soon"))
    assert "Failed to parse time value" in verified(units)


@needs_systemd
def test_each_unit_is_confined(tmp_path: Path) -> None:
    units = Path(shutil.copytree(SYSTEMD, tmp_path / "units"))
    for name in sorted(path.name.replace("@.", "@1.") for path in units.glob("*.service")):
        done = subprocess.run(
            ["systemd-analyze", "security", "--offline=yes", "--threshold=15", "--no-pager", f"./{name}"],
            cwd=units,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{name}: {done.stdout}{done.stderr}"
