"""What a person asks of a run: a word in its folder, which `Checkpoint` reads after each event.

It is removed when the run begins or goes on. `echo stop > RUN/control` does what the button of a page does.
"""

from __future__ import annotations

from pathlib import Path

from ..store import CONTROL, write

__all__ = ["PAUSE", "STOP", "ask", "order"]

PAUSE, STOP = "pause", "stop"


def order(folder: Path) -> str:
    """What is asked of the run in a folder; empty for nothing."""
    try:
        with (folder / CONTROL).open("rb") as file:
            return file.read(16).decode(errors="replace").strip()
    except OSError:
        return ""


def ask(folder: Path, word: str = "") -> None:
    """Ask something of the run in a folder: `PAUSE`, `STOP`, or nothing, so that it goes on.

    Raises:
        StoreError: if the folder cannot be written.
    """
    if word:
        write(folder / CONTROL, f"{word}\n".encode())
    else:
        (folder / CONTROL).unlink(missing_ok=True)
