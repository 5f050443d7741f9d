"""Runs scripts for Node: JSON in, JSON out."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any, Final

from tests.web import tools

SECONDS: Final = 240
"""More than any script takes."""


def run(script: str, authority: Path | None = None, /, **given: Any) -> Any:
    """Runs a script of this folder and returns what it tells. Raises AssertionError if it fails.

    Its https trusts `authority` besides the usual ones.
    """
    trust = {"NODE_EXTRA_CA_CERTS": str(authority)} if authority else {}
    try:
        done = subprocess.run(
            ["node", script, json.dumps(given)],
            cwd=tools.FOLDER,
            env=os.environ | trust | {"TEST_CHROMIUM": tools.chromium() or ""},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        raise AssertionError(f"{script} takes over {SECONDS} s: {late.stderr!r}") from None
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
