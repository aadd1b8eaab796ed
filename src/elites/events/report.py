"""The report of a run: one HTML file that opens anywhere, made of the run folder alone.

It has no scripts and loads nothing; pictures are data URIs. It can be written for a run that is unfinished or was
killed, and again at any time. What it shows are the panels of `panels.py`, in the frame of `page.py`.
"""

from __future__ import annotations

from pathlib import Path

from ..store import write
from ..types import Event
from .outcome import outcome
from .page import contents, page, section
from .panels import STYLE, panels
from .record import Record

__all__ = ["Report", "write_report"]


class Report:
    """Subscriber that writes the report when the run has ended; list it after `Checkpoint`.

    Arguments:
        folder: of the run.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = folder

    def __call__(self, event: Event) -> None:
        """Write the report, if this is the event of the result."""
        if event.result is not None:
            write_report(self.folder)


def write_report(folder: str | Path) -> Path:
    """Write `report.html` of the run in a folder, finished or not, and return its path.

    Raises:
        InputError: if the folder holds no run, or one of a newer version.
        StoreError: if the report cannot be written.
    """
    run = Record.read(Path(folder))
    made = panels(run)
    body = outcome(run) + contents(made) + "".join(section(name, *panel) for name, panel in made.items())
    path = run.path / "report.html"
    write(path, page(f"{run.path.resolve().name} – Diffusion Elites", body, STYLE).encode())
    return path
