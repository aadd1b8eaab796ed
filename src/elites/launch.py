"""A study run in a folder, as the command line does it."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from .events import Checkpoint, Progress, resume
from .parallel import Processes, Ray, WorkerError
from .run import Subscriber, run
from .scoring import RewardError
from .store import Folder, StoreError, write
from .study import Study, TargetOf, shortened
from .types import Budget, InputError, Result, Setup

__all__ = ["Interrupt", "Workers", "errors", "fresh", "go_on", "hint", "limited", "unused"]

errors = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)


class _Stopped(KeyboardInterrupt):
    """What nobody takes for an exception of a reward."""


@dataclass
class Interrupt:
    """Ctrl-C: the first one ends the run after its step, the second one at once."""

    folder: Path | None = None
    seen: bool = False

    def __call__(self) -> bool:
        return self.seen

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Catch Ctrl-C for a while."""

        def note(number: int, frame: Any) -> None:
            if self.seen:
                errors.print(f"Stopped at once{f'; go on with: {hint(self.folder)}' if self.folder else ''}")
                raise _Stopped
            self.seen = True
            errors.print("Finishing the step; Ctrl-C again stops at once.")

        before = signal.signal(signal.SIGINT, note)
        try:
            yield
        except _Stopped:
            raise SystemExit(130) from None
        finally:
            signal.signal(signal.SIGINT, before)


@dataclass(frozen=True)
class Workers:
    """What the command line says of workers."""

    number: int | None = None
    timeout: float | None = None
    ray: str | None = None

    def given_to(self, study: Study, folder: Folder) -> None:
        """Let workers do what the study says, if any are asked for."""
        if self.number is None and self.ray is None and self.timeout is None:
            return
        build, many = TargetOf(study.path, (folder.path / "study.py").resolve()), self.number or os.cpu_count() or 1
        if self.ray is None:
            study.target.pool = Processes(many, build, timeout=self.timeout)
        else:
            address = None if self.ray == "local" else self.ray
            study.target.pool = Ray(many, build, timeout=self.timeout, address=address)


def limited(given: Budget, nfe: int | None, seconds: float | None) -> Budget:
    """A budget with what the command line says in the place of what the study says."""
    changes: dict[str, Any] = {"nfe": nfe, "seconds": seconds}
    return replace(given, **{name: value for name, value in changes.items() if value is not None})


def hint(folder: Path) -> str:
    """The command that goes on with a run."""
    return f"elites resume {shlex.quote(str(folder))}"


def unused(stem: str) -> Path:
    """runs/stem, or the first of runs/stem-2, runs/stem-3, ... that is not there."""
    names = (f"{stem}-{i}" if i > 1 else stem for i in range(1, 1_000_000))
    return next(path for name in names if not (path := Path("runs") / name).exists())


def fresh(
    study: Study,
    folder: Folder,
    budget: Budget,
    seed: int,
    shown: Sequence[Progress],
    workers: Workers = Workers(),
) -> Result:
    """Run a study in a new folder, which is removed again if nothing was saved."""
    stop = Interrupt(folder.path)
    keep = Checkpoint(folder, study=str(study.path), draw=study.draw)
    on: list[Subscriber] = [*study.on, *shown, keep]
    try:
        write(folder.path / "study.py", study.source.encode())
        workers.given_to(study, folder)
        folder.begin(Setup(study.method, study.target, budget, seed), keep.study)
        with stop.watching(), _guarded(study, folder, shown, new=True):
            return run(
                study.method,
                study.target,
                budget,
                seed,
                on=on,
                probe=study.probe,
                final=study.final,
                stop=stop,
            )
    finally:
        folder.close()


def go_on(
    study: Study,
    folder: Folder,
    budget: Budget | None,
    shown: Sequence[Progress],
    workers: Workers = Workers(),
) -> Result:
    """Go on with a run from the copy of its study."""
    workers.given_to(study, folder)
    stop = Interrupt(folder.path)
    on: list[Subscriber] = [*study.on, *shown]
    with stop.watching(), _guarded(study, folder, shown, new=False):
        return resume(
            folder,
            study.method,
            study.target,
            budget,
            on=on,
            probe=study.probe,
            final=study.final,
            stop=stop,
            draw=study.draw,
        )


@contextmanager
def _guarded(study: Study, folder: Folder, shown: Sequence[Progress], *, new: bool) -> Iterator[None]:
    """Keep what the study prints off the result, give the terminal back, and say what to mend.

    A new folder in which there is nothing yet is removed again.
    """
    try:
        with redirect_stdout(sys.stderr):
            yield
    except (InputError, RewardError, StoreError) as error:
        if new and not isinstance(error, StoreError):
            folder.discard()
        if isinstance(error, RewardError) and folder.path.exists():
            where = shlex.quote(str(folder.path))
            raise RewardError(
                f"{error} What was evaluated is kept: see 'elites failures {where}', then 'elites retry {where}' and "
                f"'{hint(folder.path)}'."
            ) from None
        raise
    except WorkerError as error:
        if new:
            folder.discard()
        raise RewardError(str(error)) from None
    except Exception as error:
        if new:
            folder.discard()
        errors.print(shortened(error, lambda frame: frame == study.shown))
        again = f"mend {folder.path / 'study.py'}, then '{hint(folder.path)}'" if folder.path.exists() else "mend it"
        raise RewardError(f"The run failed with {type(error).__name__}: {again}.") from None
    finally:
        for progress in shown:
            progress.close()
