"""A study is a plain Python file that defines `target` and `method`, and optionally more.

target   what to search: a `Target`
method   how: any method
budget   a `Budget`, unless the command line gives one
judge    a callable on a batch of objects that the search never sees; higher is more real
distance a callable on a batch of objects, such as `DistanceToData`; lower is more real
final    a `Final`, to render the finalists with another walk
on       a list of subscribers, such as `Watch`, `StopWhen`, or an `Evidence` of your own, which is given the judge and
         the distance that it lacks
seed     0 by default
probe    a `Probe`, or `None` to leave out the look at the reward
draw     what to show of an object in the report, as `Checkpoint(draw=)` has it; by its type and shape by default
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from .diagnose import Evidence, Typicality
from .probe import Probe
from .run import Final, Subscriber
from .target import Target
from .types import Budget, InputError, Method

__all__ = ["Study", "StudyError", "TargetOf", "load", "shortened"]


class StudyError(InputError):
    """The study's own code failed; `trace` is its traceback, without frames that are not the user's."""

    def __init__(self, message: str, trace: str) -> None:
        super().__init__(message)
        self.trace = trace


@dataclass
class Study:
    """What a study file defines, with its source."""

    path: Path
    source: str
    target: Target
    method: Method
    budget: Budget
    final: Final | None
    on: list[Subscriber]
    seed: int
    probe: Probe | None
    shown: str
    draw: Callable[[Any], Any] | None = None


@dataclass(frozen=True)
class TargetOf:
    """What a worker calls for the target of a study: the copy in the run folder, run as the study."""

    study: Path
    copy: Path

    def __call__(self) -> Target:
        return load(self.study, self.copy.read_text(encoding="utf-8"), self.copy).target


def load(path: str | Path, source: str | None = None, copy: str | Path = "its copy") -> Study:
    """Run a study file and check what it defines.

    Arguments:
        path: of the file.
        source: its text, if not what the file says now: the copy in a run folder.
        copy: where that text is, for tracebacks.

    Raises:
        InputError: if there is no such file, or a name is missing or of the wrong kind.
        StudyError: if its code fails.
    """
    path = Path(path).resolve()
    shown = str(path if source is None else copy)
    if source is None:
        if not path.is_file():
            raise InputError(f"There is no study {path}: give a Python file that defines target and method.")
        try:
            source = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"The study {path} cannot be read ({error}): give a Python file in UTF-8.") from None
    names = _execute(path, source, shown)
    target = _the(path, names, "target", Target)
    method: Any = names.get("method")
    if isinstance(method, type) or not all(
        callable(getattr(method, verb, None)) for verb in ("init", "step", "done", "cost")
    ):
        raise InputError(f"{path} defines no method: add a line such as method = elites.Elites().")
    budget = _the(path, names, "budget", Budget, Budget())
    final = _the(path, names, "final", Final, None)
    seed = _the(path, names, "seed", int, 0)
    on = names.get("on", [])
    if not isinstance(on, list | tuple) or not all(callable(f) and not isinstance(f, type) for f in on):
        raise InputError(f"{path} defines on as {type(on).__name__}: give a list of subscribers.")
    judge, distance = (_scorer(path, names, name) for name in ("judge", "distance"))
    draw = names.get("draw")
    if draw is not None and not callable(draw):
        raise InputError(f"{path} defines draw as {type(draw).__name__}: give a callable on one object.")
    own = [f for f in on if isinstance(f, Evidence)]
    for given in own:
        given.judge, given.distance = given.judge or judge, given.distance or distance
    evidence: list[Subscriber] = [Evidence(judge, distance)] if (judge or distance) and not own else []
    probe = None if names.get("probe", True) is None else _the(path, names, "probe", Probe, Probe())
    every = [Typicality(), *evidence, *on]
    return Study(path, source, target, method, budget, final, every, seed, probe, shown, draw)


def _scorer(path: Path, names: dict[str, Any], name: str) -> Callable[[Any], Any] | None:
    scorer = names.get(name)
    if scorer is not None and not callable(scorer):
        raise InputError(f"{path} defines {name} as {type(scorer).__name__}: give a callable on a batch of objects.")
    return scorer


def _the(path: Path, names: dict[str, Any], name: str, kind: type, *default: Any) -> Any:
    value = names.get(name, *default)
    if name not in names and default:
        return value
    if not isinstance(value, kind) or isinstance(value, bool):
        what = f"defines {name} as {type(value).__name__}" if name in names else f"defines no {name}"
        raise InputError(
            f"{path} {what}: it should be of elites.{kind.__name__}."
            if kind is not int
            else f"{path} {what}: give a whole number."
        )
    return value


def _execute(path: Path, source: str, shown: str) -> dict[str, Any]:
    module = ModuleType("study")
    module.__file__ = str(path)
    sys.modules["study"] = module  # dataclasses and pickles look it up
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        with redirect_stdout(sys.stderr):  # what a study prints is no result
            exec(compile(source, shown, "exec", dont_inherit=True), module.__dict__)
    except InputError:
        raise
    except (Exception, SystemExit) as error:
        reason = str(error).splitlines()[0] if str(error) else ""
        raise StudyError(
            f"The study {path} stopped with {type(error).__name__}{': ' if reason else ''}{reason}: mend it and "
            "run it again.",
            shortened(error, lambda frame: frame == shown),
        ) from None
    return module.__dict__


def shortened(error: BaseException, mine: Callable[[str], bool], most: int = 6) -> str:
    """A traceback from the first frame whose file is `mine` on, at most the last few frames."""
    trace = traceback.TracebackException.from_exception(error)
    first = next((i for i, frame in enumerate(trace.stack) if mine(frame.filename)), len(trace.stack))
    trace.stack = traceback.StackSummary.from_list(trace.stack[first:][-most:])
    trace.__cause__ = trace.__context__ = None
    return "".join(trace.format()).rstrip()
