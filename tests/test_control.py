"""A person lets a run wait, go on or stop, through its folder."""

import fcntl
import json
import threading
import time

import pytest
import torch
from helpers import assert_same, on_humps

import elites as el
from elites.events.control import PAUSE, STOP, ask, order
from elites.lock import Lock, held
from elites.run import iterate
from elites.store import Folder


class At:
    """A subscriber that asks something of a run once a step has ended, and keeps what it sees."""

    def __init__(self, folder, step, word):
        self.folder, self.step, self.word, self.seen, self.seconds = folder, step, word, [], []

    def __call__(self, event):
        if event.result is None:
            self.seen.append(event.step)
            self.seconds.append(event.meter.seconds)
            if event.step == self.step:
                ask(self.folder, self.word)


def test_stop_is_an_interruption_and_resumes_to_the_same_bits(tmp_path):
    budget = el.Budget(steps=6)
    whole = el.run(el.Elites(8), on_humps(), budget, 3, on=[el.Checkpoint(tmp_path / "whole")])
    at, folder = At(tmp_path / "run", 2, STOP), tmp_path / "run"
    final = el.Final(el.Plain(steps=6), top=2)
    half = el.run(el.Elites(8), on_humps(), budget, 3, on=[at, el.Checkpoint(folder)], final=final)
    assert half.stopped == "interrupted"
    assert at.seen == [0, 1, 2]  # within the step, and no finalists
    assert json.loads((folder / "result.json").read_text())["stopped"] == "interrupted"
    assert order(folder) == STOP
    on = el.resume(folder, el.Elites(8), on_humps())
    assert order(folder) == ""  # what was asked of the first half is not asked of the second
    assert on.stopped == whole.stopped
    assert_same(on, whole)


def test_an_old_order_is_not_obeyed_by_a_run_that_begins(tmp_path):
    folder = Folder.create(tmp_path / "run")
    ask(folder.path, STOP)
    assert el.run(el.Elites(8), on_humps(), el.Budget(steps=2), on=[el.Checkpoint(folder)]).stopped != "interrupted"


@pytest.mark.parametrize("word", ["", "rubbish", "\xff" * 40, "stopping"])
def test_other_words_are_nothing(tmp_path, word):
    at = At(tmp_path / "run", 1, word)
    result = el.run(el.Elites(8), on_humps(), el.Budget(steps=3), on=[at, el.Checkpoint(tmp_path / "run")])
    assert result.stopped.startswith("budget")


def later(seconds, act):
    timer = threading.Timer(seconds, act)
    timer.start()
    return timer


def test_a_pause_is_saved_waits_and_is_not_charged(tmp_path):
    folder, pause = tmp_path / "run", 1.0
    at = At(folder, 2, PAUSE)
    seen = []

    def look():
        seen.append((at.seen[-1], Folder(folder).step, len(Folder(folder).history())))
        ask(folder)

    later(pause, look)
    began = time.monotonic()
    result = el.run(el.Elites(8), on_humps(), el.Budget(steps=4), on=[at, el.Checkpoint(folder, seconds=60)])
    wall = time.monotonic() - began
    assert seen == [(2, 2, 3)]  # it stood at step 2, all of it saved: the probe and two steps
    assert at.seen == [0, 1, 2, 3, 4]
    assert wall >= pause
    # all but the time before the pause and less than one question of it
    assert result.meter.seconds <= wall - (pause - at.seconds[2] - 0.5)
    plain = el.run(el.Elites(8), on_humps(), el.Budget(steps=4))
    assert torch.equal(plain.samples.x, result.samples.x)


def test_a_budget_of_seconds_does_not_run_out_in_a_pause(tmp_path):
    folder = tmp_path / "run"
    at = At(folder, 1, PAUSE)
    later(2.0, lambda: ask(folder))
    budget = el.Budget(seconds=1.5, steps=3)
    assert "steps" in el.run(el.Elites(4), on_humps(), budget, on=[at, el.Checkpoint(folder)]).stopped
    assert at.seen == [0, 1, 2, 3]


def test_a_run_that_waits_can_be_stopped_by_a_person_and_by_stop(tmp_path):
    folder = tmp_path / "run"
    later(0.5, lambda: ask(folder, STOP))
    at = At(folder, 1, PAUSE)
    assert (
        el.run(el.Elites(8), on_humps(), el.Budget(steps=4), on=[at, el.Checkpoint(folder)]).stopped == "interrupted"
    )
    flag = threading.Event()
    later(0.5, flag.set)
    at = At(tmp_path / "other", 1, PAUSE)
    on = [at, el.Checkpoint(tmp_path / "other")]
    assert el.run(el.Elites(8), on_humps(), el.Budget(steps=4), on=on, stop=flag.is_set).stopped == "interrupted"
    assert at.seen == [0, 1]


def test_iterate_does_not_charge_what_it_is_sent():
    loop = iterate(el.Elites(4), on_humps(), el.Budget(steps=3), probe=None)
    first = next(loop)
    second = loop.send(1000.0)
    assert second.meter.seconds < first.meter.seconds - 900


def test_looking_whether_a_folder_is_held_disturbs_nobody(tmp_path):
    assert not held(tmp_path / "none")
    lock = Lock(tmp_path / "run")
    assert held(tmp_path / "run")
    with pytest.raises(el.InputError, match="in use by process"):
        Lock(tmp_path / "run")
    lock.close()
    assert not held(tmp_path / "run")
    with (tmp_path / "run" / "lock").open("rb") as file:  # somebody looks just when a run wants to begin
        fcntl.flock(file, fcntl.LOCK_SH)
        timer = later(0.05, lambda: fcntl.flock(file, fcntl.LOCK_UN))
        Lock(tmp_path / "run").close()
        timer.join()
