"""Runs in the trackers that people have already: TensorBoard, Weights & Biases, MLflow.

Each is a subscriber. A row of the history is scalars at its step; the best objects of a step are a picture, at steps a
tenth of a decade apart; what defines the run is its parameters; what it left is the last word. List a tracker after
the subscribers that add columns or evidence. Nothing leaves the machine unless that is asked for: all write to a local
folder, and their telemetry is switched off.
"""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..account import described
from ..run import versions
from ..store import StoreError
from ..types import Event, InputError, Result, Setup
from .pictures import joined, picture
from .shown import SHOWN, decoded, due

__all__ = ["MLflow", "TensorBoard", "WandB"]

LONG = 500  # characters of a parameter that every tracker takes


class TensorBoard:
    """Subscriber that writes a run for TensorBoard: see it with `tensorboard --logdir FOLDER`.

    Arguments:
        folder: for the files of this run; one that holds a run already is gone on with.

    Raises:
        ImportError: at once, if tensorboard is not installed.
        StoreError: when a run begins, if the folder cannot be made.
    """

    def __init__(self, folder: str | Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise _missing("TensorBoard", "tensorboard") from None
        self.folder = Path(folder)
        self._make: Any = SummaryWriter
        self._writer: Any = None

    @contextmanager
    def around(self, setup: Setup) -> Iterator[None]:
        """Keep the file open while a run goes on."""
        self._writer = self._make(log_dir=str(_made(self.folder)))
        try:
            for name, value in _parameters(setup).items():
                self._writer.add_text(name, _code(value), 0)
            yield
        finally:
            self._writer.close()

    def __call__(self, event: Event) -> None:
        """Write what there is."""
        for name, value in _numbers(event.row).items():
            self._writer.add_scalar(name, value, event.step)
        if (picture := _picture(event)) is not None:
            self._writer.add_image("best", np.atleast_3d(np.asarray(picture)), event.step, dataformats="HWC")
        if event.result is not None:
            ends = _numbers(_ends(event.result))
            self._writer.add_hparams(_parameters(event.setup), ends, run_name=".", global_step=event.step)
            self._writer.add_text("stopped", _code(event.result.stopped), event.step)
            for reading in event.result.evidence:
                self._writer.add_text(f"evidence/{reading.name}", _code(reading.says), event.step)
            self._writer.flush()


class WandB:
    """Subscriber that writes a run for Weights & Biases, offline unless asked: `wandb sync FOLDER/wandb/offline-*`.

    Arguments:
        project: it belongs to.
        folder: where it is written, under `wandb/`.
        name: of the run; one is made up without.
        online: whether to send everything to the server that wandb is logged in to, as the run goes on.

    Raises:
        ImportError: at once, if wandb is not installed.
        StoreError: when a run begins, if the folder cannot be made.
    """

    def __init__(
        self, project: str = "elites", folder: str | Path = "runs", *, name: str | None = None, online: bool = False
    ) -> None:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        try:
            import wandb
        except ImportError:
            raise _missing("WandB", "wandb") from None
        self.project, self.folder, self.name, self.online = project, Path(folder), name, online
        self._wandb: Any = wandb
        self._run: Any = None

    @contextmanager
    def around(self, setup: Setup) -> Iterator[None]:
        """Keep the run open while it goes on."""
        _made(self.folder)
        quiet = {"silent": True, "console": "off", "save_code": False, "disable_code": True, "disable_git": True}
        self._run = self._wandb.init(
            project=self.project,
            dir=str(self.folder),
            name=self.name,
            mode="online" if self.online else "offline",
            config=_parameters(setup),
            settings=self._wandb.Settings(**quiet),
        )
        code = 1
        try:
            yield
            code = 0
        finally:
            self._run.finish(exit_code=code)

    def __call__(self, event: Event) -> None:
        """Write what there is."""
        what: dict[str, Any] = dict(_numbers(event.row))
        if (picture := _picture(event)) is not None:
            what["best_objects"] = self._wandb.Image(picture)
        if what:
            self._run.log(what, step=event.step)
        if event.result is not None:
            says = {f"evidence/{r.name}.says": r.says for r in event.result.evidence}
            self._run.summary.update(_numbers(_ends(event.result)) | says | {"stopped": event.result.stopped})


class MLflow:
    """Subscriber that writes a run for MLflow into a local folder: see it with `mlflow ui`, no server needed to write.

    MLflow maintains folders no further, and wants `MLFLOW_ALLOW_FILE_STORE=true` to read one; it is set here.

    Arguments:
        folder: of the store, for many runs.
        experiment: that the run belongs to.
        name: of the run; one is made up without.

    Raises:
        ImportError: at once, if mlflow is not installed.
        StoreError: when a run begins, if the folder cannot be made.
    """

    def __init__(self, folder: str | Path = "mlruns", experiment: str = "elites", *, name: str | None = None) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        try:
            from mlflow import entities
            from mlflow.tracking import MlflowClient
        except ImportError:
            raise _missing("MLflow", "mlflow") from None
        if not experiment:
            raise InputError("The experiment has no name: give one, such as 'elites'.")
        self.folder, self.experiment, self.name = Path(folder), experiment, name
        self._entities: Any = entities
        self._make: Any = MlflowClient
        self._client: Any = None
        self._id = ""

    @contextmanager
    def around(self, setup: Setup) -> Iterator[None]:
        """Keep the run open while it goes on."""
        _made(self.folder.parent)  # MLflow makes a store where there is no folder yet
        self._client = self._make(tracking_uri=self.folder.resolve().as_uri())
        known = self._client.get_experiment_by_name(self.experiment)
        home = known.experiment_id if known is not None else self._client.create_experiment(self.experiment)
        self._id = self._client.create_run(home, run_name=self.name).info.run_id
        status = "FAILED"
        try:
            params = [self._entities.Param(_key(k), str(v)) for k, v in _parameters(setup).items()]
            self._client.log_batch(self._id, params=params)
            yield
            status = "FINISHED"
        finally:
            self._client.set_terminated(self._id, status)

    def __call__(self, event: Event) -> None:
        """Write what there is."""
        self._scalars(_numbers(event.row), event.step)
        if (picture := _picture(event)) is not None:
            self._client.log_image(self._id, picture, key="best", step=event.step)
        if event.result is not None:
            self._scalars(_numbers(_ends(event.result)), event.step)
            self._client.set_tag(self._id, "stopped", event.result.stopped)
            for reading in event.result.evidence:
                self._client.set_tag(self._id, _key(f"evidence.{reading.name}"), reading.says)

    def _scalars(self, numbers: Mapping[str, float], step: int) -> None:
        now = round(1000 * time.time())
        metrics = [self._entities.Metric(_key(name), value, now, step) for name, value in numbers.items()]
        if metrics:
            self._client.log_batch(self._id, metrics=metrics)


def _made(folder: Path) -> Path:
    """A folder that is there from now on.

    Raises:
        StoreError: if it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"Cannot write {folder}: {error.strerror}; choose another folder.") from error
    return folder


def _missing(name: str, extra: str) -> ImportError:
    return ImportError(f"{name} needs {extra}: pip install 'elites[{extra}]'.")


def _parameters(setup: Setup) -> dict[str, Any]:
    """What defines a run."""
    budget = {f"budget.{k}": v for k, v in asdict(setup.budget).items() if v is not None}
    made = {f"version.{k}": v for k, v in versions().items()}
    texts = {"method": described(setup.method)[:LONG], "target": described(setup.target)[:LONG]}
    return {"seed": setup.seed if setup.seed < 1 << 53 else str(setup.seed)} | texts | budget | made


def _numbers(row: Mapping[str, float]) -> dict[str, float]:
    """What can be drawn of a row."""
    return {name: float(v) for name, v in row.items() if name != "step" and math.isfinite(v)}


def _ends(result: Result) -> dict[str, float]:
    """What a run has left, in numbers."""
    best = float(result.best.reward[0]) if len(result.best) else math.nan
    out = {"result/best": best} | {f"result/{name}": float(v) for name, v in vars(result.meter).items()}
    for reading in result.evidence:
        out |= {f"evidence/{reading.name}": reading.value, f"evidence/{reading.name}.quantile": reading.quantile}
    return out


def _picture(event: Event) -> Image.Image | None:
    """The best objects of a step side by side, where they are pictures and the step is due."""
    some = event.info.samples
    if event.result is not None or some is None or not due(event.step):
        return None
    images = [picture(obj) for obj in decoded(event.setup.target, some.top(SHOWN))]
    found = [image for image in images if image is not None]
    return joined(found) if found and len(found) == len(images) else None


def _code(value: Any) -> str:
    """Text that Markdown leaves alone."""
    return "\n".join(f"    {line}" for line in str(value).splitlines() or [""])


def _key(name: str) -> str:
    """A name as MLflow takes them."""
    return re.sub(r"[^\w\-. /:]", "_", name)[:250]
