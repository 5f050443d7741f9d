"""`make audit`: checks that what is installed is what requirements.lock says, file by file, and has no known weakness.

pip-audit looks the weaknesses up. It runs if it is on PATH and can reach its data. The exit code is 1 if anything is
wrong.
"""

import base64
import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Final

from packaging.markers import Marker
from packaging.utils import canonicalize_name

from tests import wheels

ROOT: Final = Path(__file__).parents[1]
LOCK: Final = ROOT / "requirements.lock"
OURS: Final = {"stockbell", "pip", "setuptools"}
"""The packages in .venv that are not from the lock: the program itself, and the tools that installed it."""
_ENTRY = re.compile(
    r"(?P<name>[\w.-]+)==(?P<version>\S+)(?: ; (?P<marker>[^#]+?))?(?P<hashes>(?: +--hash=sha256:[0-9a-f]{64})+) *"
)


@dataclass(frozen=True, slots=True)
class Pin:
    """One entry of the lock."""

    version: str
    marker: str | None
    hashes: tuple[str, ...]

    @property
    def is_for_here(self) -> bool:
        """Whether the package belongs on this machine, with this Python."""
        return self.marker is None or Marker(self.marker).evaluate()


def pins(lock: str) -> dict[str, Pin]:
    """Returns the lock's entries by name. Raises ValueError for an entry that is not a version with its hashes."""
    found: dict[str, Pin] = {}
    for line in lock.replace("\\\n", " ").splitlines():
        if not line.startswith("#"):
            entry = _ENTRY.fullmatch(line)
            if entry is None:
                raise ValueError(f"not a version with its hashes: {line.split(' ')[0]}")
            hashes = tuple(re.findall("[0-9a-f]{64}", entry["hashes"]))
            found[canonicalize_name(entry["name"])] = Pin(entry["version"], entry["marker"], hashes)
    return found


def differences(locked: Mapping[str, Pin], installed: Mapping[str, str]) -> Iterator[str]:
    """Yields a line for each difference between what is installed (name and version) and what is locked."""
    for name, pin in locked.items():
        if pin.is_for_here and installed.get(name) != pin.version:
            yield f"{name}: locked is {pin.version}, installed {installed.get(name, 'is none')}"
    yield from (f"{name}: installed, and not locked" for name in installed if name not in locked and name not in OURS)


def changed_files(distribution: Distribution) -> Iterator[str]:
    """Yields a line for each file of an installed package that is not as its wheel had it."""
    for file in distribution.files or ():
        path = Path(str(file.locate()))
        if file.hash is not None and (not path.is_file() or _digest(path, file.hash.mode) != file.hash.value):
            yield f"{distribution.name}: {file} was changed or is gone"


def _digest(path: Path, algorithm: str) -> str:
    digest = hashlib.new(algorithm, path.read_bytes(), usedforsecurity=True).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def _known_weaknesses() -> Iterator[str]:
    program = shutil.which("pip-audit")
    if program is None:
        _say("pip-audit is not on PATH: what is known against these versions was not looked up")
        return
    command = [program, "--requirement", str(LOCK), "--disable-pip", "--require-hashes"]
    answer = subprocess.run(
        [*command, "--format", "json", "--progress-spinner", "off"], capture_output=True, text=True, check=False
    )
    try:
        found = json.loads(answer.stdout)["dependencies"]
    except ValueError:
        _say(f"pip-audit could not look: {(answer.stderr.splitlines() or ['it said nothing'])[-1][:200]}")
        return
    _say(f"pip-audit looked {len(found)} packages up")
    yield from weaknesses(found)


def weaknesses(dependencies: Iterable[Mapping[str, object]]) -> Iterator[str]:
    """Yields a line for each weakness of our packages that pip-audit's JSON names."""
    for package in dependencies:
        known = package.get("vulns")
        for weakness in known if isinstance(known, list) else ():
            cured = ", ".join(weakness["fix_versions"]) or "no version yet"
            yield f"{package['name']} {package.get('version')}: {weakness['id']}, cured in {cured}"


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def main() -> int:
    """Makes all checks and prints what they find."""
    here = list(distributions())
    installed: dict[str, str] = {canonicalize_name(distribution.name): distribution.version for distribution in here}
    locked = pins(wheels.without(wheels.missing_here(), LOCK.read_text()))
    wrong = [*differences(locked, installed)]
    wrong += [change for distribution in here for change in changed_files(distribution)]
    wrong += _known_weaknesses()
    for text in wrong:
        _say(text)
    _say(f"{len(installed)} packages installed, {len(locked)} locked with their hashes, {len(wrong)} things wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
