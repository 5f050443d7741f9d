"""A real Postfix in a folder of its own, for tests: it takes our mails and makes real reports of those that it can't
deliver. It needs root, as every Postfix does to start.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from tests.ports import free_port
from tests.relay import HOST

_PATH: Final = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"])
PROGRAM: Final = shutil.which("postfix", path=_PATH)
MISSING: Final = (
    "there is no Postfix here (Debian and Ubuntu: postfix)"
    if PROGRAM is None
    else ("Postfix is started by root only" if os.geteuid() != 0 else "")
)
"""Why none can be started. Empty: one can."""

_MAIN: Final = """
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {folder}/log/maillog
maillog_file_prefixes = {folder}/log
multi_instance_name = postfix-{port}
myhostname = mx.shop.example
mydestination =
local_recipient_maps =
alias_maps =
alias_database =
inet_interfaces = {host}
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
relayhost = [{host}]:{next_hop}
smtp_host_lookup = native
disable_dns_lookups = yes
smtpd_peername_lookup = no
"""
_MASTER: Final = """
{host}:{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
error unix - - n - - error
retry unix - - n - - error
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
showq unix n - n - - showq
anvil unix - - n - 1 anvil
tlsmgr unix - - n 1000? 1 tlsmgr
postlog unix-dgram n - n - 1 postlogd
"""


@contextmanager
def postfix(next_hop: int) -> Iterator[int]:
    """Yields the port of a Postfix that passes every mail on to a server at the port `next_hop` of this machine."""
    with TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        folder.chmod(0o755)
        config = folder / "etc"
        for part in ("etc", "queue", "data", "log"):
            (folder / part).mkdir(mode=0o755)
        shutil.chown(folder / "data", "postfix")
        values = {"folder": folder, "port": port, "host": HOST, "next_hop": next_hop}
        (config / "main.cf").write_text(_MAIN.format(**values))
        (config / "master.cf").write_text(_MASTER.format(**values))
        _run(config, "start")
        try:
            yield port
        finally:
            _run(config, "stop")


def _run(config: Path, command: str) -> None:
    words = [str(PROGRAM), "-c", str(config), command]
    result = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
