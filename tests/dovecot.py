"""A real IMAP server for tests: Dovecot (Debian package dovecot-imapd) with one user, in a temporary folder."""

import grp
import os
import pwd
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import trustme

from tests.bounce import new_maildir
from tests.polling import eventually
from tests.ports import free_port

PROGRAM: Final = shutil.which("dovecot", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
USER: Final = "bounces"
PASSWORD: Final = "s3cret-of-bounces"
_NOBODY: Final = 65_534
_CONFIG: Final = """
protocols = imap
listen = 127.0.0.1
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/log
ssl = {ssl}
disable_plaintext_auth = no
{users}
first_valid_uid = 0
first_valid_gid = 0
mail_location = maildir:{folder}/mail
mailbox_list_index = no
maildir_very_dirty_syncs = no
auth_failure_delay = 0
service anvil {{
  chroot =
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service stats {{
  chroot =
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    port = {port}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
passdb {{
  driver = passwd-file
  args = {folder}/passwd
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={folder}/home
}}
namespace inbox {{
  inbox = yes
  {namespace}
}}
{more}
"""


class Dovecot:
    """A server that runs, and its one mailbox."""

    def __init__(self, folder: Path, port: int) -> None:
        self.port = port
        self.maildir = folder / "mail"
        self._log = folder / "log"

    @property
    def url(self) -> str:
        """For STOCKBELL_BOUNCE_IMAP."""
        return f"imap://{USER}:{PASSWORD}@127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """What it has logged."""
        return self._log.read_text() if self._log.exists() else ""

    def count(self, folder: str = "") -> int:
        """Returns how many messages are in the inbox, or in a folder."""
        path = self.maildir / folder
        return sum(1 for part in ("new", "cur") if (path / part).is_dir() for _ in (path / part).iterdir())

    def flags(self) -> set[str]:
        """Returns the flags of the messages in the inbox, as Maildir writes them."""
        return {each.name.partition(":2,")[2] for part in ("new", "cur") for each in (self.maildir / part).iterdir()}


@contextmanager
def dovecot(
    *, capability: str = "", namespace: str = "", acl: str = "", authority: trustme.CA | None = None
) -> Iterator[Dovecot]:
    """Runs a server. `capability` is all that it says it can; `acl` are the rights to the inbox (RFC 4314).

    With an authority it has a certificate and requires STARTTLS.
    """
    with TemporaryDirectory(prefix="dovecot-") as name:  # its path is short enough for sockets
        folder = Path(name)
        folder.chmod(0o777)  # its processes run as other users if we are root
        with _running(folder, capability, namespace, acl, authority) as server:
            yield server


@contextmanager
def _running(
    folder: Path, capability: str, namespace: str, acl: str, authority: trustme.CA | None
) -> Iterator[Dovecot]:
    assert PROGRAM
    port = free_port()
    new_maildir(folder / "mail")
    more = [f"protocol imap {{\n  imap_capability = {capability}\n}}"] if capability else []
    if authority:
        certificate = authority.issue_cert("127.0.0.1")
        certificate.private_key_and_cert_chain_pem.write_to_path(folder / "tls.pem")
        more.append(f"ssl_cert = <{folder}/tls.pem\nssl_key = <{folder}/tls.pem\ndisable_plaintext_auth = yes")
    if acl:
        (folder / "acl").write_text(f"INBOX owner {acl}\n")
        more.append(f"mail_plugins = acl\nplugin {{\n  acl = vfile:{folder}/acl\n}}")
    uid, gid = os.getuid() or _NOBODY, os.getgid() or _NOBODY
    for each in (folder / "mail", *(folder / "mail").iterdir()):
        each.chmod(0o777)
    (folder / "passwd").write_text(f"{USER}:{{PLAIN}}{PASSWORD}::::::\n")
    (folder / "dovecot.conf").write_text(
        _CONFIG.format(
            folder=folder,
            port=port,
            uid=uid,
            gid=gid,
            users="" if uid == _NOBODY else _same(pwd.getpwuid(uid).pw_name, grp.getgrgid(gid).gr_name),
            namespace=namespace,
            ssl="required" if authority else "no",
            more="\n".join(more),
        )
    )
    server = Dovecot(folder, port)
    process = subprocess.Popen(
        [PROGRAM, "-F", "-c", str(folder / "dovecot.conf")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        eventually(lambda: process.poll() is not None or _answers(port), 20, until="dovecot answers")
        assert process.poll() is None, server.log
        yield server
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(20)


def _same(user: str, group: str) -> str:
    """Returns the settings by which all its processes run as one user."""
    return f"default_internal_user = {user}\ndefault_internal_group = {group}\ndefault_login_user = {user}"


def _answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 2) as connection:
        connection.settimeout(5)
        return connection.recv(4) == b"* OK"
    return False
