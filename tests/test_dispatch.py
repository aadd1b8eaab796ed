"""Items over a simulated crew: each is answered once, whatever goes wrong."""

import time
from collections import Counter
from itertools import islice

import pytest
from benchmarks.cluster import Faults, Items, SimulatedCrew, always, lognormal
from hypothesis import given, settings
from hypothesis import strategies as st

from elites.parallel.crew import ANSWER, BROKEN, DONE, LOST, Message
from elites.parallel.dispatch import GRAIN, Failed, Rules, WorkerError, spread

HOUR = 3600.0


def pair(worker, ids):
    return worker, list(ids)


def answered(crew, n, rules=Rules(), batch=1, *, until=HOUR):  # noqa: B008 (frozen)
    """{item: answer} of n items; each exactly once, before the clock of the crew says `until`, and all at rest."""
    out = {}
    for worker, said in spread(crew, Items(n), pair, rules, batch, crew.clock):
        assert crew.now < until
        for i, answer in said:
            assert i not in out, "an item was answered twice"
            assert isinstance(answer, Failed) == (worker == -1)
            assert isinstance(answer, Failed) or answer == (i, worker)
            out[i] = answer
    assert set(out) == set(range(n))
    assert not any(crew.working)
    return out


def failures(out):
    return {i: answer for i, answer in out.items() if isinstance(answer, Failed)}


@given(
    workers=st.integers(1, 9),
    n=st.integers(0, 300),
    batch=st.integers(1, 9),
    singly=st.booleans(),
    hang=st.integers(0, 3),
    kill=st.integers(0, 3),
    loss=st.sampled_from([0.0, 0.02]),
    stall=st.sampled_from([0.0, 0.02]),
    lag=st.sampled_from([0.0, 0.02]),
    again=st.integers(0, 2),
    deaths=st.integers(1, 3),
    straggler=st.sampled_from([None, 3.0, 10.0]),
    latency=st.sampled_from([1e-4, 0.01, 1.0]),
    warm=st.booleans(),
    build=st.sampled_from([0.01, 1.0, 9.0]),
    network=st.booleans(),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=300)
def test_every_item_is_answered_once_whatever_goes_wrong(
    workers,
    n,
    batch,
    singly,
    hang,
    kill,
    loss,
    stall,
    lag,
    again,
    deaths,
    straggler,
    latency,
    warm,
    build,
    network,
    seed,
):
    bad = Faults(set(range(0, 40 * hang, 40)), set(range(20, 20 + 40 * kill, 40)), loss=loss, stall=stall, lag=lag)
    cost = {"network": latency / batch, "reward": 0.0} if network else {"network": 0.0, "reward": latency}
    crew = SimulatedCrew(
        workers,
        lognormal(latency),
        bad,
        batch=batch,
        singly=singly,
        build=build,
        warm=warm,
        about=cost,
        seed=seed,
    )
    rules = Rules(20 * latency, straggler, deaths, again)
    out = answered(crew, n, rules, batch, until=1e9)
    wrong = failures(out)
    assert wrong.keys() >= (bad.hang | bad.kill) & set(range(n))
    for answer in wrong.values():
        if "no answer" in answer.reason:
            assert answer.tries == again + 1 or straggler is not None
        else:
            assert answer.tries == deaths
    if not (loss or stall or lag or (deaths == 1 and kill)):
        assert wrong.keys() == (bad.hang | bad.kill) & set(range(n)), "an innocent item has failed"


@pytest.mark.parametrize("seed", range(5))
def test_a_crew_whose_workers_often_die_and_hang_loses_nothing(seed):
    crew = SimulatedCrew(20, lognormal(0.1), Faults(loss=0.01, stall=0.01, lag=0.01), build=5.0, seed=seed)
    out = answered(crew, 3000, Rules(timeout=30.0, deaths=9, again=9), until=1e9)
    assert not failures(out)
    assert crew.replaced > 40


@pytest.mark.parametrize("singly", [True, False])
@pytest.mark.parametrize("again", [0, 2])
def test_a_silent_item_fails_after_its_tries_and_its_neighbours_do_not(singly, again):
    bad = Faults(hang={5, 6, 40})
    crew = SimulatedCrew(3, always(0.01), bad, batch=8, singly=singly)
    out = answered(crew, 100, Rules(timeout=2.0, straggler=None, again=again), 8)
    assert failures(out) == {i: Failed("no answer in 2 seconds", again + 1) for i in bad.hang}
    if singly:
        assert all(crew.begun[i] == again + 1 for i in bad.hang)
        assert max(crew.begun[i] for i in range(100) if i not in bad.hang) == 1
        assert crew.replaced == 3 * (again + 1)


@pytest.mark.parametrize("singly", [True, False])
@pytest.mark.parametrize("deaths", [2, 4])
def test_a_deadly_item_fails_after_its_deaths_and_no_other_does(singly, deaths):
    bad = Faults(kill={0, 5, 6, 40, 99})
    crew = SimulatedCrew(3, always(0.01), bad, batch=8, singly=singly)
    out = answered(crew, 100, Rules(deaths=deaths), 8)
    assert failures(out) == {i: Failed("the worker died with signal SIGSEGV", deaths) for i in bad.kill}
    if singly:
        assert all(crew.begun[i] == deaths for i in bad.kill)
        assert max(crew.begun[i] for i in range(100) if i not in bad.kill) == 1


def test_an_item_whose_worker_was_killed_by_others_is_tried_again():
    crew = SimulatedCrew(2, always(0.1), batch=4)
    out = {}
    for k, (_, said) in enumerate(spread(crew, Items(50), pair, Rules(), 4, crew.clock)):
        out |= dict(said)
        if k in (3, 9, 20):
            at = next(w for w in (0, 1) if crew.working[w])
            crew.replace(at)
            crew._say(0.0, at, LOST, "the worker died with signal SIGKILL")
    assert out.keys() == set(range(50))
    assert not failures(out)


@pytest.mark.parametrize("between", [True, False])
def test_an_idle_worker_that_dies_costs_no_item(between):
    def dies(worker):
        crew.replace(worker)
        crew._say(0.0, worker, LOST, "the worker died with signal SIGKILL")

    crew = SimulatedCrew(3, always(1.0), build=0.5)
    answered(crew, 9, Rules(deaths=1))
    if between:
        dies(1)
    out = {}
    for _, said in spread(crew, Items(7), pair, Rules(deaths=1), 1, crew.clock):
        out |= dict(said)
        if not between and len(out) == 6:  # the last item is in the making, and two workers idle
            dies(crew.working.index(False))
    assert out.keys() == set(range(7))
    assert not failures(out)
    answered(crew, 30, Rules(deaths=1))
    assert all(crew.calls.values())


def test_items_that_were_silent_by_bad_luck_are_answered_when_tried_again():
    crew = SimulatedCrew(2, always(0.01), Faults(once={3, 30}))
    assert not failures(answered(crew, 60, Rules(timeout=1.0, straggler=None, again=1)))


def test_a_straggler_is_raced_after_its_factor_the_first_answer_counts_and_the_loser_is_replaced():
    crew = SimulatedCrew(2, always(1.0), Faults(slow={9}))
    lives = list(crew.lives)
    out = answered(crew, 10, Rules(straggler=5.0))
    assert not failures(out)
    slow = next(w for w in (0, 1) if crew.lives[w] != lives[w])
    assert out[9] == (9, 1 - slow)
    assert crew.begun[9] == 2
    # item 9 begins at 4 s, is late at 9 s, and the other worker takes one second
    assert 10.0 <= crew.now < 10.5
    assert crew.replaced == 1


def test_nobody_is_raced_without_a_factor():
    crew = SimulatedCrew(2, always(1.0), Faults(slow={9}))
    answered(crew, 10, Rules(straggler=None))
    assert crew.now >= 104
    assert crew.replaced == 0


def test_a_job_that_hangs_without_a_timeout_is_saved_by_the_race():
    crew = SimulatedCrew(3, always(1.0), Faults(once={20}))
    assert not failures(answered(crew, 30, Rules(timeout=None, straggler=5.0), until=100))


def test_a_race_whose_second_worker_hangs_too_is_run_again():
    class Unlucky(SimulatedCrew):
        def send(self, worker, call):
            self.faults.hang = {20} if self.begun[20] < 3 else set()
            return super().send(worker, call)

    crew = Unlucky(5, always(1.0))
    assert not failures(answered(crew, 30, Rules(timeout=None, straggler=5.0), until=200))
    assert crew.begun[20] == 4


def test_a_silent_worker_does_not_fail_an_item_that_another_is_still_at():
    crew = SimulatedCrew(2, always(1.0), Faults(once={9}))
    # silent from 4 s; raced at 7 s, given up at 7.75 s, answered by the other at 8 s
    assert not failures(answered(crew, 10, Rules(timeout=3.7, straggler=3.0)))


@pytest.mark.parametrize(("build", "timeout"), [(100.0, 1.0), (5.0, None)])
def test_the_time_of_building_is_not_held_against_a_worker(build, timeout):
    crew = SimulatedCrew(3, always(0.1), build=build, warm=False)
    assert not failures(answered(crew, 100, Rules(timeout)))
    assert crew.replaced == 0


def test_nobody_waits_for_a_worker_that_is_being_built_nor_ends_it():
    crew = SimulatedCrew(3, always(0.01), build=50.0)
    crew.replace(2)
    answered(crew, 30, Rules(timeout=5.0))
    assert crew.now < 1.0
    assert crew.lives == [1, 1, 2]
    for _ in range(40):
        answered(crew, 300, Rules(timeout=5.0))
    assert crew.lives == [1, 1, 2]  # it was built, and worked
    assert crew.items[2] > 100


@pytest.mark.parametrize("latency", [1e-5, 1e-3, 0.3])
@pytest.mark.parametrize("costly", [True, False])
def test_jobs_keep_all_busy_and_are_few(latency, costly):
    about = {"network": 0.0 if costly else 1.0, "reward": latency}
    crew, n = SimulatedCrew(10, always(latency), about=about, batch=8), 5000
    answered(crew, n, batch=8)
    ideal = n * latency / 10
    assert crew.now < ideal + max(0.1 * ideal, 8 * latency) + 1e-3
    assert set(crew.calls) == set(range(10))
    longest = max(max(sizes) for sizes in crew.sizes.values())
    assert longest * latency < 1.2 * max(GRAIN, 8 * latency)
    jobs = sum(crew.calls.values())
    assert jobs < 10 * 20 + 3 * n * latency / GRAIN + n * (latency >= GRAIN)  # few, however fast an item is
    if not costly:
        assert all(size % 8 == 0 or i == len(s) - 1 for s in crew.sizes.values() for i, size in enumerate(s))


def test_a_population_of_a_worker_each_is_spread_over_all():
    for n in (10, 80):
        crew = SimulatedCrew(10, always(1.0), batch=8)
        answered(crew, n, batch=8)
        assert set(crew.items.values()) == {n // 10}


@pytest.mark.parametrize("take", [0, 1, 7])
@pytest.mark.parametrize("after", ["close", "raise"])
def test_a_consumer_that_stops_leaves_no_busy_worker(take, after):
    crew = SimulatedCrew(4, lognormal(0.1), batch=4)
    loop = spread(crew, Items(1000), pair, Rules(), 4, crew.clock)
    list(islice(loop, take))
    if after == "close":
        loop.close()
    else:
        with pytest.raises(KeyboardInterrupt):
            loop.throw(KeyboardInterrupt)
    assert not any(crew.working)
    answered(crew, 100)  # and the crew is as good as new


def test_a_crew_serves_one_spread_after_another():
    crew = SimulatedCrew(3, lognormal(0.01), Faults(lag=0.05), batch=4, seed=1)
    for n in (0, 1, 5, 200, 3):
        answered(crew, n, Rules(straggler=3.0), 4)


class Odd(SimulatedCrew):
    """A crew that says one more thing, in the same breath as an answer about item 5."""

    def __init__(self, what, *args, **options):
        super().__init__(*args, **options)
        self.what = what

    def wait(self, seconds):
        heard = super().wait(seconds)
        if any(m.kind == ANSWER and m.value[0][0] == 5 for m in heard):
            heard.insert(0, self.what)
        return heard


def test_a_worker_that_cannot_be_built_ends_the_work_with_a_sentence_and_what_was_heard_is_kept():
    crew, out = Odd(Message(1, BROKEN, "ImportError: no dock"), 2, always(0.1)), {}
    with pytest.raises(WorkerError, match=r"^A worker could not be built: ImportError: no dock$"):
        for _, said in spread(crew, Items(50), pair, Rules(), 1, crew.clock):
            out |= dict(said)
    assert 5 in out
    assert not any(crew.working)


def test_a_server_that_raises_ends_the_work_with_a_sentence():
    crew = SimulatedCrew(3, always(0.1), Faults(raises={7}))
    with pytest.raises(WorkerError, match=r"^A worker failed: ValueError: what servers raise$"):
        list(spread(crew, Items(50), pair, Rules(), 1, crew.clock))
    assert not any(crew.working)


def test_a_server_that_leaves_items_out_ends_the_work_with_a_sentence():
    class Forgetful(SimulatedCrew):
        def wait(self, seconds):
            return [m for m in super().wait(seconds) if m.kind != ANSWER or m.value[0][0] != 5]

    crew = Forgetful(1, always(1e-4))
    with pytest.raises(WorkerError, match=r"did not answer about 1 of \d+ items"):
        list(spread(crew, Items(50), pair, Rules(), 1, crew.clock))


def test_a_worker_that_breaks_after_the_last_answer_is_spoken_of_when_it_is_needed():
    class Breaking(SimulatedCrew):
        late = ()

        def wait(self, seconds):
            heard = [*self.late, *super().wait(seconds)]
            self.late = [m for m in heard if m.kind == DONE]
            if any(m.kind == ANSWER for m in heard):
                return [m for m in heard if m.kind != DONE]
            return [Message(1, BROKEN, "no dock"), *heard] if heard else []

    crew = Breaking(2, always(0.1))
    crew.replace(1)
    loop = spread(crew, Items(1), pair, Rules(), 1, crew.clock)
    assert dict(next(loop)[1]) == {0: (0, 0)}
    with pytest.raises(StopIteration):
        next(loop)
    assert crew.replaced == 2


def test_items_in_flight_are_bounded_whatever_the_population():
    most = {}
    for n in (10_000, 160_000):
        crew, source = SimulatedCrew(8, always(1e-4)), Items(n)
        seen, most[n] = 0, 0
        for _, said in spread(crew, source, pair, Rules(), 8, crew.clock):
            seen += len(said)
            most[n] = max(most[n], source.at - seen)
        crew.close()
    assert most[160_000] < 1.2 * 8 * 2 * GRAIN / 1e-4
    assert most[160_000] < 3 * most[10_000] + 8 * GRAIN / 1e-4


def test_a_slow_consumer_is_no_silence_of_the_workers():
    crew, out = SimulatedCrew(2, always(0.1)), {}
    for _, said in spread(crew, Items(50), pair, Rules(timeout=1.0), 1, crew.clock):
        crew.now += 5.0  # such as a disk that is slow; meanwhile the workers have spoken
        out |= dict(said)
    assert not failures(out)
    assert crew.replaced == 0


def test_workers_go_on_while_the_consumer_takes_what_they_said():
    crew = SimulatedCrew(2, always(1.0))
    loop = spread(crew, Items(50), pair, Rules(), 1, crew.clock)
    next(loop)
    assert all(crew.working)
    loop.close()


def test_handing_out_costs_little():
    crew, n = SimulatedCrew(100, always(0.5), build=1.0), 20_000
    began = time.process_time()
    answered(crew, n)
    assert time.process_time() - began < n * 1e-4  # some 20 us with the simulation
    assert Counter(crew.begun.values()) == {1: n}
