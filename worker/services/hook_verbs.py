"""Makes and closes hooks, each with its row in the audit trail. A hook's id is the secret of its URL: no row has it."""

from collections.abc import Mapping

from worker.store import actions, hooks
from worker.store.database import Connection


def create(c: Connection, who: str, kind: str, name: str, secret: str | None, options: Mapping[str, object]) -> str:
    """Adds a hook whose secret and options were checked, and returns its id."""
    made = hooks.create(c, kind, name, secret, options)
    actions.note(c, who, "hooks create", _about(kind, made), changed=1)
    return made


def revoke(c: Connection, who: str, hook_id: str) -> bool:
    """Closes a hook. Returns False if there is none, or if it was closed before."""
    found = hooks.find(c, hook_id)
    if found is None or not hooks.revoke(c, hook_id):
        return False
    actions.note(c, who, "hooks revoke", _about(found.kind, hook_id), changed=1)
    return True


def _about(kind: str, hook_id: str) -> dict[str, str]:
    return {"kind": kind, "hook": f"{hook_id[:4]}…"}
