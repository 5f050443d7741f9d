"""What admins do with webhook endpoints: each verb is done, and noted in the audit trail, in one transaction.

No row of the trail has a URL's path or a secret: who knows either could be told, or tell.
"""

from datetime import datetime
from urllib.parse import urlsplit
from uuid import UUID

from worker.domain.outgoing_urls import without_password
from worker.domain.webhooks import Format
from worker.services.wire import timestamp
from worker.store import actions, endpoints
from worker.store.database import Connection
from worker.store.endpoints import Endpoint


def add(c: Connection, who: str, url: str, format_: Format, *, is_full: bool, allows_private: bool) -> Endpoint:
    """Adds an endpoint whose URL was checked."""
    made = endpoints.add(c, url, format_, is_full=is_full, allows_private=allows_private)
    about = {"endpoint": str(made.id), "host": host_of(url)}
    how = {"format": format_.value, "full": is_full, "allowPrivate": allows_private}
    actions.note(c, who, "webhooks add", about, options=how, changed=1)
    return made


def remove(c: Connection, who: str, endpoint_id: UUID) -> bool:
    """Removes an endpoint with what waits for it. Returns False if there is none."""
    found, waiting = endpoints.find(c, endpoint_id), endpoints.backlog(c, endpoint_id)
    if found is None or not endpoints.remove(c, endpoint_id):
        return False
    about = {"endpoint": str(endpoint_id), "host": host_of(found.url)}
    actions.note(c, who, "webhooks remove", about, result={"waiting": waiting}, changed=1)
    return True


def enable(c: Connection, who: str, endpoint_id: UUID) -> datetime | None:
    """Enables an endpoint. Returns since when it has missed something, or None if it was not disabled."""
    since = endpoints.enable(c, endpoint_id)
    if since is not None:
        _note(c, who, "webhooks enable", endpoint_id)
    return since


def disable(c: Connection, who: str, endpoint_id: UUID) -> bool:
    """Disables an endpoint, which is told nothing more. Returns False if it was disabled before."""
    is_new = endpoints.disable(c, endpoint_id, f"{who} has disabled it")
    if is_new:
        _note(c, who, "webhooks disable", endpoint_id)
    return is_new


def rotate(c: Connection, who: str, endpoint_id: UUID) -> str | None:
    """Gives an endpoint a new secret, which is returned; None if there is no such endpoint."""
    secret = endpoints.rotate(c, endpoint_id)
    if secret is not None:
        _note(c, who, "webhooks rotate", endpoint_id)
    return secret


def note_test(c: Connection, who: str, endpoint_id: UUID, status: int | None, why: str | None) -> None:
    """Notes that an endpoint was tried, and how it answered."""
    result = {"status": status, "why": why}
    about = {"endpoint": str(endpoint_id)}
    actions.note(c, who, "webhooks test", about, result=result, changed=int(why is None), refused=int(why is not None))


def begin_resync(c: Connection, who: str, endpoint_id: UUID, since: datetime) -> UUID:
    """Notes that an endpoint is told again what may have changed. Returns the row's id, for `actions.conclude`."""
    about = {"endpoint": str(endpoint_id), "since": timestamp(since)}
    return actions.note(c, who, "webhooks resync", about)


def add_key(c: Connection, who: str, pem: str) -> str:
    """Adds a private key, which signs Wix's format from now on. Returns its id."""
    id_ = endpoints.add_key(c, pem)
    actions.note(c, who, "webhooks keygen", {"key": id_}, changed=1)
    return id_


def host_of(url: str) -> str:
    """Returns the server of an endpoint, without user, password and path."""
    return urlsplit(without_password(url)).netloc.removeprefix("***@")


def _note(c: Connection, who: str, verb: str, endpoint_id: UUID) -> None:
    actions.note(c, who, verb, {"endpoint": str(endpoint_id)}, changed=1)
