"""Search in a band of frequencies: orthonormal bases, valid noise, and rewards in the band and out of it."""

import math

import pytest
import torch

import elites as el
from elites import Spectral, whiteness
from elites.search import DCT, Haar, Restart

BASES = [DCT(0.25), DCT(0.3), DCT(1.0), Haar(0), Haar(1), Haar(3)]
SHAPE = (3, 16, 16)


def target(shape, reward):
    return el.Target(el.priors.OneStep(lambda z: z, shape), reward, batch=64)


def noise(seed, shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("basis", BASES, ids=str)
@pytest.mark.parametrize("size", [8, 16, 64])
def test_rows_are_orthonormal(basis, size):
    rows = basis.rows(size)
    assert torch.allclose(rows @ rows.T, torch.eye(len(rows)), atol=1e-5)


def test_the_low_rows_are_constant_waves_and_block_means():
    assert torch.allclose(DCT(0.25).rows(16)[0], torch.full((16,), 0.25))
    signs = [int((row.sign().diff() != 0).sum()) for row in DCT(0.5).rows(16)]
    assert signs == list(range(8))  # row k changes its sign k times
    assert torch.allclose(
        Haar(1).rows(4) @ torch.tensor([1.0, 3.0, 5.0, 7.0]), torch.tensor([4.0, 12.0]) / math.sqrt(2)
    )
    assert torch.equal(Haar(1).rows(1), torch.ones(1, 1))
    assert [len(DCT(b).rows(10)) for b in (0.01, 0.1, 0.3, 1.0)] == [1, 1, 3, 10]


def candidates(method, shape=SHAPE, seed=1, n=8, steps=0):
    to = target(shape, lambda z: z.flatten(1)[:, 0])
    state = method.init(to, el.Stream(seed))
    for step in range(1, steps + 1):
        state, _ = method.step(to, state, el.Stream(seed).at(step=step))
    return method.ask(state, el.Stream(seed).at(step=steps + 1), range(n)), state


@pytest.mark.parametrize(
    ("basis", "axes"), [(DCT(0.25), 2), (Haar(2), 2), (DCT(0.25, axes=1), 1), (Haar(2, axes=1), 1)]
)
def test_the_band_goes_there_and_back_and_the_energies_add_up(basis, axes):
    method = Spectral(el.RandomSearch(8), basis)
    z, state = candidates(method)
    rows = basis.rows(16)
    band = z @ rows.T if axes == 1 else rows @ z @ rows.T
    inside = method.search.ask(state.inside, el.Stream(1).at(step=1), range(8))
    assert band.shape == inside.shape
    assert torch.allclose(band, inside, atol=1e-4)
    low = band @ rows if axes == 1 else rows.T @ band @ rows
    assert torch.allclose((z - low)[0], (z - low)[1], atol=1e-4)  # one complement for all
    energy = low.square().sum((1, 2, 3)) + (z - low).square().sum((1, 2, 3))
    assert torch.allclose(energy, z.square().sum((1, 2, 3)), rtol=1e-4)


@pytest.mark.parametrize("basis", BASES, ids=str)
def test_prior_draws_in_the_band_are_prior_draws(basis):
    method = Spectral(el.RandomSearch(1), basis)
    z = torch.cat([candidates(method, (1, 8, 8), seed, n=1)[0] for seed in range(1500)]).double()
    n = z.numel()
    assert abs(float(z.mean())) < 4 / math.sqrt(n)
    assert abs(float(z.square().mean()) - 1) < 4 * math.sqrt(2 / n)
    flat = z.flatten(1)
    assert float((flat.T @ flat / len(z) - torch.eye(64)).abs().max()) < 5.5 * math.sqrt(2 / len(z))
    assert float((whiteness(z) < 0.01).double().mean()) < 0.01 + 4 * math.sqrt(0.01 * 0.99 / len(z))


def test_the_guard_holds_the_band_on_its_own_shell():
    z, _ = candidates(Spectral(el.Elites(), DCT(0.5)), (16, 16), steps=5)
    rows = DCT(0.5).rows(16)
    assert torch.allclose((rows @ z @ rows.T).square().sum((1, 2)), torch.tensor(64.0), rtol=1e-4)


def match(rows, seed=5):
    """Distance of a band of a 32 x 32 noise to a typical one, a number that any noise law can reach 0 of."""
    y = noise(seed, (len(rows), len(rows)))
    y = y * len(rows) / y.norm()
    return target((32, 32), lambda z: -(rows @ z @ rows.T - y).square().mean((1, 2)))


@pytest.mark.parametrize("basis", [DCT(0.125), Haar(3)], ids=str)
@pytest.mark.parametrize("seed", [40, 41, 42])
def test_a_reward_of_low_frequencies_is_reached_by_noise_that_is_white(basis, seed):
    """The band has 16 numbers instead of 1,024; the others stay as they were drawn."""
    ours = el.run(Spectral(basis=basis), match(basis.rows(32)), el.Budget(rewards=1000), seed)
    assert float(ours.best.reward) > -1e-4
    assert float(whiteness(ours.best.z)[0]) > 0.01


@pytest.mark.parametrize("seed", [40, 41])
def test_a_reward_of_high_frequencies_loses_as_documented(seed):
    """All that a search in the band can do is to draw the complement anew, once a stall."""
    to = match(DCT(1.0).rows(32)[-8:])
    ours = el.run(Spectral(), to, el.Budget(rewards=2000), seed)
    theirs = el.run(el.Elites(), to, el.Budget(rewards=2000), seed)
    assert float(ours.best.reward) < float(theirs.best.reward)


def test_a_restart_inside_draws_the_complement_anew_and_nothing_else_does():
    """Neither does one that begins around the best."""
    method = Spectral(el.Elites(restart=Restart(3)), DCT(0.5))
    to = target((8,), lambda z: 0 * z[:, 0])
    state, drawn, last = method.init(to, el.Stream(0)), [], None
    rows = DCT(0.5).rows(8)
    for step in range(1, 13):
        stream = el.Stream(0).at(step=step)
        z = method.ask(state, stream, range(8))
        rest = z[0] - z[0] @ rows.T @ rows
        if last is not None:
            assert torch.allclose(rest, last, atol=1e-5) == (state.drawn == drawn[-1])
        drawn.append(state.drawn)
        last = rest
        state, _ = method.step(to, state, stream)
    assert drawn == [0] * 8 + [8] * 4


def test_any_slice_of_the_candidates_is_the_same():
    method = Spectral(el.Elites(), Haar(1))
    z, state = candidates(method, steps=3)
    assert torch.equal(method.ask(state, el.Stream(1).at(step=4), [5, 2]), z[[5, 2]])


@pytest.mark.parametrize("make", [lambda: DCT(0), lambda: DCT(1.5), lambda: DCT(axes=3), lambda: Haar(-1)])
def test_options_out_of_range_are_a_sentence(make):
    with pytest.raises(el.InputError, match="give"):
        make()


@pytest.mark.parametrize(("shape", "basis", "words"), [((10,), Haar(2), "use DCT"), ((9000,), DCT(), "at most 8192")])
def test_a_basis_that_does_not_fit_is_a_sentence(shape, basis, words):
    with pytest.raises(el.InputError, match=words):
        Spectral(basis=basis).init(target(shape, lambda z: z[:, 0]), el.Stream(0))
