"""What every command begins with: settings, logs, parts, and a database that has the right tables."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from worker.processes.bootstrap import Parts


def parts() -> "Parts":
    """The program's parts. Raises BadSetting."""
    from config import logging, settings

    found = settings.load()
    logging.configure(found.log_format)
    from worker.processes.bootstrap import Parts

    return Parts(found)


def ready_parts() -> "Parts":
    """The same for commands on the database. Raises DatabaseAway, SchemaOutdated."""
    from worker.services.schema_check import check_schema

    ready = parts()
    check_schema(ready.database)
    return ready
