"""A run that is watched: its panels as HTML, each made once for all viewers, and only when the folder has changed."""

from __future__ import annotations

import hashlib
import math
import threading
import time
from dataclasses import dataclass, replace
from html import unescape
from pathlib import Path

from ..events.axes import safe, shown
from ..events.control import ask
from ..events.outcome import outcome
from ..events.panels import PANELS, Panel
from ..events.record import Record
from ..types import InputError
from .glance import FILES, Glance, sizes

__all__ = ["Part", "Watched", "digest"]

LOOK = 0.5  # least seconds between two looks at a folder
SHARE = 50.0  # what takes a second is done at most every fifty
STATE, OUTCOME = "state", "outcome"


def _outcome(run: Record) -> str:
    """The outcome, its heading one level down."""
    return outcome(run).replace("<h1>", "<h3>").replace("</h1>", "</h3>")


def _best(run: Record) -> str:
    """The best objects, once there are some."""
    return PANELS["best"][1](run) if run.result else ""


FIRST = ("reward", "evidence")  # what changes at every step stands above pictures
MADE: dict[str, tuple[str, Panel]] = (
    {OUTCOME: ("", _outcome)}
    | {name: PANELS[name] for name in FIRST if name in PANELS}
    | PANELS
    | {"best": (PANELS["best"][0], _best)}
)


@dataclass(frozen=True)
class Part:
    """A part of the page."""

    title: str
    html: str
    digest: str
    made: float = 0.0
    cost: float = 0.0


def digest(text: str) -> str:
    """What tells one text from another."""
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=9).hexdigest()


class Watched:
    """A run that is watched; safe to use from several threads.

    Arguments:
        path: of the folder.
        name: as it is shown.
    """

    def __init__(self, path: Path, name: str = "") -> None:
        self.path = path
        self.id = digest(str(path.absolute()))
        self.name = unescape(safe(name or path.resolve().name, 200))
        self.glance = Glance(path, "gone")
        self.parts: dict[str, Part] = {}
        self._looking, self._making = threading.Lock(), threading.Lock()
        self._looked = -math.inf
        self._seen: object = None
        self._next = -math.inf
        self._glanced: object = None
        self._due: set[str] = set()
        self._record: Record | None = None

    def look(self) -> Glance:
        """How the run stands, looked up anew if that is due."""
        if self._looking.acquire(blocking=self._looked == -math.inf):
            try:
                if time.monotonic() - self._looked >= LOOK:
                    files = sizes(self.path, (*FILES, "lock"))  # whoever goes on with a run writes its name in there
                    if self.glance.alive or files != self._glanced:  # one that is not at work changes no file
                        self.glance, self._glanced = Glance.at(self.path), files
                    self._looked = time.monotonic()
            finally:
                self._looking.release()
        return self.glance

    def refresh(self) -> dict[str, Part]:
        """The parts of the page in their order, made anew where that is due; one viewer does it for all."""
        glance = self.look()
        if self._making.acquire(blocking=not self.parts):
            try:
                glance = self._read(glance)
                made = {STATE: self._part("", _state(glance, self.name))}
                for name, (title, panel) in MADE.items():
                    if (part := self._panel(name, title, panel)) is not None and part.html:
                        made[name] = part
                self.parts = made
            finally:
                self._making.release()
        return self.parts

    def order(self, word: str) -> bool:
        """Ask something of the run, if it is at work.

        Raises:
            StoreError: if its folder cannot be written.
        """
        if not Glance.at(self.path).alive:
            return False
        ask(self.path, word)
        self._looked = 0.0  # the next look is due
        return True

    def _read(self, glance: Glance) -> Glance:
        """Read the folder again if it has changed; that of a run that is gone stays as it was."""
        began = time.monotonic()
        if began < self._next or glance.word == "gone":
            return glance
        seen, self._next = sizes(self.path), began + LOOK
        if seen == self._seen:
            return glance
        try:
            self._record = Record.read(self.path)
        except (InputError, OSError) as error:
            return replace(glance, word="gone", says=str(error))
        now = time.monotonic()
        self._seen, self._due, self._next = seen, set(MADE), now + max(LOOK, SHARE * (now - began))
        return glance

    def _panel(self, name: str, title: str, panel: Panel) -> Part | None:
        old, now = self.parts.get(name), time.monotonic()
        if self._record is None or name not in self._due or (old and now - old.made < SHARE * old.cost):
            return old
        try:
            html = panel(self._record)
        except Exception as error:  # a file that is half gone, and what nobody thought of: the other panels stand
            html = f"<p>This cannot be drawn now ({safe(type(error).__name__)}).</p>"
        self._due.discard(name)
        return self._part(title, html, time.monotonic() - now)

    def _part(self, title: str, html: str, cost: float = 0.0) -> Part:
        return Part(title, html, digest(title + html), time.monotonic(), cost)


def _state(glance: Glance, name: str) -> str:
    """Name, state, buttons and what goes on with the run."""
    step, (current, ended) = glance.last.get("step", math.nan), glance.under_way
    told = f"step {step:.0f}" if math.isfinite(step) else "no step yet"
    if glance.word in ("running", "silent", "pausing") and ended and not current <= step:
        told += f", {ended:,} scored in step {current:,}" if current else f", {ended:,} scored in the probe"
    if math.isfinite(glance.best):
        told += f" · best {shown(glance.best)}"
    out = f'<h2><bdi>{safe(name)}</bdi></h2><p class="now {glance.word}"><b>{glance.word}</b> <span>{told}</span></p>'
    if glance.alive:
        waits = glance.word in ("pausing", "paused")
        first = ("go-on", "Go on") if waits else ("pause", "Pause")
        last = ' aria-disabled="true"' if glance.word == "stopping" else ""
        buttons = "".join(
            f'<button type="button" data-do="{word}" aria-label="{label} {safe(name)}"{last}>{label}</button>'
            for word, label in (first, ("stop", "Stop"))
        )
        out += f'<div class="do">{buttons}</div>'
    if glance.says:
        out += f'<p class="note">{safe(glance.says)}</p>'
    if glance.command:
        out += (
            f'<div class="again"><code>{safe(glance.command)}</code>'
            f'<button type="button" data-copy aria-label="Copy what goes on with {safe(name)}">Copy</button></div>'
        )
    return out
