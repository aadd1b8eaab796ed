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
from safetensors.torch import save
from torch import Tensor

from ..packing import pack
from ..probe import Probe
from ..run import Final, Subscriber, run
from ..store import Folder, write
from ..stream import Stream
from ..target import Target
from ..types import Budget, Event, Failure, InputError, Method, Result, Setup
from .pictures import decoded, due, of_step, pictures, png, strip

__all__ = ["Checkpoint", "resume"]


class Checkpoint:
    """Subscriber that keeps a run folder: state, history, failures, pictures of some steps, and the best objects.

    List it after the subscribers that add columns to the history.

    Arguments:
        folder: path of a new folder, or a `Folder` that is open.
        seconds: least time between two saves of the state; a kill loses no more than that and one step.

    Raises:
        InputError: at once, if the folder exists.
        StoreError: if it cannot be written.
    """

    def __init__(self, folder: str | Path | Folder, *, seconds: float = 1.0, study: str | None = None) -> None:
        self.folder = folder if isinstance(folder, Folder) else Folder.create(folder)
        self.seconds = seconds
        self.study = study
        self._rows: list[dict[str, float]] = []
        self._failures: list[Failure] = []
        self._saved = -math.inf
        self._last: Event | None = None

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
        if event.step == 1 or time.monotonic() - self._saved >= self.seconds:  # what a first step looks at is kept
            self._save(event)

    def _save(self, event: Event) -> None:
        at = self._last or event
        self.folder.save(at.step, at.state, event.meter, at.best, self._rows, self._failures)
        self._rows, self._failures, self._saved = [], [], time.monotonic()

    def _picture(self, event: Event) -> None:
        images, rewards = of_step(event) if due(event.step) else ([], [])
        if images:
            write(self.folder.path / "steps" / f"{event.step:06d}.png", strip(images, rewards))

    def _finish(self, event: Event, result: Result) -> None:
        if self._last is not None:
            self._save(event)
        path = self.folder.path
        tensors: dict[str, Any] = {}
        pack(result.samples, "best", tensors)
        objects = decoded(event.setup.target, result.samples) if len(result.samples) else []
        if objects and all(isinstance(o, Tensor | np.ndarray) for o in objects):
            tensors["best.objects"] = torch.stack([torch.as_tensor(o).cpu() for o in objects])
        write(path / "best.safetensors", save({name[5:]: v.clone() for name, v in tensors.items()}))
        for i, image in enumerate(pictures(objects)):
            write(path / "best" / f"{i:02d}.png", png(image))
        summary = {
            "stopped": result.stopped,
            "best": float(result.best.reward[0]) if len(result.best) else None,
            "nfe": result.meter.nfe,
            "rewards": result.meter.rewards,
            "failures": len(result.failures),
            "seconds": result.meter.seconds,
            "evidence": [{k: v if v == v else None for k, v in vars(r).items()} for r in result.evidence],
        }
        write(path / "result.json", json.dumps(summary, indent=1).encode())


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
) -> Result:
    """Go on with the run in a folder, to the same bits as if it had never stopped.

    Arguments:
        folder: of the run.
        method, target: as they were.
        budget: a new one, or `None` for the old.
        on, probe, final, stop: as for `run`; a `Checkpoint` on the folder is added.

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
        subscribers: list[Subscriber] = [*on, Checkpoint(held)]
        return run(method, target, given, seed, on=subscribers, probe=probe, final=final, stop=stop, start=start)
    finally:
        held.close()
