"""Keys of the HTTP API, as admins make and revoke them, and for which catalogs sign-ups are taken."""

from collections.abc import Sequence

from worker.domain.api_keys import NewKey, Scope
from worker.domain.catalog import WIX_STORES
from worker.store import actions, collections, keys
from worker.store.database import Connection


def create(
    c: Connection, who: str, name: str, scope: Scope, origins: Sequence[str] = (), hosts: Sequence[str] = ()
) -> NewKey:
    """Makes a key, and records who did. Its text can't be read again."""
    made = keys.create(c, name, scope, origins, hosts)
    about = {"key": made.id, "name": name, "scope": scope.value, "origins": list(origins), "hosts": list(hosts)}
    actions.note(c, who, "keys create", about, changed=1)
    return made


def revoke(c: Connection, who: str, key_id: str) -> bool:
    """Ends a key, and records who did. Returns False if there is no such key, or if it was revoked before."""
    is_revoked = keys.revoke(c, key_id)
    if is_revoked:
        actions.note(c, who, "keys revoke", {"key": key_id}, command=f"keys revoke {key_id}", changed=1)
    return is_revoked


def catalogs(configured: Sequence[str]) -> Sequence[str]:
    """Returns the catalogs for which sign-ups can be started and stopped. `configured` are STOCKBELL_CATALOGS."""
    return [WIX_STORES, *(each for each in configured if each != WIX_STORES)]


def collect(c: Connection, who: str, catalog: str, *, on: bool) -> bool:
    """Takes sign-ups for a catalog from now on, or no more, and records who said so. Returns whether that is new."""
    if (catalog not in collections.stopped(c)) is on:
        return False
    collections.set_collecting(c, catalog, on)
    verb = "keys start" if on else "keys stop"
    actions.note(c, who, verb, {"catalog": catalog}, command=f"{verb} {catalog}", changed=1)
    return True
