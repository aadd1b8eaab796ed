"""Save a run as it goes, and go on with a saved one."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save
from torch import Tensor

from ..packing import pack
from ..probe import Probe
from ..run import Final, Subscriber, run
from ..store import Folder, check_there, write
from ..stream import Stream
from ..target import Target
from ..types import Budget, Event, Failure, InputError, Method, Result, Samples, Setup
from .control import PAUSE, STOP, order
from .drawings import Draw, drawn
from .pictures import png
from .sheets import write_sheet
from .shown import SHOWN, decoded, due, tenth

__all__ = ["Checkpoint", "resume"]

PLAIN = 10_000_000  # most bytes of the best objects as JSON
OFTEN = 1.0  # seconds between two looks of those who watch


class Checkpoint:
    """Subscriber that keeps a run folder: state, history, failures, drawings of some steps, and the best objects.

    After each event it looks whether a person has asked the run to wait or to stop (`elites watch`).
    List it after the subscribers that add columns to the history.

    Arguments:
        folder: path of a new folder, or a `Folder` that is open.
        seconds: least time between two saves of the state; a kill loses no more than that and one step. The history
            is written every second.
        study: path of the study, if the run comes from one.
        draw: what to show of one object: a `Molecule`, `Series`, `Trajectory` or `Text`, a PIL image, or a part of the
            object; `None` to go by its type and shape, as `drawing` says.

    Raises:
        InputError: at once, if the folder exists.
        StoreError: if it cannot be written.
    """

    def __init__(
        self,
        folder: str | Path | Folder,
        *,
        seconds: float = 2.0,
        study: str | None = None,
        draw: Draw | None = None,
    ) -> None:
        self.folder = folder if isinstance(folder, Folder) else Folder.create(folder)
        self.seconds = seconds
        self.study = study
        self.draw = draw
        self._rows: list[dict[str, float]] = []
        self._failures: list[Failure] = []
        self._saved = self._written = -math.inf
        self._last: Event | None = None
        self._ahead = -math.inf  # where the last new best that was drawn lies: its step, then tenths of a decade
        self._waits, self._asked = False, ""

    @contextmanager
    def around(self, setup: Setup) -> Iterator[None]:
        """Keep the ledger while a run goes on: every evaluation is written before its reward is used."""
        account = setup.target.account
        with closing(self.folder):
            self.folder.begin(setup, self.study)
            with closing(self.folder.ledger()) as account.book:
                try:
                    yield
                finally:
                    account.book = None

    def __call__(self, event: Event) -> None:
        """Save what is due."""
        if event.result is not None:
            self._finish(event, event.result)
            return
        self._rows.append(event.row)
        self._failures += event.failures
        if "final" not in event.row:
            self._last = event
            self._picture(event)
        now = time.monotonic()
        if event.step == 1 or now - self._saved >= self.seconds:  # what a first step looks at is kept
            self._save(event)
        elif now - self._written >= OFTEN:
            self.folder.append(self._rows, self._failures)
            self._rows, self._failures, self._written = [], [], now

    def ends(self) -> str:
        """Why the run is to end: a person has asked it to stop, which is a Ctrl-C from elsewhere."""
        self._asked = order(self.folder.path)
        return "interrupted" if self._asked == STOP else ""

    def pauses(self) -> bool:
        """Whether a person has asked the run to wait, as `ends` has found just before; it is saved before it does."""
        waits = self._asked == PAUSE
        if waits and not self._waits and self._last is not None:
            self._save(self._last)
        self._waits = waits
        return waits

    def _save(self, event: Event) -> None:
        at = self._last or event
        self.folder.save(at.step, at.state, event.meter, at.best, self._rows, self._failures)
        self._rows, self._failures = [], []
        self._saved = self._written = time.monotonic()

    def _picture(self, event: Event) -> None:
        """Draw the best of some steps, and some of those that were the best of the run."""
        step, some, best = event.step, event.info.samples, event.best
        at = step if step <= 10 else tenth(step)
        if some is None or not (due(step) or at > self._ahead) or not len(top := some.top(SHOWN)):
            return
        if due(step):
            self._draw("steps", step, top, decoded(event.setup.target, top))
        new = best is not None and len(best) and torch.equal(best.keys[0].cpu(), top.keys[0].cpu())
        if new and at > self._ahead:
            self._draw("lineage", step, top[:1], list(event.winner))
            self._ahead = at

    def _draw(self, name: str, step: int, samples: Samples, objects: list[Any]) -> None:
        drawings = drawn(objects, self.draw)
        check_there(self.folder.path)
        write_sheet(self.folder.path / name / f"{step:06d}", drawings, samples.reward.tolist(), samples.keys.tolist())

    def _finish(self, event: Event, result: Result) -> None:
        if self._last is not None:
            self._save(event)
        path = self.folder.path
        tensors: dict[str, Any] = {}
        pack(result.samples, "best", tensors)
        objects = decoded(event.setup.target, result.samples) if len(result.samples) else []
        if objects and all(isinstance(o, Tensor | np.ndarray) for o in objects):
            arrays = [torch.as_tensor(o).cpu() for o in objects]
            if len({a.shape for a in arrays}) == 1:
                tensors["best.objects"] = torch.stack(arrays)
            else:
                tensors |= {f"best.objects.{i}": a for i, a in enumerate(arrays)}
        write(path / "best.safetensors", save({name[5:]: v.clone() for name, v in tensors.items()}))
        if objects and (plain := _json(objects)):
            write(path / "best.json", plain)
        drawings = drawn(objects, self.draw)
        if drawings and all(isinstance(it, Image.Image) for it in drawings):
            for i, image in enumerate(drawings):
                assert isinstance(image, Image.Image)
                write(path / "best" / f"{i:02d}.png", png(image))
        elif drawings:
            write_sheet(
                path / "best" / "objects", drawings, result.samples.reward.tolist(), result.samples.keys.tolist()
            )
        summary = {
            "stopped": result.stopped,
            "best": float(result.best.reward[0]) if len(result.best) else None,
            "nfe": result.meter.nfe,
            "rewards": result.meter.rewards,
            "failures": len(result.failures),
            "seconds": result.meter.seconds,
            "evidence": [{k: _plain(v) for k, v in vars(r).items()} for r in result.evidence],
        }
        write(path / "result.json", json.dumps(summary, indent=1).encode())


def _plain(value: Any) -> Any:
    """What JSON knows: nothing for numbers that are not finite."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _json(objects: list[Any]) -> bytes:
    """Strings, and what is made of them, as JSON; nothing for other objects, or too many of them."""
    if not all(isinstance(o, str | dict | list | tuple) for o in objects):
        return b""
    try:
        data = json.dumps(objects, ensure_ascii=True).encode()
    except (TypeError, ValueError, RecursionError):
        return b""
    return data if len(data) <= PLAIN else b""


def resume(
    folder: str | Path | Folder,
    method: Method,
    target: Target,
    budget: Budget | None = None,
    *,
    on: Sequence[Subscriber] = (),
    probe: Probe | None = Probe(),  # noqa: B008 (frozen)
    final: Final | None = None,
    stop: Callable[[], bool] | None = None,
    draw: Draw | None = None,
) -> Result:
    """Go on with the run in a folder, to the same bits as if it had never stopped.

    Arguments:
        folder: of the run.
        method, target: as they were.
        budget: a new one, or `None` for the old.
        on, probe, final, stop: as for `run`; a `Checkpoint` on the folder is added.
        draw: as for `Checkpoint`.

    Raises:
        InputError: if the folder is none, is in use, is damaged, or belongs to another method or target.
    """
    held = folder if isinstance(folder, Folder) else Folder.open(folder)
    try:
        about = held.about()
        seed = int(about["seed"])
        if budget is None and held.finished:
            raise InputError(f"The run in {held.path} has finished: give a larger budget to go on with it.")
        given = budget or Budget(**about["budget"])
        setup = Setup(method, target, given, seed)
        held.check(setup)
        start = held.load(method.init(target, Stream(seed)))
        held.begin(setup, about.get("study"))
        subscribers: list[Subscriber] = [*on, Checkpoint(held, draw=draw)]
        return run(method, target, given, seed, on=subscribers, probe=probe, final=final, stop=stop, start=start)
    finally:
        held.close()
