"""Run folders under stress: damaged files, a full disk, two processes, and states of every form."""

import errno
import json
import os
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

import elites as el
from elites import store
from elites.packing import pack, unpack
from elites.types import Failure, Meter, Setup


def target():
    return el.Target(el.priors.mixture(torch.eye(3), 0.4), lambda x: x[:, 0], walk=el.Plain(steps=3))


METHOD = el.Elites(population=4)


def interrupted(folder, steps=4):
    """A run stopped after some steps, saved at each."""
    count = iter(range(steps))
    return el.run(
        METHOD,
        target(),
        el.Budget(steps=10),
        seed=5,
        on=[el.Checkpoint(folder, seconds=0)],
        stop=lambda: next(count, None) is None,
    )


@dataclass
class Inner:
    weight: torch.Tensor
    note: str


class Net:
    def __init__(self, value):
        self.value = value

    def state_dict(self):
        return {"value": self.value}

    def load_state_dict(self, state):
        self.value = state["value"]


@dataclass
class Everything:
    number: float
    empty: None
    flags: tuple
    inner: Inner
    table: dict
    net: Net
    maybe: torch.Tensor | None


def test_a_state_of_every_kind_of_field_comes_back_the_same():
    net = Net(torch.tensor([1.5]))
    state = Everything(
        -torch.inf, None, (True, 2, "x"), Inner(torch.arange(3), "n"), {"a": torch.ones(2)}, net, torch.zeros(0, 4)
    )
    tensors = {}
    text = json.dumps(pack(state, "state", tensors))
    like = Everything(0.0, None, (), Inner(torch.zeros(3), ""), {}, Net(torch.zeros(1)), None)
    back = unpack(json.loads(text), like, tensors)
    assert (back.number, back.empty, back.flags, back.inner.note) == (-torch.inf, None, (True, 2, "x"), "n")
    assert torch.equal(back.inner.weight, state.inner.weight)
    assert torch.equal(back.table["a"], torch.ones(2))
    assert torch.equal(back.net.value, torch.tensor([1.5]))
    assert back.maybe.shape == (0, 4)


def test_a_full_disk_is_a_sentence_and_leaves_the_last_state(tmp_path, monkeypatch):
    folder = tmp_path / "run"
    interrupted(folder)
    before = (folder / "state.safetensors").read_bytes()
    sync, room = os.fsync, iter(range(7))

    def full(descriptor):
        if next(room, None) is None:
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(store.os, "fsync", full)
        with pytest.raises(el.StoreError, match="No space left on device"):
            el.resume(folder, METHOD, target())
    assert (folder / "state.safetensors").stat().st_size >= len(before) // 2
    assert not list(folder.glob(".*.tmp"))
    resumed = el.resume(folder, METHOD, target())
    whole = el.run(METHOD, target(), el.Budget(steps=10), seed=5)
    assert torch.equal(resumed.best.x, whole.best.x)
    assert [r["best"] for r in resumed.history] == [r["best"] for r in whole.history]


@pytest.mark.parametrize("seconds", [0.0, 1000.0])
def test_a_folder_that_is_gone_is_a_sentence_and_is_not_made_again(seconds, tmp_path):
    def taken(event):
        if event.step == 5:
            (tmp_path / "run").rename(tmp_path / "elsewhere")

    on = [taken, el.Checkpoint(tmp_path / "run", seconds=seconds)]
    with pytest.raises(el.StoreError, match=r"run is gone: it was moved or deleted .*; put it back and resume"):
        el.run(METHOD, target(), el.Budget(steps=10), seed=5, on=on)
    assert not (tmp_path / "run").exists()
    (tmp_path / "elsewhere").rename(tmp_path / "run")
    resumed = el.resume(tmp_path / "run", METHOD, target())
    whole = el.run(METHOD, target(), el.Budget(steps=10), seed=5)
    assert torch.equal(resumed.best.x, whole.best.x)


@pytest.mark.parametrize("damage", ["truncated", "foreign", "garbage", "another run"])
def test_a_damaged_or_foreign_state_is_a_sentence_and_is_not_touched(damage, tmp_path):
    folder = tmp_path / "run"
    interrupted(folder)
    file = folder / "state.safetensors"
    if damage == "truncated":
        file.write_bytes(file.read_bytes()[:-7])
    elif damage == "garbage":
        file.write_bytes(b"not a state")
    elif damage == "foreign":
        from safetensors.torch import save_file

        save_file({"x": torch.ones(2)}, file)
    else:
        el.run(METHOD, target(), el.Budget(steps=3), seed=6, on=[el.Checkpoint(tmp_path / "other", seconds=0)])
        file.write_bytes((tmp_path / "other" / "state.safetensors").read_bytes())
    left = file.read_bytes()
    with pytest.raises(el.InputError, match="damaged or belongs to another run"):
        el.resume(folder, METHOD, target())
    assert file.read_bytes() == left


def test_another_method_or_reward_is_refused(tmp_path):
    interrupted(tmp_path / "run")
    with pytest.raises(el.InputError, match="has method"):
        el.resume(tmp_path / "run", el.Elites(population=6), target())
    other = target().with_walk(el.Plain(steps=4))
    with pytest.raises(el.InputError, match="has target"):
        el.resume(tmp_path / "run", METHOD, other)


def test_a_newer_schema_is_refused(tmp_path):
    interrupted(tmp_path / "run")
    file = tmp_path / "run" / "run.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"schema": 99}))
    with pytest.raises(el.InputError, match="newer elites"):
        el.resume(tmp_path / "run", METHOD, target())


def test_a_folder_in_use_is_refused_and_free_again_after_close(tmp_path):
    held = el.Folder.create(tmp_path / "run")
    held.begin(Setup(METHOD, target(), el.Budget(steps=1), 0))
    with pytest.raises(el.InputError, match=f"process {os.getpid()}"):
        el.Folder.open(tmp_path / "run")
    held.close()
    el.Folder.open(tmp_path / "run").close()


def test_rows_past_the_last_state_are_cut_on_resume(tmp_path):
    folder = tmp_path / "run"
    result = interrupted(folder)
    with (folder / "history.jsonl").open("a") as f:
        f.write('{"step": 77, "best": 1e9}\n{"step": 78, "be}')
    held = el.Folder.open(folder)
    assert [r["step"] for r in held.history()][-1] == 77  # a torn line is no row
    start = held.load(METHOD.init(target(), el.Stream(5)))
    held.close()
    assert [r["step"] for r in start.history] == [r["step"] for r in result.history]


def test_failures_are_saved_with_their_keys(tmp_path):
    folder = el.Folder.create(tmp_path / "run")
    folder.begin(Setup(METHOD, target(), el.Budget(steps=1), 0))
    state = METHOD.init(target(), el.Stream(0))
    folder.save(3, state, Meter(nfe=7, seconds=1.5), None, [{"step": 3}], [Failure(3, 1, "it is NaN")])
    start = folder.load(state)
    folder.close()
    assert (start.step, start.spent, start.best) == (3, Meter(nfe=7, seconds=1.5), None)
    assert start.failures == [Failure(3, 1, "it is NaN")]


def test_a_longer_budget_goes_on_from_the_end(tmp_path):
    folder = tmp_path / "run"
    el.run(METHOD, target(), el.Budget(steps=4), seed=5, on=[el.Checkpoint(folder, seconds=0)])
    longer = el.resume(folder, METHOD, target(), el.Budget(steps=10))
    whole = el.run(METHOD, target(), el.Budget(steps=10), seed=5)
    assert torch.equal(longer.best.x, whole.best.x)
    assert json.loads((folder / "run.json").read_text())["budget"]["steps"] == 10


class Reward:
    def __call__(self, x):
        return x[:, 0]


def test_a_reward_without_a_repr_resumes_as_another_instance(tmp_path):
    def made():
        return el.Target(el.priors.mixture(torch.eye(3), 0.4), Reward(), walk=el.Plain(steps=3))

    count = iter(range(2))
    checkpoint = el.Checkpoint(tmp_path / "run", seconds=0)
    stop = lambda: next(count, None) is None
    el.run(METHOD, made(), el.Budget(steps=5), seed=5, on=[checkpoint], stop=stop)
    assert el.resume(tmp_path / "run", METHOD, made()).stopped.startswith("budget")


def test_rows_are_written_between_saves_and_cut_where_the_state_is_older(tmp_path, monkeypatch):
    monkeypatch.setattr("elites.events.checkpoint.OFTEN", 0)
    folder = tmp_path / "run"

    def dies(event):
        if event.step == 6:
            raise KeyError("as by a kill")

    with pytest.raises(KeyError):
        el.run(METHOD, target(), el.Budget(steps=9), seed=5, on=[el.Checkpoint(folder, seconds=60), dies])
    assert [json.loads(line)["step"] for line in (folder / "history.jsonl").read_text().splitlines()] == list(range(7))
    result, whole = el.resume(folder, METHOD, target()), el.run(METHOD, target(), el.Budget(steps=9), seed=5)
    assert torch.equal(result.best.x, whole.best.x)
    assert [row["max"] for row in result.history] == [row["max"] for row in whole.history]


def test_a_save_syncs_what_was_written_before_it(tmp_path, monkeypatch):
    synced = []
    sync = os.fsync
    monkeypatch.setattr("os.fsync", lambda fd: (synced.append(Path(f"/proc/self/fd/{fd}").resolve().name), sync(fd)))
    folder = el.Folder.create(tmp_path / "run")
    folder.begin(Setup(METHOD, target(), el.Budget(steps=1), 5), None)
    synced.clear()
    folder.append([{"step": 0}], [Failure(0, 1, "it is NaN")])
    assert synced == []
    folder.save(0, None, Meter(), None, [], [])
    assert synced == ["history.jsonl", "failures.jsonl", ".state.safetensors.tmp"]
    folder.save(0, None, Meter(), None, [], [])
    assert synced[3:] == [".state.safetensors.tmp"]
