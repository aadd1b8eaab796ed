"""Items over a simulated crew: each is answered once, whatever goes wrong."""

import pytest
from benchmarks.cluster import Faults, Items, SimulatedCrew, always, lognormal
from dispatched import answered, failures, pair
from hypothesis import given, settings
from hypothesis import strategies as st

from elites.parallel.crew import LOST
from elites.parallel.dispatch import Failed, Rules, spread


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
