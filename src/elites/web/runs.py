"""The runs of the live page: those that were named, and those in folders of runs, also ones that come later."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from html import escape
from pathlib import Path

from ..events.axes import shown
from .watched import Watched

__all__ = ["Runs"]

FIND = 1.0  # least seconds between two looks for new runs
SUGGESTED = 4  # most runs that are shown unasked


class Runs:
    """The runs that are watched.

    Arguments:
        folders: of runs, or folders that hold some or will.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self.named: list[Path] = []
        self.homes: list[Path] = []
        for folder in folders:
            (self.named if (folder / "run.json").exists() else self.homes).append(folder)
        self._known: dict[str, Watched] = {}
        self._listed: list[Watched] = []
        self._lock = threading.Lock()
        self._found = -FIND

    def all(self) -> list[Watched]:
        """Those that are named in their order, then those found, the newest first."""
        with self._lock:
            if time.monotonic() - self._found >= FIND:
                self._listed = self._find()
                self._found = time.monotonic()
            return self._listed

    def get(self, key: str) -> Watched | None:
        """The run of an id."""
        if key not in self._known:
            self.all()
        return self._known.get(key)

    def suggested(self, listed: Sequence[Watched]) -> list[str]:
        """The runs that a page shows before anybody chooses: those named, those at work, else the newest."""
        named = set(self.named)
        first = [run.id for run in listed if run.path in named]
        work = [run.id for run in listed if run.path not in named and run.look().alive]
        return (first + work or [run.id for run in listed[:1]])[: max(SUGGESTED, len(first))]

    def table(self, listed: Sequence[Watched]) -> str:
        """The list of runs, each with a box to choose it."""
        if not listed:
            homes = ", ".join(f"<code>{escape(str(home))}</code>" for home in self.homes)
            return f"<p>There are no runs in {homes} yet; they appear here.</p>"
        rows = ""
        for run in listed:
            g = run.look()
            step = shown(g.last["step"]) if "step" in g.last else ""
            rows += (
                f'<tr><td><label><input type="checkbox" value="{run.id}"> <bdi>{escape(run.name)}</bdi></label></td>'
                f'<td class="now {g.word}"><b>{g.word}</b></td><td>{step}</td><td>{shown(g.best)}</td></tr>'
            )
        head = "".join(f'<th scope="col">{name}</th>' for name in ("run", "state", "step", "best"))
        return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"

    def _find(self) -> list[Watched]:
        found: list[tuple[int, Path]] = []
        for home in self.homes:
            for file in (home / "run.json", *home.glob("*/run.json")):  # a folder that was named may become a run
                try:
                    found.append((-file.stat().st_mtime_ns, file.parent))
                except OSError:
                    continue
        paths = list(dict.fromkeys([*self.named, *(path for _, path in sorted(found))]))
        names = [path.resolve().name for path in paths]
        out = []
        for path, name in zip(paths, names, strict=True):
            run = Watched(path, str(path) if names.count(name) > 1 else name)
            out.append(self._known.setdefault(run.id, run))
        return out
