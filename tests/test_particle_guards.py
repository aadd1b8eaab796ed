"""What belongs to a particle moves with it, what fails costs no bias, and what cannot part is refused."""

import itertools
import math
from dataclasses import replace

import pytest
import torch
from helpers import Count, Counted, steps_of
from helpers import gaussian as law
from test_particles import BOWL, OFTEN, PULL, STEPS, N, T, assert_law, guess, on, quadratic, states, tilted, walked

from elites import (
    DDIM,
    Budget,
    EulerMaruyama,
    FeynmanKac,
    Flow,
    InputError,
    Rollover,
    Stream,
    Target,
    Tempered,
    TrajectorySearch,
    TreeSearch,
    Twisted,
    ValueDecoding,
    VPLinear,
    run,
)
from elites.resample import Multinomial, Resample, ess
from elites.steer import Difference, Glass, Max, Sum


def seen(state):
    """Clean guesses of particles `(n, 2)` and their rewards over the temperature, float64."""
    gain, shift = guess(VPLinear(), state.times[state.i])
    x0 = state.x.double() @ gain.T + shift
    return x0, quadratic(x0) / T


@pytest.mark.parametrize("potential", [Difference(), Max(), Sum()], ids=repr)
def test_potentials_and_their_memory_move_with_a_particle(potential):
    """Each line's own rewards make its potential, at every level and after every resampling."""
    method, lines = FeynmanKac(32, STEPS, T, Resample(Multinomial(), 0.95), potential=potential), None
    for before, after, *_ in steps_of(method, on(), STEPS - 1):
        rows, (_, r) = after.ancestry[-1], seen(before)
        lines = r[:, None] if lines is None else torch.cat([lines, r[:, None]], 1)
        lines = lines[rows]
        want = {
            Difference: lines[:, -1],
            Max: lines.cummax(1).values.sum(1),
            Sum: lines.cumsum(1).sum(1),
        }[type(potential)]
        assert torch.allclose(after.potential, want, atol=1e-4)
        assert torch.allclose(after.reward.double() / T, r[rows], atol=1e-4)
        if after.resampled == before.resampled:
            assert torch.allclose(after.logw, before.logw + after.potential - before.potential, atol=1e-9)
        else:
            assert after.logw.tolist() == [0] * 32
    assert after.resampled > 2


@pytest.mark.parametrize("limit", [1e9, 0.2])
@pytest.mark.parametrize("make", [Twisted, Tempered])
def test_gradients_move_with_a_particle(make, limit):
    """Weights are densities of the step that the particle's own gradient proposes; the official code of DAS keeps the
    gradients where they were."""
    method, scales = make(32, STEPS, T, Resample(Multinomial(), 0.95), limit=limit), []
    method = replace(method, keep=0.9999) if make is Tempered else method
    for before, after, *_ in steps_of(method, on(), STEPS - 1):
        t, s, rows = before.times[before.i], before.times[after.i], after.ancestry[-1]
        (a, b, c), (gain, _), (x0, r) = DDIM(1.0)(VPLinear(), t, s), guess(VPLinear(), t), seen(before)
        d = c * after.scale * ((PULL - x0 @ BOWL) / T @ gain)
        d = d * (limit / d.square().mean(1, keepdim=True).sqrt()).clamp(max=1)
        mean = (a * before.x.double() + b * x0)[rows]
        p, q = (torch.distributions.Normal(m, c).log_prob(after.x.double()).sum(1) for m in (mean, mean + c * d[rows]))
        logw = (before.logw + after.potential - before.potential) if after.resampled == before.resampled else 0.0
        assert torch.allclose(after.logw, logw + p - q, atol=2e-3)
        assert torch.allclose(after.potential, after.scale * r[rows], atol=1e-4)
        if make is Tempered and after.scale > before.scale:  # no more than leaves that share
            assert float(after.ess[-1]) > 0.9999 * ess(before.logw) - 1e-6
        scales.append(after.scale)
    assert after.resampled > 0
    assert (min(scales) < 1) == (make is Tempered)


@pytest.mark.parametrize("schedule", [VPLinear(), Flow()], ids=repr)
def test_tempered_particles_take_a_large_reward_in_bit_by_bit(schedule):
    """Also where the first guesses are the same for all, whose weights would bear any share."""
    method = Tempered(64, 20, 0.005)
    scales = [after.scale for _, after, *_ in steps_of(method, on(schedule), 20)]
    assert scales[0] < 0.5
    assert scales == sorted(scales)
    assert len(set(scales)) > 4
    assert scales[-1] == 1


@pytest.mark.parametrize("potential", [Difference(), Max(), Sum()], ids=repr)
def test_a_guess_that_fails_changes_nothing_of_its_particle(potential):
    """Its weight, its potential and its memory; those of the others are what they are."""
    method = FeynmanKac(32, STEPS, T, Resample(below=0.0), potential=potential)
    target = on(reward=lambda x: torch.where(x[:, 0] > 1, torch.nan, quadratic(x)))
    for before, after, *_ in steps_of(method, target, STEPS - 1):
        failed = seen(before)[0][:, 0] > 1
        assert 0 < int(failed.sum()) < 32
        for now, then in (
            (after.logw, before.logw),
            (after.potential, before.potential),
            (after.reward, before.reward),
            (after.aux["memory"], before.aux["memory"]),
        ):
            assert torch.equal(now[failed], then[failed])
        assert (after.potential != before.potential)[~failed].all()


@pytest.mark.parametrize("scheme", [Multinomial(), OFTEN.scheme], ids=repr)
def test_ancestry_leads_up_to_the_roots(scheme):
    (state,) = states(FeynmanKac(40, STEPS, T, Resample(scheme, 0.95)), on, 1)
    assert state.ancestry.shape == (STEPS, 40)
    line = torch.arange(40)
    for parents in state.ancestry.flip(0):
        line = parents[line]
    assert torch.equal(line, state.roots)
    assert 1 < len(line.unique()) < 40
    assert torch.allclose(state.reward, quadratic(state.x))
    assert torch.allclose(state.potential, state.reward.double() / T)


def test_rewards_are_asked_for_where_resampling_may_happen_and_at_the_end():
    resample = Resample(Multinomial(), 1.0, (0.2, 0.8), every=3)  # levels 3 and 6 of 8
    target = on()
    state = run(FeynmanKac(10, STEPS, T, resample), target, seed=1, probe=None).state
    assert (target.meter.nfe, target.meter.rewards) == (10 * STEPS, 10 * 3)
    moved = [i for i, parents in enumerate(state.ancestry) if not torch.equal(parents, torch.arange(10))]
    assert moved == [3, 6]
    assert state.resampled == 2


def test_effective_sample_sizes_are_those_before_resampling():
    resample = Resample(Multinomial(), 0.9)
    (state,) = states(FeynmanKac(40, STEPS, T, resample), on, 1)
    moved = torch.stack([(parents != torch.arange(40)).any() for parents in state.ancestry])
    assert torch.equal(moved, state.ess < 0.9 * 40)


@pytest.mark.parametrize(
    ("method", "failing"),
    [
        (FeynmanKac(N, STEPS, T), torch.nan),
        (FeynmanKac(N, STEPS, T), -torch.inf),
        (FeynmanKac(N, STEPS, T), torch.inf),
        (Twisted(N, STEPS, T), torch.nan),
        (Tempered(N, STEPS, T), torch.nan),
    ],
)
def test_objects_that_fail_have_no_weight(method, failing):
    """What is left is the law of the walk, cut off: Z is the share that does not fail."""
    mean, cov = walked(VPLinear())
    edge = float(mean[0]) + 0.4
    share = math.erfc(0.4 / math.sqrt(2 * float(cov[0, 0]))) / 2
    ended = states(method, lambda: on(reward=lambda x: torch.where(x[:, 0] < edge, failing, 0 * x[:, 1])), 6)
    for state in ended:
        failed = state.x[:, 0] < edge
        assert 0 < int(failed.sum()) < N
        assert torch.equal(state.weights == 0, failed)
        assert torch.equal(state.reward == -torch.inf, failed)
    z = torch.tensor([math.exp(state.log_z) for state in ended])
    assert abs(float(z.mean()) - share) < 4 * float(z.std()) / len(z) ** 0.5


def until_the_end(levels, fails):
    """A reward that fails on the way where `fails`; a level is one call of it."""
    calls = itertools.count()
    return lambda x: quadratic(x) if next(calls) == levels else torch.where(fails(x), torch.nan, quadratic(x))


EVERY = {
    "Feynman-Kac": FeynmanKac(N, STEPS, T, OFTEN),
    "sums": FeynmanKac(N, STEPS, T, OFTEN, potential=Sum()),
    "twisted": Twisted(N, STEPS, T, OFTEN),
    "tempered": Tempered(N, STEPS, T, OFTEN, keep=0.9999),
}
every_kind = pytest.mark.parametrize("method", EVERY.values(), ids=EVERY)


@every_kind
def test_what_fails_on_the_way_leaves_the_law_as_it_was(method):
    ended = states(method, lambda: on(reward=until_the_end(STEPS, lambda x: x[:, 0] > 0.5)))
    assert all((state.reward > -torch.inf).all() for state in ended)
    assert_law(ended, *tilted(*walked(VPLinear())))


@every_kind
def test_where_all_fails_on_the_way_the_end_alone_has_a_say(method):
    (state,) = states(method, lambda: on(reward=until_the_end(STEPS, lambda x: x[:, 0] == x[:, 0])), 1)
    assert state.resampled == 0
    assert torch.equal(state.logw, state.reward.double() / T)


STEERED = [
    FeynmanKac(4, 4),
    Twisted(4, 4),
    Tempered(4, 4),
    Tempered(4, 4, gradient=False),
    ValueDecoding(2, 3, 4),
    Rollover(100, 2, 4, 4, 2),
    TrajectorySearch(2, 4, 2, 3),
    TreeSearch(4),
]


@pytest.mark.parametrize("kernel", [DDIM(), EulerMaruyama(0.0)], ids=repr)
@pytest.mark.parametrize("method", STEERED, ids=repr)
def test_a_walk_without_noise_is_refused_before_any_call(method, kernel):
    count = Count()
    prior = Counted(law(torch.zeros(2), torch.eye(2), schedule=Flow(), kernel=kernel), count)
    with pytest.raises(InputError, match=r"DDIM\(1\.0\)"):
        run(method, Target(prior, count.reward(quadratic)), Budget(steps=1))
    assert (count.sizes, count.scored) == ([], 0)


@pytest.mark.parametrize(
    "method",
    [
        FeynmanKac(4, 4, transition=Glass()),
        ValueDecoding(4, 3, 4, transition=Glass()),
        Rollover(100, 4, 4, 4, 2, transition=Glass()),
    ],
    ids=repr,
)
def test_exact_transitions_part_particles_of_a_walk_without_noise(method):
    (state,) = states(method, lambda: on(Flow(), kernel=DDIM()), 1)
    objects = getattr(state, "best_x0", state.x)
    assert len(objects.unique(dim=0)) == 4
    assert torch.isfinite(objects).all()


@pytest.mark.parametrize(
    "make",
    [
        lambda: FeynmanKac(0),
        lambda: FeynmanKac(temperature=0.0),
        lambda: Twisted(limit=0.0),
        lambda: Twisted(transition=Glass()),
        lambda: Tempered(keep=1.0),
        lambda: ValueDecoding(temperature=-1.0),
        lambda: ValueDecoding(block=0),
        lambda: Rollover(60, n=2, first=25),
        lambda: Rollover(steps=1),
        lambda: TrajectorySearch(radius=0.0),
        lambda: TreeSearch(power=1.5),
        lambda: Glass(0),
        lambda: Glass(rho=1.0),
    ],
)
def test_options_out_of_range_are_a_sentence(make):
    with pytest.raises(InputError, match="give"):
        make()


class Unscheduled:
    """A prior with random steps whose law is its own affair."""

    noisy, shape, cost = True, (2,), 1

    def grid(self, steps):
        return VPLinear().times(steps)


@pytest.mark.parametrize("method", [Twisted(4, STEPS), Tempered(4, STEPS), FeynmanKac(4, STEPS, transition=Glass())])
def test_a_prior_without_a_schedule_is_refused_at_the_start(method):
    with pytest.raises(InputError, match="Unscheduled has no noise schedule"):
        method.init(Target(Unscheduled(), quadratic), Stream(0))
