"""What all pages for admins share."""

from dataclasses import dataclass

from worker.web.acting import Actor
from worker.web.admin.desk import Desk
from worker.web.admin.frame import Frame
from worker.web.admin.gate import Gate
from worker.web.context import Context


@dataclass(frozen=True, slots=True)
class Office:
    """The web process's parts, who may come in, and what is around every page."""

    context: Context
    gate: Gate
    frame: Frame
    desk: Desk
    actor: Actor
    """does what is confirmed, beside the pages"""
