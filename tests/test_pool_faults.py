"""What happens to workers is no failure of a run, and what cannot work is one sentence."""

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest
import workers
from elsewhere import alive, gone
from helpers import Climber, bits
from workers import pooled, same

from elites import (
    AskTell,
    Budget,
    Elites,
    Evolve,
    InputError,
    RandomSearch,
    Retry,
    RewardError,
    Worst,
    run,
)
from elites.parallel import Processes, Threads, WorkerError, worker_number
from elites.scoring import Raise

SMALL = Budget(steps=4)
FEW = Budget(steps=3)


@pytest.fixture(scope="module")
def nans():
    """The run in which the objects over which rewards go wrong are scored as no number."""
    result = run(Evolve(12), workers.faulty("nan"), FEW, seed=1, probe=None)
    assert 2 <= len(result.failures) <= 5
    return result


def keys(failures):
    return {(f.step, f.candidate) for f in failures}


@pytest.mark.parametrize(
    ("fault", "singly", "why"),
    [
        ("forever", True, "no answer in 1 seconds"),
        ("forever", False, "no answer in 1 seconds"),
        ("leave", True, "the worker died with exit code 3"),
        ("leave", False, "the worker died with exit code 3"),
        ("crash", True, "the worker died with signal SIGSEGV"),
        ("raises", True, "ValueError: no dock"),
        ("unsendable", True, "it returned a Unsendable, no number"),
    ],
)
def test_what_a_reward_does_to_its_worker_fails_its_object_and_no_other(fault, singly, why, nans):
    build = partial(workers.faulty, fault, singly=singly)
    with Processes(2, build, timeout=1.0 if fault == "forever" else None) as pool:
        got = run(Evolve(12), pooled(build(), pool), FEW, seed=1, probe=None)
    assert {f.reason for f in got.failures} == {why}
    assert keys(got.failures) == keys(nans.failures)
    assert bits(got.samples) == bits(nans.samples)
    assert bits(got.state) == bits(nans.state)
    deaths = (1 + (fault in ("leave", "crash"))) * len(nans.failures)
    assert got.meter.nfe == nans.meter.nfe
    assert got.meter.rewards == nans.meter.rewards - len(nans.failures) + deaths
    assert got.meter.failures == len(nans.failures)


def test_retries_are_tries_of_silent_objects_too(nans, tmp_path):
    build = partial(workers.faulty, "forever", on_error=Retry(1, limit=1))
    with Processes(2, build, timeout=0.5) as pool:
        got = run(Evolve(12), pooled(build(), pool), FEW, seed=1, probe=None)
    assert keys(got.failures) == keys(nans.failures)
    assert got.meter.rewards == nans.meter.rewards + len(nans.failures)


@pytest.mark.parametrize("fault", ["forever", "leave", "raises"])
def test_what_goes_wrong_once_leaves_no_trace(fault, tmp_path):
    want = run(Evolve(12), workers.faulty("never"), FEW, seed=1, probe=None)
    build = partial(workers.faulty_once, str(tmp_path), fault, on_error=Retry(1))
    with Processes(2, build, timeout=1.0 if fault == "forever" else None) as pool:
        got = run(Evolve(12), pooled(build(), pool), FEW, seed=1, probe=None)
    assert len(list(tmp_path.iterdir())) >= 1
    assert not got.failures
    assert bits(got.samples) == bits(want.samples)
    assert bits(got.state) == bits(want.state)


def test_workers_killed_in_the_middle_of_a_step_change_nothing():
    want = run(Elites(24), workers.slow_target(0.0), Budget(steps=4), seed=1)
    build, dead = partial(workers.slow_target, 0.01), []
    with Processes(2, build, deaths=9) as pool:
        target = pooled(build(), pool)

        def killer():
            while len(dead) < 6:
                time.sleep(0.12)
                crews = list(pool._open)
                if crews and all(about is not None for about in crews[0].about):
                    dead.append(crews[0].pids[len(dead) % 2])
                    os.kill(dead[-1], signal.SIGKILL)

        thread = threading.Thread(target=killer, daemon=True)
        thread.start()
        got = run(Elites(24), target, Budget(steps=4), seed=1)
    same(got, want)
    assert len(dead) >= 3


def test_a_reward_that_floods_stdout_disturbs_nobody(capfd):
    want = run(RandomSearch(8), workers.slow_target(0.0), Budget(steps=1))
    with Processes(2, workers.loud_target) as pool:
        same(run(RandomSearch(8), pooled(workers.loud_target(), pool), Budget(steps=1)), want)


@pytest.mark.parametrize("kind", [Threads, Processes])
def test_a_builder_that_raises_is_named_with_its_traceback(kind):
    with kind(2, workers.broken) as pool, pytest.raises(WorkerError) as error:
        run(Elites(8), pooled(workers.on_prior("mixture"), pool), FEW)
    text = str(error.value)
    assert text.startswith("A worker could not be built: Traceback")
    assert "in broken" in text
    assert text.endswith("ImportError: no dock here")


def test_a_builder_that_dies_is_named():
    with (
        Processes(1, workers.dies) as pool,
        pytest.raises(WorkerError, match="died 3 times before it was ready, with exit code 7"),
    ):
        run(Elites(8), pooled(workers.on_prior("mixture"), pool), FEW)


def test_a_builder_that_cannot_be_sent_is_refused():
    with Processes(1, lambda: None) as pool, pytest.raises(InputError, match="give a function at the top of a module"):
        run(Elites(8), pooled(workers.on_prior("mixture"), pool), FEW)


def test_a_method_that_cannot_be_sent_is_refused():
    method = AskTell(lambda d, population, seed: Climber(d, population, seed), 8)
    build = partial(workers.on_prior, "mixture")
    with Processes(1, build) as pool, pytest.raises(InputError, match="make its functions at the top of a module"):
        run(method, pooled(build(), pool), FEW)


def test_a_pool_without_a_builder_is_refused():
    with pytest.raises(InputError, match="give build="):
        run(Elites(8), pooled(workers.on_prior("mixture"), Threads(1)), FEW)


@pytest.mark.parametrize("kind", [Threads, Processes])
def test_the_policies_are_those_of_a_run_without_workers(kind):
    for policy, want in (
        (Raise(), r"The reward failed on candidate \d+ of step \d+: it is NaN"),
        (Worst(limit=0.01), "more than the limit of 1%: it is NaN"),
    ):
        build = partial(workers.faulty, "nan", on_error=policy)
        with kind(2, build) as pool, pytest.raises(RewardError, match=want):
            run(Evolve(40), pooled(build(), pool), FEW, probe=None)
    build = partial(workers.faulty, "nan", on_error=Retry(2, limit=1))
    with kind(2, build) as pool:
        same(run(Evolve(12), pooled(build(), pool), FEW), run(Evolve(12), build(), FEW))


def test_workers_end_with_their_pool_and_with_who_forgets_it():
    build = partial(workers.on_prior, "mixture")
    for close in (True, False):
        pool = Processes(2, build)
        target = pooled(build(), pool)
        run(RandomSearch(8), target, Budget(steps=1))
        pids = pool._open[0].pids
        assert all(map(alive, pids))
        if close:
            pool.close()
        del pool, target
        gc.collect()
        assert gone(pids)


def test_a_pool_is_started_anew_after_it_was_closed():
    build = partial(workers.on_prior, "mixture")
    pool = Processes(1, build)
    for _ in range(2):
        run(RandomSearch(8), pooled(build(), pool), Budget(steps=1))
        pool.close()


def test_workers_know_their_number():
    assert worker_number() is None
    with Processes(2, workers.numbered) as pool:
        got = run(RandomSearch(64), pooled(workers.numbered(), pool), Budget(steps=1), probe=None)
    assert {float(v) % 1 for v in got.samples.reward} <= {0.25, 0.5}


SCRIPT = """
import os, sys, time
sys.path.insert(0, {tests!r})
from functools import partial
from elites import Budget, RandomSearch, run
from elites.parallel import Processes
import workers

def main(seconds):
    build = partial(workers.slow_target, seconds)
    target = build()
    target.pool = Processes(2, build)
    def tell(event):
        print(*target.pool._open[0].pids, flush=True)
    run(RandomSearch(8), target, Budget(steps=2), probe=None, on=[tell])
    print("done", flush=True)

"""


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    """Three scripts at a time: one that is killed, one that ends, and one without a guard."""
    folder, head = tmp_path_factory.mktemp("scripts"), SCRIPT.format(tests=str(Path(__file__).parent))
    guarded = "if __name__ == '__main__':\n    main({})\n"
    tails = {"killed": guarded.format(0.2), "ends": guarded.format(0.001), "unguarded": "main(0.001)\n"}
    started = {}
    for name, tail in tails.items():
        path = folder / f"{name}.py"
        path.write_text(head + tail)
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        started[name] = subprocess.Popen([sys.executable, str(path)], text=True, **pipes)
    yield started
    for process in started.values():
        process.kill()
        process.communicate()


def test_workers_end_when_their_driver_is_killed_in_the_middle_of_a_call(scripts):
    driver = scripts["killed"]
    pids = [int(pid) for pid in driver.stdout.readline().split()]
    assert len(pids) == 2
    time.sleep(0.1)
    assert all(map(alive, pids))
    driver.kill()
    assert gone(pids)


def test_a_program_that_forgets_its_pool_ends(scripts):
    out, err = scripts["ends"].communicate(timeout=60)
    assert out.splitlines()[-1] == "done"
    assert scripts["ends"].returncode == 0
    assert err == ""
    assert gone(int(pid) for pid in out.split()[:2])


def test_a_script_without_a_guard_is_told_what_to_do(scripts):
    _, err = scripts["unguarded"].communicate(timeout=60)
    assert scripts["unguarded"].returncode == 1
    assert "begun the run again: put what your script does under if __name__ == '__main__'." in err
    assert err.strip().splitlines()[-1].startswith("elites.parallel.dispatch.WorkerError: A worker could not be built")
