"""The ledger of a run, from the command line: what failed, evaluating it again, export and repair."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table

from .evaluation import answers
from .launch import Workers, hint
from .ledger import COLUMNS, read
from .population import rescored
from .salvage import repair
from .scoring import Worst
from .store import LEDGER, Folder, StoreError
from .study import load
from .types import InputError

__all__ = ["add_to", "rescore"]

Run = Annotated[Path, typer.Argument(help="Folder of a run.")]


def add_to(app: typer.Typer) -> None:
    """Give an app the commands of this module."""
    for command in (failures, retry, export, mend):
        app.command(command.__name__ if command is not mend else "repair")(command)


def failures(
    folder: Run, as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False
) -> None:
    """List what failed, by reason, with keys (step:candidate)."""
    rows = list(read(_ledger(folder), "failed"))
    if as_json:
        for row in rows:
            print(json.dumps({name: row[name] for name in COLUMNS}))
        return
    if not rows:
        print("Nothing failed.")
        return
    table = Table("reason", "objects", "keys", box=None, pad_edge=False, header_style="bold")
    for reason in sorted({row["reason"] for row in rows}):
        keys = [f"{row['step']}:{row['candidate']}" for row in rows if row["reason"] == reason]
        more = f" and {len(keys) - 6} more" if len(keys) > 6 else ""
        table.add_row(reason, str(len(keys)), " ".join(keys[:6]) + more)
    Console(highlight=False, markup=False).print(table)


def retry(
    folder: Run,
    workers: Annotated[int | None, typer.Option(help="Processes to spread over.", min=1)] = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds without an answer before one is replaced.")] = None,
    ray: Annotated[str | None, typer.Option(help="Spread over Ray: the address of a cluster, or 'local'.")] = None,
) -> None:
    """Evaluate again what failed. What the search was told stays told; a step that was cut short takes it over."""
    held = Folder.open(folder)
    try:
        about, copy = held.about(), folder / "study.py"
        if about.get("study") is None or not copy.is_file():
            raise InputError(f"{folder} holds no study: score again from Python with elites.upkeep.rescore.")
        study = load(Path(about["study"]), copy.read_text(encoding="utf-8"), copy)
        Workers(workers, timeout, ray).given_to(study, held)
        good, bad = rescore(held, study.target)
    finally:
        held.close()
    left = f"; {bad} failed again: 'elites failures {folder}'" if bad else ""
    print(f"{good} of {good + bad} failed evaluations have a reward now{left}.")
    if not held.finished:
        print(f"go on with: {hint(folder)}")


def rescore(held: Folder, target: Any) -> tuple[int, int]:
    """Score what failed in a run again, and write it into its ledger; how many have a reward now, and how many not.

    Arguments:
        held: the folder, open.
        target: with the reward, mended.
    """
    ledger, account, policy = held.ledger(), target.account, target.on_error
    account.book, target.on_error = ledger, Worst(limit=1.0)
    try:
        # first, so that a kill leaves nothing behind that followed from a failure which is none any more
        ledger.outdate([key for key, *_ in ledger.failed() if key[0] > held.step])
        rows = [(key, data) for key, _, data in ledger.failed() if data is not None]
        size = target.decode_batch if target.pool is None else len(rows)
        for i in range(0, len(rows), max(size, 1)):
            keys, data = zip(*rows[i : i + size], strict=True)
            flat = np.stack([np.frombuffer(bytes(d), dtype=np.float32) for d in data])
            x = torch.from_numpy(flat.copy()).reshape(len(keys), *target.prior.shape)
            x = x.to(target.prior.start(x[:1]))
            if target.pool is not None:
                rescored(target, target.pool, x, keys)
            else:
                for _ in answers(target, x, keys):
                    pass
            ledger.flush()
        bad = len(ledger.failed())
    finally:
        account.book, target.on_error = None, policy
        ledger.close()
    return len(rows) - bad, bad


def export(
    folder: Run,
    parquet: Annotated[bool, typer.Option("--parquet", help="As a Parquet file (needs pyarrow).")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="As a CSV file.")] = False,
    out: Annotated[Path | None, typer.Option(help="The file; evaluations.parquet or .csv in RUN by default.")] = None,
) -> None:
    """Write every evaluation of a run to a file, also while it runs; without a format, JSON lines to the screen."""
    if parquet and as_csv:
        raise InputError("Give one of --parquet and --csv.")
    rows = (_flat(folder.name, row) for row in read(_ledger(folder)))
    if not parquet and not as_csv:
        with out.open("w") if out is not None else nullcontext(sys.stdout) as f:
            for row in rows:
                f.write(json.dumps(row) + "\n")
        return
    path = out or folder / f"evaluations.{'parquet' if parquet else 'csv'}"
    if parquet:
        _parquet(path, rows)
    else:
        with path.open("w", newline="") as f:
            table = csv.DictWriter(f, ["run", *COLUMNS])
            table.writeheader()
            table.writerows(rows)
    print(path)


def mend(folder: Run) -> None:
    """Make a new ledger of every evaluation that can still be read; the damaged one is kept beside it."""
    held = Folder.open(folder)
    try:
        saved, kept = repair(folder / LEDGER)
    finally:
        held.close()
    print(f"{saved} evaluations are in the new ledger; the damaged one is {kept}.")


def _ledger(folder: Path) -> Path:
    Folder(folder).about()
    return folder / LEDGER


def _flat(run: str, row: dict[str, Any]) -> dict[str, Any]:
    return {"run": run} | row | {"terms": json.dumps(row["terms"])}


def _parquet(path: Path, rows: Iterable[dict[str, Any]], size: int = 65_536) -> None:
    try:
        import pyarrow
        import pyarrow.parquet as pq
    except ImportError:
        raise ImportError("Parquet files need pyarrow: pip install 'elites[export]'.") from None
    text, whole, real = pyarrow.string(), pyarrow.int64(), pyarrow.float64()
    kinds = dict.fromkeys(("run", "state", "reason", "digest", "terms"), text) | dict.fromkeys(
        ("reward", "ended"), real
    )
    schema = pyarrow.schema([(name, kinds.get(name, whole)) for name in ("run", *COLUMNS)])
    aside = path.with_name(f".{path.name}.tmp")
    try:
        with pq.ParquetWriter(aside, schema) as out:
            for some in _batches(rows, size):
                out.write_table(pyarrow.Table.from_pylist(some, schema=schema))
        aside.replace(path)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise StoreError(f"Cannot write {path}: {error.strerror or error}.") from error


def _batches(rows: Iterable[dict[str, Any]], size: int) -> Iterator[list[dict[str, Any]]]:
    some: list[dict[str, Any]] = []
    for row in rows:
        some.append(row)
        if len(some) == size:
            yield some
            some = []
    yield some
