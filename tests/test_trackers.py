"""Trackers have what the history and the result have, at its steps."""

import math
import sys
import time
import warnings

import fakes
import numpy as np
import pytest
import torch
from helpers import on_humps

import elites as el
from elites.events.shown import due
from elites.priors import OneStep
from elites.types import Reading

METHOD, BUDGET = el.RandomSearch(8), el.Budget(steps=12)


def images(z):
    return z.reshape(-1, 1, 4, 4).sigmoid()


def pictured():
    return el.Target(OneStep(images, (16,)), lambda x: x.mean((1, 2, 3)), batch=8)


def evidence(event):
    if event.step and event.result is None:
        event.row["judge: odd, name"] = math.nan if event.step == 3 else float(event.step)
    if event.result is not None:
        event.result.evidence.append(Reading("typicality", 0.98, 0.43, "0.98: more typical than 43 % of the prior."))


def ran(tracker, target=None):
    return el.run(METHOD, target or pictured(), BUDGET, seed=5, on=[evidence, tracker])


def expected(result, name):
    """(step, value) of a column of the history."""
    return [(row["step"], row[name]) for row in result.history if math.isfinite(row.get(name, math.nan))]


@pytest.fixture
def wandb(monkeypatch):
    made = fakes.wandb()
    monkeypatch.setitem(sys.modules, "wandb", made)
    return made


@pytest.fixture
def mlflow(monkeypatch):
    for name, module in fakes.mlflow().items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(fakes.MlflowClient, "stores", {})
    return fakes.MlflowClient.stores


DUE = [s for s in range(13) if due(s)]


def test_steps_that_are_due_thin_out():
    assert [s for s in range(30) if due(s)] == [0, 1, 2, 3, 4, 6, 7, 8, 10, 13, 16, 20, 26]
    assert 36 < sum(due(s) for s in range(100_000)) < 60


def test_tensorboard_has_every_scalar_the_pictures_and_the_end(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    result = ran(el.TensorBoard(tmp_path / "tb"))
    found = EventAccumulator(str(tmp_path / "tb"), {"images": 0, "scalars": 0, "tensors": 0}).Reload()
    for name in ("best", "max", "q10", "nfe", "judge: odd, name"):
        got = [(e.step, e.value) for e in found.Scalars(name)]
        assert got == [(s, pytest.approx(v)) for s, v in expected(result, name)]
    pictures = found.Images("best")
    assert [p.step for p in pictures] == DUE
    assert (pictures[0].height, pictures[0].width) == (64, 8 * 64)
    assert found.Scalars("evidence/typicality")[-1].value == pytest.approx(0.98)
    assert found.Scalars("result/best")[-1].value == pytest.approx(float(result.best.reward))
    assert b"43 % of the prior" in found.Tensors("evidence/typicality/text_summary")[0].tensor_proto.string_val[0]
    content = found.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    given = HParamsPluginData.FromString(content).session_start_info.hparams
    assert given["seed"].number_value == 5
    assert given["method"].string_value == "RandomSearch(population=8)"


def test_wandb_has_every_row_and_stays_offline(wandb, tmp_path):
    result = ran(el.WandB("proj", tmp_path / "w"))
    (run,) = wandb.runs
    assert wandb.asked == [{"project": "proj", "dir": str(tmp_path / "w"), "name": None, "mode": "offline"}]
    assert [(s, d["best"]) for s, d in run.rows if "best" in d] == expected(result, "best")
    assert [(s, d["judge: odd, name"]) for s, d in run.rows if "judge: odd, name" in d] == [
        (s, float(s)) for s in range(1, 13) if s != 3
    ]
    assert [s for s, d in run.rows if "best_objects" in d] == DUE
    assert run.config["seed"] == 5
    assert run.config["budget.steps"] == 12
    assert run.summary["result/best"] == float(result.best.reward)
    assert run.summary["evidence/typicality.quantile"] == 0.43
    assert "43 %" in run.summary["evidence/typicality.says"]
    assert run.summary["stopped"] == result.stopped
    assert run.code == 0
    el.WandB(online=True, folder=tmp_path).around(result_setup()).__enter__()
    assert wandb.asked[-1]["mode"] == "online"


def result_setup():
    return el.types.Setup(METHOD, pictured(), BUDGET, 0)


def test_mlflow_has_every_row_in_a_local_folder(mlflow, tmp_path):
    result = ran(el.MLflow(tmp_path / "m"))
    ran(el.MLflow(tmp_path / "m"), on_humps())
    (store,) = mlflow.values()
    assert store.experiments == {"elites": "0"}
    first, second = store.runs.values()
    assert [(s, v) for k, s, v in first.metrics if k == "best"] == expected(result, "best")
    assert {k for k, *_ in first.metrics} >= {"judge: odd_ name", "result/best", "evidence/typicality"}
    assert [(k, s) for k, s, _ in first.images] == [("best", s) for s in DUE]
    assert not second.images  # of objects that are no pictures
    assert first.params["seed"] == "5"
    assert first.tags["stopped"] == result.stopped
    assert "43 %" in first.tags["evidence.typicality"]
    assert first.status == second.status == "FINISHED"


def test_a_run_that_breaks_is_closed_as_broken(wandb, mlflow, tmp_path):
    def broken(event):
        if event.step == 2:
            raise ArithmeticError

    target = pictured()
    for tracker in (el.WandB(folder=tmp_path), el.MLflow(tmp_path / "m")):
        with pytest.raises(ArithmeticError):
            el.run(METHOD, target, BUDGET, on=[tracker, broken])
    assert wandb.runs[0].code == 1
    (store,) = mlflow.values()
    assert [run.status for run in store.runs.values()] == ["FAILED"]


def test_trackers_change_nothing(wandb, tmp_path):
    with_one, without = ran(el.WandB(folder=tmp_path)), el.run(METHOD, pictured(), BUDGET, seed=5)
    assert torch.equal(with_one.samples.x, without.samples.x)


@pytest.mark.parametrize("make", [el.TensorBoard, lambda folder: el.WandB(folder=folder), el.MLflow])
def test_a_folder_that_cannot_be_made_is_one_sentence(make, wandb, mlflow, tmp_path):
    (tmp_path / "afile").write_text("")
    with pytest.raises(el.StoreError, match=r"^Cannot write .*afile.*: .*; choose another folder\.$"):
        ran(make(tmp_path / "afile" / "x"))


@pytest.mark.parametrize(
    ("make", "module", "extra"),
    [
        (el.TensorBoard, "torch.utils.tensorboard", "tensorboard"),
        (el.WandB, "wandb", "wandb"),
        (el.MLflow, "mlflow", "mlflow"),
    ],
)
def test_a_missing_package_is_one_sentence_at_once(make, module, extra, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"needs {extra}: pip install 'elites\[{extra}\]'"):
        make(tmp_path)


def test_the_fake_wandb_is_like_the_real_one(tmp_path, monkeypatch):
    real = pytest.importorskip("wandb")
    assert fakes.fits(fakes.wandb().init, real.init)
    assert fakes.fits(fakes.WandBImage, real.Image)
    assert fakes.fits(fakes.WandBRun.log, real.Run.log)
    assert fakes.fits(fakes.WandBRun.finish, real.Run.finish)
    ran(el.WandB(folder=tmp_path))
    (folder,) = (tmp_path / "wandb").glob("offline-run-*")
    (file,) = folder.glob("*.wandb")
    words = (b"judge: odd, name", b"result/best", b"43 % of the prior", b"RandomSearch(population=8)")
    for _ in range(300):  # a process of its own writes it, also after the end of the run
        if all(word in file.read_bytes() for word in words):
            break
        time.sleep(0.1)
    assert [word for word in words if word not in file.read_bytes()] == []
    assert len(list(folder.rglob("*.png"))) == len(DUE)


def test_the_fake_mlflow_is_like_the_real_one(tmp_path):
    pytest.importorskip("mlflow")
    from mlflow import entities
    from mlflow.tracking import MlflowClient

    for name in ("get_experiment_by_name", "create_run", "log_batch", "log_image", "set_tag", "set_terminated"):
        assert fakes.fits(getattr(fakes.MlflowClient, name), getattr(MlflowClient, name)), name
    assert fakes.fits(fakes.Param, entities.Param)
    assert fakes.fits(fakes.Metric, entities.Metric)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of their own
        result = ran(el.MLflow(tmp_path / "m"))
        client = MlflowClient(tracking_uri=(tmp_path / "m").as_uri())
        (run,) = client.search_runs([client.get_experiment_by_name("elites").experiment_id])
        history = client.get_metric_history(run.info.run_id, "best")
    assert [(m.step, m.value) for m in history] == expected(result, "best")
    assert run.data.params["method"] == "RandomSearch(population=8)"
    assert run.info.status == "FINISHED"
    assert len(list((tmp_path / "m").rglob("*.png"))) == len(DUE)
    assert np.isfinite(run.data.metrics["evidence/typicality"])
