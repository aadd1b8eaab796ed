"""Quality diversity against optima that are known in every cell, and against the archive of pyribs."""

import math

import numpy as np
import pytest
import torch
from helpers import on_humps, steps_of

import elites as el
from elites.search import QualityDiversity

MODES = torch.tensor([[1.0, 1.0], [-1.0, 0.0], [0.5, -1.0]])
SQUARE = ((-1.5, 1.5), (-1.5, 1.5))
SIDE = 6


def corner(x):
    return x[:, :2]


def mixture(p):
    """Log density of three modes in the plane, but for a constant."""
    return torch.logsumexp(-2 * (p[:, None] - MODES).square().sum(2), 1)


def best_of_each_cell():
    """Of the mixture, on a fine grid."""
    line = torch.linspace(-1.5, 1.5, 601)
    points = torch.cartesian_prod(line, line)
    at = ((points + 1.5) / 3 * SIDE).floor().long().clamp(0, SIDE - 1)
    best = torch.full((SIDE * SIDE,), -torch.inf)
    return best.scatter_reduce(0, at[:, 0] * SIDE + at[:, 1], mixture(points), "amax")


def flat(reward, d=6, **changes):
    changes = {"on_error": el.Worst(limit=1)} | changes
    return el.Target(el.priors.OneStep(lambda z: z, (d,)), reward, batch=64, **changes)


@pytest.mark.parametrize("d", [6, 64])
def test_every_cell_of_a_mixture_is_filled_to_near_its_known_optimum(d):
    """The other coordinates want to be 1/2, so the optimum of a cell is that of the mixture."""
    target = flat(lambda z: mixture(z[:, :2]) - (z[:, 2:6] - 0.5).square().sum(1), d)
    result = el.run(QualityDiversity(corner, SQUARE, (SIDE, SIDE)), target, el.Budget(rewards=8000), 3)
    state, best = result.state, best_of_each_cell()
    gap = best[state.cells] - state.elites.reward
    assert len(state.cells) >= 35
    assert gap.min() > -1e-3
    assert gap.median() < 0.1
    assert gap.max() < 1
    assert result.history[-1]["coverage"] == len(state.cells) / 36
    assert math.isclose(result.history[-1]["elites"], float(state.elites.reward.mean()), rel_tol=1e-5)
    # best of N leaves most cells far below
    z = torch.randn(8000, d, generator=torch.Generator().manual_seed(1))
    at = ((z[:, :2] + 1.5) / 3 * SIDE).floor().long().clamp(0, SIDE - 1)
    chance = torch.full((36,), -torch.inf).scatter_reduce(0, at[:, 0] * SIDE + at[:, 1], target.reward(z), "amax")
    assert (best - chance)[state.cells].median() > 3 * gap.median()


def test_the_archive_is_that_of_pyribs():
    ribs = pytest.importorskip("ribs.archives")
    method, target = QualityDiversity(corner, ((-1, 1), (-2, 0.5)), (7, 4), 32), on_humps()
    archive = ribs.GridArchive(solution_dim=6, dims=(7, 4), ranges=((-1, 1), (-2, 0.5)))
    for before, after, _, _ in steps_of(method, target, 30, seed=4):
        stream = el.Stream(4).at(step=1 + before.scored // 32)
        samples = on_humps().evaluate(method.ask(before, stream, range(32), (6,)), stream, range(32))
        archive.add(samples.z.numpy(), samples.reward.numpy(), samples.x[:, :2].numpy())
        theirs = archive.data()
        order = np.argsort(theirs["index"])
        assert theirs["index"][order].tolist() == after.cells.tolist()
        assert np.array_equal(theirs["solution"][order].astype(np.float32), after.elites.z.numpy())
        assert np.array_equal(theirs["objective"][order].astype(np.float32), after.elites.reward.numpy())
        assert np.array_equal(theirs["measures"][order].astype(np.float32), after.measures.numpy())


def test_children_of_the_prior_are_draws_of_the_prior():
    """Without selection the law of the noise stays N(0, I), whatever the mutation; four standard errors."""
    d, n = 20, 4000
    method = QualityDiversity(corner, SQUARE, (2, 2), line=0.7, spread=1.0, guard=el.search.Anywhere())
    z = torch.randn(2 * n, d, generator=torch.Generator().manual_seed(2))
    children = []
    for pair in range(n // 4):
        elites = el.Samples(x=z, reward=torch.zeros(2), keys=torch.zeros(2, 2), z=z[2 * pair : 2 * pair + 2])
        state = el.search.quality.QualityState(elites, torch.tensor([0, 1]), torch.zeros(2, 2), 64)
        children.append(method.ask(state, el.Stream(1).at(step=pair), range(1), (d,)))
    children = torch.cat(children).double()
    numbers = children.numel()
    assert abs(float(children.mean())) < 4 / math.sqrt(numbers)
    assert abs(float(children.square().mean()) - 1) < 4 * math.sqrt(2 / numbers)
    assert abs(float(children.pow(4).mean()) - 3) < 4 * math.sqrt(96 / numbers)


def test_candidates_stay_on_the_shell_and_any_slice_is_the_same():
    method = QualityDiversity(corner, SQUARE, (4, 4), 8, first=8)
    state = list(steps_of(method, flat(lambda z: z[:, 0], 64), 4))[-1][1]
    stream = el.Stream(0).at(step=5)
    z = method.ask(state, stream, range(8), (64,))
    assert torch.allclose(z.square().sum(1), torch.tensor(64.0))
    assert torch.equal(method.ask(state, stream, [5, 2], (64,)), z[[5, 2]])


def test_failed_rewards_and_measures_that_are_no_numbers_are_in_no_cell():
    def measures(z):
        return torch.where(z[:, :1] > 0, torch.nan, z[:, 1:3])

    def reward(z):
        return torch.where(z[:, 1] > 0, torch.nan, z[:, 2])

    r = el.run(QualityDiversity(measures, SQUARE, (5, 5)), flat(reward), el.Budget(rewards=400), 1)
    elites = r.state.elites
    assert len(elites) >= 5
    assert r.meter.failures == len(r.failures) > 50
    assert bool((elites.z[:, :2] <= 0).all())
    assert torch.isfinite(elites.reward).all()


def test_one_measure_lists_and_what_lies_outside():
    method = QualityDiversity(lambda z: [float(v) for v in z[:, 0]], ((-0.1, 0.1),), (2,))
    r = el.run(method, flat(lambda z: z[:, 0]), el.Budget(rewards=160), 1)
    assert r.state.cells.tolist() == [0, 1]
    assert -0.1 < float(r.state.elites.reward[0]) < 0  # the largest below zero
    assert r.state.elites.reward[1] == r.best.reward[0] > 1
    assert torch.equal(r.state.measures[:, 0], r.state.elites.reward)


def test_nothing_scored_is_an_empty_archive():
    r = el.run(
        QualityDiversity(corner, SQUARE, (5, 5)), flat(lambda z: z[:, 0] * math.nan), el.Budget(steps=2), probe=None
    )
    assert (len(r.state.elites), r.history[-1]["coverage"]) == (0, 0)
    assert "elites" not in r.history[-1]


def test_a_decoder_is_called_with_at_most_its_batch():
    seen = []

    def measures(z):
        seen.append(len(z))
        return z[:, :2]

    el.run(QualityDiversity(measures, SQUARE, (5, 5), 10), flat(lambda z: z[:, 0], decode_batch=4), el.Budget(steps=1))
    assert seen == [4, 4, 2]


@pytest.mark.parametrize(
    "make",
    [
        lambda: QualityDiversity(corner, SQUARE, (4,)),
        lambda: QualityDiversity(corner, (), ()),
        lambda: QualityDiversity(corner, ((1, 1),), (4,)),
        lambda: QualityDiversity(corner, SQUARE, (4, 0)),
        lambda: QualityDiversity(corner, SQUARE, (4, 4), 0),
        lambda: QualityDiversity(corner, SQUARE, (4, 4), spread=0),
        lambda: el.run(QualityDiversity(corner, SQUARE[:1], (4,)), flat(lambda z: z[:, 0]), el.Budget(steps=1)),
    ],
)
def test_what_cannot_be_done_is_a_sentence(make):
    with pytest.raises(el.InputError):
        make()
