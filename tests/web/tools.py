"""The programs that these tests need besides Python: Node with npm, and Chromium. TEST_CHROMIUM names another one."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent
LOCK: Final = FOLDER / "package-lock.json"
INSTALLED: Final = FOLDER / "node_modules" / ".package-lock.json"
OLDEST_NODE: Final = 20


def chromium() -> str | None:
    """Returns the path of Chromium, or None if there is none."""
    names = (os.environ.get("TEST_CHROMIUM"), "chromium", "chromium-browser", "google-chrome")
    return next((path for name in names if name and (path := shutil.which(name))), None)


def missing() -> str | None:
    """Returns what keeps all of these tests from running, or None."""
    if not (shutil.which("node") and shutil.which("npm")):
        return f"there is no Node with npm. Install Node {OLDEST_NODE} or newer"
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=False).stdout
    found = re.match(r"v(\d+)", version)
    if found is None or int(found[1]) < OLDEST_NODE:
        return f"Node is {version.strip() or 'broken'}. Install Node {OLDEST_NODE} or newer"
    return None


def install() -> None:
    """Installs the locked packages, unless they are there. No package's own scripts run."""
    if not INSTALLED.exists() or INSTALLED.stat().st_mtime < LOCK.stat().st_mtime:
        subprocess.run(["npm", "ci", "--ignore-scripts", "--silent"], cwd=FOLDER, check=True)
        INSTALLED.touch()
