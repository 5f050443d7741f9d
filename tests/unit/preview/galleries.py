"""Galleries of a shop that has set nothing, or some settings."""

from pathlib import Path
from typing import Any

from config.settings import Settings
from worker.preview.gallery import Gallery
from worker.processes.bootstrap import Parts


def parts_of(own: Path | None = None, **settings: Any) -> Parts:
    """The parts of a shop whose own files are in a directory. Nothing is connected."""
    usual: dict[str, Any] = {"database_url": "sqlite:///none.db", "store_name": "Blue Door"}
    own_files = {"template_dir": own} if own else {}
    return Parts(Settings(**(usual | own_files | settings)))


def gallery_of(own: Path | None = None, **settings: Any) -> Gallery:
    return Gallery(parts_of(own, **settings))
