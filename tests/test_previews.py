"""Previews: what survives, what it costs, and when they are switched off."""

import itertools
import math
from dataclasses import dataclass, replace
from statistics import NormalDist

import pytest
import scipy.stats
import torch
from helpers import Count, bits, hill, normal, on, on_flow, on_humps, steps_of

import elites as el
from elites import InputError, Previews
from elites.search import DCT, EarlyGuess, FewSteps, Restart
from elites.search.previews import spearman

EARLY = (EarlyGuess(), 2)
RACE = {"on": True, "wait": 1}
FIDELITIES = [EarlyGuess(), EarlyGuess((0.25, 0.5)), FewSteps((2,)), FewSteps((1, 3))]


def bell(reward=lambda x: x[:, 0], **changes):
    """A normal prior: each coordinate of a guess, at every level, increases with the object's."""
    law = el.priors.normal(torch.zeros(6), torch.diag(torch.tensor([0.2, 1.0, 3.0, 0.5, 1.0, 2.0])))
    return on(law, reward=reward, **{"steps": 20, **changes})


def noise_of_objects(x):
    """A number that says nothing of what was nearby."""
    return (1e4 * x[:, 0]).sin()


@dataclass(frozen=True)
class Listener(el.Search):
    """A random search that keeps what it was told."""

    population: int = 8

    def init(self, target, stream):
        return torch.zeros(0)

    def ask(self, state, stream, ids):
        return stream.normal(ids, (6,))

    def tell(self, state, ids, rewards, stream):
        return rewards


def race(method, target, stream):
    """The state and the report of one race."""
    return method.step(target, replace(method.init(target, stream), **RACE), stream)


@pytest.mark.parametrize("fidelity", FIDELITIES, ids=str)
@pytest.mark.parametrize("seed", range(5))
def test_monotone_previews_keep_the_winner_and_the_best_in_order(fidelity, seed):
    stream = el.Stream(seed).at(step=1)
    target, full = bell(), bell()
    _, info = race(Previews(el.RandomSearch(8), fidelity, widen=4), target, stream)
    whole = el.RandomSearch(32)
    _, want = whole.step(full, whole.init(full, stream), stream)
    assert bits(info.samples) == bits(want.samples.top(8))
    assert target.meter.nfe < full.meter.nfe
    assert len(info.rewards) == 8


@pytest.mark.parametrize("make", [on_humps, on_flow])
@pytest.mark.parametrize("fidelity", FIDELITIES, ids=str)
@pytest.mark.parametrize("batch", [1, 5, 64])
def test_survivors_end_as_they_would_in_one_go(make, fidelity, batch):
    target, stream = make(batch=batch, steps=8), el.Stream(3).at(step=2)
    _, info = race(Previews(el.RandomSearch(8), fidelity, 2), target, stream)
    got = info.samples
    ids = [tuple(key) for key in got.keys.tolist()]
    want = target.evaluate(stream.normal([i for _, i in ids], (6,)), stream, ids)
    assert len(got) == 8
    assert bits(got) == bits(want)


def test_a_walk_that_stops_is_the_walk():
    target, stream = on_flow(steps=6), el.Stream(1)
    z, ids = normal(9, 6).float(), range(9)
    whole = target.generate(z, stream, ids)
    state, x0 = target.walk.on(target, target.walk.begin(target, z), 2, stream, ids)
    assert (state.i, x0.shape) == (2, z.shape)
    rows = torch.tensor([7, 2])
    end, _ = target.walk.on(target, state[rows], 6, stream, rows.tolist())
    assert bits(end.x) == bits(whole[rows])


def test_the_discarded_rank_below_the_survivors_in_the_order_of_their_last_preview():
    target, stream = bell(), el.Stream(0).at(step=1)
    method = Previews(Listener(), EarlyGuess((0.25, 0.5)), widen=4)
    state, info = race(method, target, stream)
    told = state.inside
    truth = target.evaluate(stream.normal(range(32), (6,)), stream, range(32)).reward
    kept = told > -1e30
    assert int(kept.sum()) == 8
    assert torch.equal(told[kept], truth[kept])
    assert torch.equal(told.argsort(descending=True), truth.argsort(descending=True))
    assert bool(torch.isfinite(told).all())
    assert float(info.rewards.min()) > -1e30  # what is told is not reported


def test_a_failed_preview_is_discarded_first_and_told_as_a_failure():
    seen = []

    def reward(x):
        """Fails on the second and the last of the first sixteen objects it sees, the previews."""
        ids = torch.arange(len(x)) + len(seen)
        seen.extend(x)
        return torch.where((ids == 1) | (ids == 15), torch.nan, x[:, 0])

    target = bell(reward)
    state, info = race(Previews(Listener(), *EARLY), target, el.Stream(0).at(step=1))
    assert (state.inside == -torch.inf).nonzero().flatten().tolist() == [1, 15]
    assert [f.candidate for f in target.failures] == [1, 15]
    assert int(torch.isfinite(info.rewards).sum()) == 8


def test_without_a_preview_that_is_a_number_the_first_go_on():
    method, target = Previews(Listener(), *EARLY), bell(lambda x: torch.full((len(x),), torch.nan))
    state, info = race(method, target, el.Stream(0).at(step=1))
    assert (len(info.rewards), len(info.samples)) == (8, 0)
    assert bool((state.inside == -torch.inf).all())


def test_where_all_survivors_fail_nobody_is_told_a_number():
    seen = []

    def reward(x):
        seen.extend(x)
        return x[:, 0] if len(seen) <= 16 else torch.full((len(x),), torch.nan)

    state, info = race(Previews(Listener(), *EARLY), bell(reward), el.Stream(0).at(step=1))
    assert bool((state.inside == -torch.inf).all())
    assert len(info.samples) == 0


def test_what_the_search_does_with_a_step_is_still_done():
    """Evolution reports its stride, and a band is drawn anew where the search in it starts again."""
    target, search = on_humps(), el.Spectral(el.Evolve(8, restart=Restart(1)), DCT(0.5))
    drawn, restarts = [], 0
    for before, after, info, _ in steps_of(Previews(search, *EARLY, again=2), target, 12):
        drawn.append(after.inside.drawn)
        restarts += len(after.inside.inside.parents) == 0
        assert info.scalars["stride"] == before.inside.inside.stride
    assert restarts > 0
    assert len(set(drawn) - {0}) == restarts


@pytest.mark.parametrize("search", [el.Elites(), el.Evolve(), el.RandomSearch(4)], ids=lambda s: type(s).__name__)
def test_previews_that_say_nothing_are_switched_off_and_then_cost_nothing(search):
    """Off by chance at first, then for good: three in a hundred steps are races, one in eight is a trial."""
    kinds, target, method = [], bell(noise_of_objects, steps=6), Previews(search, *EARLY)
    for seed in range(6):
        mine = []
        for before, _, info, spent in steps_of(method, target, 200, seed):
            bound = method.cost(target, before)
            assert (spent.nfe, spent.rewards) == (bound.nfe, bound.rewards)
            assert info.scalars["previews"] == before.on
            mine.append("trial" if before.wait == 0 else "race" if before.on else "plain")
            assert (bound == search.cost(target, before.inside)) == (mine[-1] == "plain")
        assert "plain" in mine[:50]
        kinds += mine
    assert kinds.count("race") <= 0.03 * len(kinds)
    assert kinds.count("trial") <= 0.125 * len(kinds)


def test_previews_that_are_off_leave_the_search_alone():
    target, other = on_humps(), on_humps()
    search = el.Evolve(8, keep=3)
    method = Previews(search, *EARLY)
    state = replace(method.init(target, el.Stream(5)), on=False, wait=5)
    alone = search.init(other, el.Stream(5))
    for step in range(1, 6):
        state, info = method.step(target, state, el.Stream(5).at(step=step))
        alone, want = search.step(other, alone, el.Stream(5).at(step=step))
        assert bits(info.samples) == bits(want.samples)
        assert info.scalars.items() >= want.scalars.items()
    assert bits(state.inside) == bits(alone)
    assert state.wait == 0


def test_good_previews_stay_on_and_the_pause_doubles_where_they_are_not():
    method = Previews(el.RandomSearch(16), *EARLY, again=4)
    states = [after for _, after, *_ in steps_of(method, bell(), 30)]
    assert [s.wait for s in states[:6]] == [4, 3, 2, 1, 0, 4]
    assert all(s.on for s in states)
    states = [after for _, after, *_ in steps_of(method, bell(noise_of_objects), 200)]
    pauses = [s.wait for before, s in itertools.pairwise(states) if not before.wait and s.wait]
    assert pauses[-3:] == [pauses[-3], 2 * pauses[-3], 4 * pauses[-3]]


@pytest.mark.parametrize("seed", range(8))
def test_rank_correlation_is_that_of_scipy(seed):
    a, b = normal(17, seed=seed), normal(17, seed=seed + 100)
    b = b + a
    for x, y in ((a, b), (a.round(), b), ((2 * a).round(), b.round()), (a, -a), (a, a.exp())):
        assert spearman(x, y) == pytest.approx(scipy.stats.spearmanr(x, y).statistic, abs=1e-12)


def test_rank_correlation_with_a_constant_or_failures():
    a = normal(9)
    assert spearman(a, torch.ones(9)) == 0
    low = torch.where(a < 0, -torch.inf, a)
    assert spearman(low, a) == pytest.approx(scipy.stats.spearmanr(a.clamp(min=-1e-9), a).statistic)


@pytest.mark.parametrize("widen", [2, 4, 8])
@pytest.mark.parametrize("gain", [1.0, 1.2])
@pytest.mark.parametrize("fidelity", [EarlyGuess(), EarlyGuess((0.5,)), FewSteps((4,)), FewSteps((2, 5))], ids=str)
def test_at_break_even_a_race_finds_as_many_good_ones_as_its_cost_would(fidelity, widen, gain):
    target, method = bell(), Previews(el.RandomSearch(8), fidelity, widen, gain=gain)
    state = replace(method.init(target, el.Stream(0)), **RACE)
    h = gain * method.cost(target, state).nfe / (8 * widen * target.cost.nfe)
    rho, n = method.break_even(target, state), 8 * widen
    u, q = NormalDist().inv_cdf((n - 0.375) / (n + 0.25)), NormalDist().inv_cdf(1 - 1 / widen)
    assert 0 < rho < 1
    assert NormalDist().cdf((rho * u - q) / math.sqrt(1 - rho**2)) == pytest.approx(h)


def test_a_candidate_survives_as_often_as_the_model_says():
    rho, u, n, p = 0.6, 1.5, 200, 50
    others = normal(4000, n - 1)
    mine = rho * u + math.sqrt(1 - rho**2) * normal(4000, seed=1)
    share = float(((others > mine[:, None]).sum(1) < p).double().mean())
    want = NormalDist().cdf((rho * u - NormalDist().inv_cdf(1 - p / n)) / math.sqrt(1 - rho**2))
    assert abs(share - want) < 4 * math.sqrt(want * (1 - want) / 4000) + 0.01


@pytest.mark.parametrize("fidelity", FIDELITIES, ids=str)
def test_a_race_costs_what_is_walked_to_each_rung(fidelity):
    count = Count()
    target = on_humps(count=count, steps=20)
    method, stream = Previews(el.RandomSearch(8), fidelity, widen=4), el.Stream(0).at(step=1)
    state = replace(method.init(target, stream), **RACE)
    method.step(target, state, stream)
    nfe = {1: 32 * 5 + 8 * 15, 2: 32 * 5 + 16 * 5 + 8 * 10}[len(fidelity)]
    if isinstance(fidelity, FewSteps):
        nfe = {1: 32 * 2 + 8 * 20, 2: 32 * 1 + 16 * 3 + 8 * 20}[len(fidelity)]
    scored = {1: 40, 2: 56}[len(fidelity)]
    assert (count.objects, count.scored) == (nfe, scored)
    assert (method.cost(target, state).nfe, method.cost(target, state).rewards) == (nfe, scored)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: FewSteps(()), "increasing"),
        (lambda: FewSteps((0,)), "at least 1"),
        (lambda: FewSteps((5, 3)), "increasing"),
        (lambda: EarlyGuess((0.0,)), "between 0 and 1"),
        (lambda: EarlyGuess((0.5, 1.0)), "between 0 and 1"),
        (lambda: EarlyGuess((0.5, 0.2)), "increasing"),
        (lambda: Previews(widen=1), "at least twice"),
        (lambda: Previews(again=0), "at least one step"),
        (lambda: Previews(gain=0.5), "gain of at least 1"),
    ],
)
def test_options_out_of_range_are_a_sentence(make, words):
    with pytest.raises(InputError, match=words):
        make()


@pytest.mark.parametrize(
    ("method", "words"),
    [
        (Previews(fidelity=FewSteps((4,))), "give fewer"),
        (Previews(fidelity=FewSteps((9,))), "give fewer"),
        (Previews(fidelity=FewSteps((3,)), widen=2), "cannot pay"),
        (Previews(fidelity=EarlyGuess((0.2, 0.25))), "cannot stop"),
        (Previews(fidelity=EarlyGuess((0.9,))), "cannot stop"),
        (Previews(el.Elites(), *EARLY, gain=2.0), "cannot pay"),
        (Previews(el.RandomSearch(1), *EARLY), "widen to 4"),
        (Previews(el.PCN(8), *EARLY), "wrap a search such as"),
        (Previews(el.CMA(8), *EARLY), "wrap a search such as"),
    ],
)
def test_what_cannot_be_done_is_said_before_any_call(method, words):
    count = Count()
    with pytest.raises(InputError, match=words):
        el.run(method, on_humps(count=count), el.Budget(nfe=1000))
    assert (count.sizes, count.scored) == ([], 0)


def test_a_prior_of_one_step_has_no_early_guess():
    target = el.Target(el.priors.OneStep(lambda z: z, (6,)), hill)
    with pytest.raises(InputError, match="cannot stop"):
        el.run(Previews(el.Elites(), *EARLY), target, el.Budget(nfe=1000))
