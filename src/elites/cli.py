"""The command line: `elites demo`, `run`, `resume`, `report`, `list`; `upkeep`, `compare`, `foresee`, `web` add more.

Exit codes: 0 finished, 1 the run failed, 2 bad input, 130 interrupted (the run can be resumed).
"""

from __future__ import annotations

import json
import math
import os
import sys
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table

from . import compare, foresee
from .events import Progress, write_report
from .launch import Interrupt, Workers, errors, fresh, go_on, hint, limited, unused
from .run import run
from .scoring import RewardError
from .search import RandomSearch
from .store import Folder, StoreError
from .study import Study, StudyError, load
from .types import Budget, InputError, Result
from .upkeep import add_to
from .web import command as web

__all__ = ["app", "main"]

app = typer.Typer(
    help="Steer pretrained diffusion models toward a reward, and see that the result is real.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Nfe = Annotated[int | None, typer.Option(help="Network evaluations to spend, counted per object.")]
Seconds = Annotated[float | None, typer.Option(help="Wall time to spend.")]
Seed = Annotated[int | None, typer.Option(help="Seed of the run.")]
Out = Annotated[Path | None, typer.Option(help="Folder of the run; a new one under runs/ by default.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print no progress.")]
Processes = Annotated[int | None, typer.Option("--workers", help="Processes to spread the run over.", min=1)]
Timeout = Annotated[float | None, typer.Option(help="Seconds without an answer before a worker is replaced.")]
OnRay = Annotated[str | None, typer.Option("--ray", help="Spread over Ray: the address of a cluster, or 'local'.")]
Threads = Annotated[int, typer.Option(help="CPU threads; 1 gives the same bits on every machine of a kind.", min=1)]


@app.command("run")
def run_command(
    study: Annotated[Path, typer.Argument(help="Python file that defines target and method.")],
    nfe: Nfe = None,
    seconds: Seconds = None,
    seed: Seed = None,
    out: Out = None,
    as_json: Json = False,
    quiet: Quiet = False,
    threads: Threads = 1,
    workers: Processes = None,
    timeout: Timeout = None,
    ray: OnRay = None,
) -> None:
    """Run a study, save it in a folder, and write its report."""
    torch.set_num_threads(threads)
    loaded = load(study)
    budget, start = limited(loaded.budget, nfe, seconds), loaded.seed if seed is None else seed
    folder = _new(loaded, out)
    spread = Workers(workers, timeout, ray)
    _finish(folder.path, fresh(loaded, folder, budget, start, _shown(quiet), spread), as_json, quiet)


@app.command()
def demo(
    nfe: Nfe = None,
    seconds: Seconds = None,
    seed: Seed = None,
    out: Out = None,
    as_json: Json = False,
    quiet: Quiet = False,
    threads: Threads = 1,
) -> None:
    """Steer the bundled digits prior toward a clear 3, against best-of-N at the same budget."""
    torch.set_num_threads(threads)
    study = load(Path(str(files("elites") / "demo.py")))
    budget, start = limited(study.budget, nfe, seconds), study.seed if seed is None else seed
    stop, folder = Interrupt(), _new(study, out)
    if not quiet:
        errors.print("Best of N: the best of fresh prior samples.")
    with stop.watching():
        baseline = run(RandomSearch(), study.target, budget, start, on=[*study.on, *_shown(quiet)], stop=stop)
    if stop.seen:
        folder.discard()
        errors.print("Interrupted before Elites began: run the demo again.")
        raise typer.Exit(130)
    if not quiet:
        errors.print("Elites: learn which noise the best samples come from.")
    result = fresh(study, folder, budget, start, _shown(quiet))
    if result.stopped == "interrupted" or as_json:
        _finish(folder.path, result, as_json, quiet, {"best_of_n": _summary(baseline)})
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    for name in ("reward", "judge", "|z|^2/d", "distance", "evaluations", "seconds"):
        table.add_column(name, justify="right")
    for name, r in (("best of N", baseline), ("Elites", result)):
        s = _summary(r)
        numbers = (f"{s[k]:.2f}" for k in ("best", "judge", "shell", "distance"))
        table.add_row(name, *numbers, f"{s['nfe']:,}", f"{s['seconds']:.1f}")
    console = Console(highlight=False)
    console.print(table)
    console.print(
        "\nThe judge is a classifier that the search never sees; |z|^2/d of 1 is typical noise; a distance to the "
        "data of 1 is like held-out digits.",
        soft_wrap=True,
    )
    _finish(folder.path, result, as_json, quiet)


@app.command("resume")
def resume_command(
    folder: Annotated[Path, typer.Argument(help="Folder of a run.")],
    nfe: Nfe = None,
    seconds: Seconds = None,
    as_json: Json = False,
    quiet: Quiet = False,
    threads: Threads = 1,
    workers: Processes = None,
    timeout: Timeout = None,
    ray: OnRay = None,
) -> None:
    """Go on with a run that was interrupted or killed, to the same bits."""
    torch.set_num_threads(threads)
    held = Folder.open(folder)
    about = held.about()
    copy = folder / "study.py"
    if about.get("study") is None or not copy.is_file():
        raise InputError(f"{folder} holds no study: go on from Python with elites.resume.")
    study = load(Path(about["study"]), copy.read_text(encoding="utf-8"), copy)
    budget = limited(Budget(**about["budget"]), nfe, seconds) if (nfe, seconds) != (None, None) else None
    _finish(folder, go_on(study, held, budget, _shown(quiet), Workers(workers, timeout, ray)), as_json, quiet)


@app.command()
def report(folder: Annotated[Path, typer.Argument(help="Folder of a run.")]) -> None:
    """Write report.html of a run again."""
    Folder(folder).about()
    print(write_report(folder))


@app.command("list")
def list_command(
    folder: Annotated[Path, typer.Argument(help="Folder that holds runs.")] = Path("runs"),
    as_json: Json = False,
) -> None:
    """List the runs in a folder."""
    found = [_line(path.parent) for path in sorted(folder.glob("*/run.json"))]
    if as_json:
        print(json.dumps([{k: None if v != v else v for k, v in line.items()} for line in found], allow_nan=False))
        return
    if not found:
        print(f"There are no runs in {folder}.")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in found[0]:
        table.add_column(name, justify="left" if name in ("run", "status") else "right")
    for line in found:
        table.add_row(*("" if v is None else f"{v:.4g}" if isinstance(v, float) else str(v) for v in line.values()))
    Console(highlight=False).print(table)


add_to(app)
web.add_to(app)
compare.add_to(app)
foresee.add_to(app)


def _line(path: Path) -> dict[str, Any]:
    """What `elites list` says of one run."""
    ended = path / "result.json"
    try:
        rows = Folder(path).history()
        last = dict(rows[-1]) if rows else {}
        stopped = str(json.loads(ended.read_text())["stopped"] or "damaged") if ended.is_file() else "not finished"
    except (OSError, ValueError, KeyError, TypeError):
        last, stopped = {}, "damaged"
    best = last.get("final", last.get("best"))
    return {
        "run": path.name,
        "status": stopped.partition(":")[0],
        "step": last.get("step"),
        "best": best,
        "nfe": last.get("nfe"),
        "seconds": last.get("seconds"),
    }


def _shown(quiet: bool) -> list[Progress]:
    return [] if quiet else [Progress()]


def _new(study: Study, out: Path | None) -> Folder:
    return Folder.create(out if out is not None else unused(study.path.stem))


def _summary(result: Result) -> dict[str, Any]:
    last = result.history[-1] if result.history else {}
    out: dict[str, Any] = {"best": float(result.best.reward[0]) if len(result.best) else None}
    out |= {k: last[k] if math.isfinite(last[k]) else None for k in ("judge", "shell", "distance") if k in last}
    out |= {r.name: r.warns for r in result.evidence if r.name == "alarm"}
    out |= {name: getattr(result.meter, name) for name in ("nfe", "rewards", "seconds")}
    return out | {"failures": len(result.failures), "stopped": result.stopped}


def _finish(folder: Path, result: Result, as_json: bool, quiet: bool, more: dict[str, Any] | None = None) -> None:
    """Write the report, say where it is, and leave with 130 if the run was interrupted."""
    page = write_report(folder)
    if as_json:
        out = _summary(result) | {"run": str(folder), "report": str(page)} | (more or {})
        print(json.dumps(out, allow_nan=False))
    else:
        for reading in result.evidence:
            if reading.warns or (reading.name == "alarm" and not quiet):
                errors.print(f"{reading.name}: {reading.says}", soft_wrap=True)
        print(f"report: {page}")
    if result.stopped == "interrupted":
        errors.print(f"Interrupted; go on with: {hint(folder)}")
        raise typer.Exit(130)


def main() -> None:
    """Run the command line; every expected error is one sentence."""
    code = 0
    try:
        app(prog_name="elites")
    except StudyError as error:
        errors.print(error.trace)
        code = _say(error, 2)
    except (InputError, ImportError) as error:
        code = _say(error, 2)
    except (RewardError, StoreError) as error:
        code = _say(error, 1)
    except BrokenPipeError:  # the reader of our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def _say(what: object, code: int) -> int:
    errors.print(f"elites: {what}")
    return code
