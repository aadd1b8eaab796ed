"""Workers change nothing but the time, and what happens to them is no failure of a run."""

from collections import Counter
from functools import partial
from multiprocessing.connection import Connection

import pytest
import workers
from helpers import PRIORS, half_nan
from methods import METHODS
from workers import pooled, same

from elites import (
    Budget,
    Checkpoint,
    Elites,
    InputError,
    RandomSearch,
    Search,
    run,
)
from elites.ledger import read
from elites.parallel import Processes, Threads

SMALL = Budget(steps=4)
FEW = Budget(steps=3)


@pytest.fixture(scope="module")
def pools():
    """A pool for each (kind, builder, workers), kept for the whole file."""
    kept = {}

    def pool(kind, build, n=2, key=None):
        key = key or (kind, n, build)
        if key not in kept:
            kept[key] = kind(n, build)
        return kept[key]

    yield pool
    for each in kept.values():
        each.close()


@pytest.mark.parametrize("failing", [False, True])
@pytest.mark.parametrize(("method", "make"), [m[1:] for m in METHODS], ids=[m[0] for m in METHODS])
def test_threads_change_nothing(method, make, failing, pools):
    changes = {"reward": half_nan} if failing else {}
    build = partial(make, **changes)
    want = run(method, build(), SMALL, seed=3)
    pool = pools(Threads, build, key=(make, failing))
    same(run(method, pooled(build(), pool), SMALL, seed=3), want)


@pytest.mark.parametrize(
    ("method", "make"),
    [m[1:] for m in METHODS if isinstance(m[1], Search)],
    ids=[m[0] for m in METHODS if isinstance(m[1], Search)],
)
def test_processes_change_nothing(method, make, pools):
    build = partial(make, reward=half_nan)
    want = run(method, build(), SMALL, seed=3)
    same(run(method, pooled(build(), pools(Processes, build, key=make)), SMALL, seed=3), want)


@pytest.mark.parametrize("kind", [Threads, Processes])
@pytest.mark.parametrize("batch", [1, 5, 8])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_neither_workers_nor_batches_change_anything(kind, batch, n):
    want = run(Elites(14), workers.on_prior("mixture"), FEW, seed=2**40)
    build = partial(workers.on_prior, "mixture", batch=batch)
    with kind(n, build) as pool:
        same(run(Elites(14), pooled(build(), pool), FEW, seed=2**40), want)


@pytest.mark.parametrize("name", PRIORS)
def test_every_prior_is_the_same_in_processes(name):
    build = partial(workers.on_prior, name)
    want = run(RandomSearch(20), build(), Budget(steps=2))
    with Processes(2, build) as pool:
        same(run(RandomSearch(20), pooled(build(), pool), Budget(steps=2)), want)


def counted(monkeypatch):
    """Bytes that this process sends to its workers, and hears from them, in messages and their frames."""
    moved = Counter()

    def counts(name, move, size):
        def counting(self, *args):
            out = move(self, *args)
            moved[name] += 4 + size(out, *args)
            return out

        return counting

    send, receive = Connection._send_bytes, Connection._recv_bytes
    monkeypatch.setattr(Connection, "_send_bytes", counts("sent", send, lambda out, buf: len(buf)))
    monkeypatch.setattr(Connection, "_recv_bytes", counts("heard", receive, lambda out, *_: len(out.getbuffer())))
    return moved


@pytest.mark.parametrize("written", [False, True])
@pytest.mark.parametrize("singly", [False, True])
def test_at_most_64_bytes_travel_for_a_candidate(written, singly, monkeypatch, tmp_path):
    build = partial(workers.faulty, "never", singly=singly)
    totals = []
    with Processes(2, build) as pool:
        for n in (500, 2500):
            moved = counted(monkeypatch)
            on = [Checkpoint(tmp_path / f"{n}")] if written else []
            run(RandomSearch(n), pooled(build(), pool), Budget(steps=1), probe=None, on=on)
            totals.append(moved.total())
            monkeypatch.undo()
    each = (totals[1] - totals[0]) / 2000
    assert 8 < each <= 64


def written(folder):
    """The ledger of a run, but for clocks, and for the network calls that only the driver of workers writes down."""
    return [{k: v for k, v in row.items() if k not in ("ended", "nfe")} for row in read(folder / "ledger.sqlite")]


def test_what_walks_ask_in_workers_is_counted_listed_and_written(tmp_path):
    want = run(RandomSearch(12), workers.guided(), FEW, probe=None, on=[Checkpoint(tmp_path / "here")])
    assert len(want.failures) > len({(f.step, f.candidate) for f in want.failures}) > 0
    with Processes(2, workers.guided) as pool:
        got = run(
            RandomSearch(12), pooled(workers.guided(), pool), FEW, probe=None, on=[Checkpoint(tmp_path / "there")]
        )
    same(got, want)
    assert written(tmp_path / "there") == written(tmp_path / "here")
    assert len(written(tmp_path / "here")) == want.meter.rewards


def test_a_factory_of_another_target_is_refused():
    ours = workers.on_prior("mixture", reward=half_nan)
    with Threads(1, partial(workers.on_prior, "mixture")) as pool, pytest.raises(InputError, match="the same target"):
        run(RandomSearch(4), pooled(ours, pool), Budget(steps=1), probe=None)
