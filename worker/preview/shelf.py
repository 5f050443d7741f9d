"""The gallery of the files as they are now."""

import secrets
import threading

from worker.preview.gallery import Gallery, Items
from worker.processes.bootstrap import Parts


class Shelf:
    """Has a gallery, and another one as soon as a file has changed. Thread-safe."""

    def __init__(self, parts: Parts, items: Items) -> None:
        """Raises BadSetting, as `Gallery` does."""
        self._parts, self._items = parts, items
        self._lock = threading.Lock()
        self._begun = secrets.token_hex(4)
        self._number = 0
        self._gallery = Gallery(parts, items)

    def now(self) -> tuple[Gallery, str]:
        """Returns the mails of the files as they are now, and a version: another one for other files or processes."""
        with self._lock:
            if not self._gallery.is_current():
                self._gallery = Gallery(self._parts.anew(), self._items)
                self._number += 1
            return self._gallery, f"{self._begun}-{self._number}"
