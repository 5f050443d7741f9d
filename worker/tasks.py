"""The Celery app's public name, `worker.tasks:app`, for Celery's own tools; see `worker.processes.tasks`."""

from worker.processes.tasks import app

__all__ = ["app"]
