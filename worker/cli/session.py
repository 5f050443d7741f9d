"""The start of every command: loads the settings, sets up logging, builds the parts, checks the schema."""

import getpass
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from worker.processes.bootstrap import Parts
    from worker.store.database import Database
    from worker.stream.event_stream import Stream


def parts() -> "Parts":
    """Returns the program's parts. Raises BadSetting."""
    from config import logging, settings

    found = settings.load()
    logging.configure(found.log_format)
    from worker.processes.bootstrap import Parts

    return Parts(found)


def ready_parts() -> "Parts":
    """Like `parts`, for commands that need the database. Raises also DatabaseAway and SchemaOutdated."""
    from worker.services.schema_check import check_schema

    ready = parts()
    check_schema(ready.database)
    return ready


def stream() -> "Stream":
    """Returns the event stream, for commands that need nothing else. Raises BadSetting."""
    found = parts()
    found.check_events()
    return found.stream


def who() -> str:
    """Returns who acts, for the audit trail: the account on this machine."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):  # an account without a name, as in a container
        return f"cli:{os.getuid()}"


def note(database: "Database", verb: str, about: "Mapping[str, object]") -> None:
    """Writes what was done into the audit trail. For verbs whose own transaction does not."""
    from worker.store import actions

    database.write(actions.note, who(), verb, about)
