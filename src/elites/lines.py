"""Files of one JSON object a line, to which one process appends."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .ledger import StoreError

__all__ = ["Lines"]


class Lines:
    """The rows of one file, which is made with the first of them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._loose = False  # whether its end may not be on the disk yet

    @property
    def size(self) -> int:
        """Bytes that it holds."""
        return self.path.stat().st_size if self.path.exists() else 0

    def append(self, rows: Iterable[dict[str, Any]], *, sync: bool) -> None:
        """Write rows; with `sync`, they and those before them are on the disk from then on.

        Raises:
            StoreError: if the file cannot be written.
        """
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        if not lines and not (sync and self._loose):
            return
        try:
            with self.path.open("a") as f:
                f.write(lines)
                f.flush()
                self._loose = True
                if sync:
                    os.fsync(f.fileno())
                    self._loose = False
        except OSError as error:
            raise StoreError(f"Cannot write {self.path}: {error.strerror}; free space and resume.") from error

    def read(self, size: int | None = None) -> list[Any]:
        """The rows of the first `size` bytes, the file cut to them; all whole rows without."""
        if not self.path.exists():
            return []
        if size is not None and self.path.stat().st_size > size:
            os.truncate(self.path, size)
        text = self.path.read_text()
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]  # a torn last line is cut
