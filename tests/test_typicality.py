"""Whiteness: the level on prior draws, and what it sees and does not see."""

import math

import pytest
import torch

import elites as el
from elites import Typicality, whiteness
from elites.search import Anywhere

SHAPES = [(64,), (1, 8, 8), (4, 16, 16), (2,), (1024,), (3, 5, 7), (7, 16), (2, 3, 4, 5)]
IMAGES = [(1, 8, 8), (4, 16, 16), (16, 16)]
SEQUENCES = [(64,), (1024,)]


def draws(n, shape, seed=11):
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(seed))


def on_shell(z):
    d = z[0].numel()
    return z * math.sqrt(d) / z.flatten(1).norm(dim=1).reshape(-1, *[1] * (z.ndim - 1))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_prior_draw_is_rejected_at_most_at_the_nominal_level(shape):
    n = 20_000
    p = torch.cat([whiteness(draws(2000, shape, seed)) for seed in range(n // 2000)])
    for level in (0.01, 0.05):
        rate = float((p < level).double().mean())
        error = math.sqrt(level * (1 - level) / n)
        assert rate < level + 4 * error
        assert rate > level / 2  # conservative, not blind


def test_the_level_holds_far_in_the_tail_of_the_norm():
    """|z|^2 of one coordinate among two: exp(-q / 2) is the exact tail of a chi-square law with two degrees."""
    z = torch.tensor([[3.0, 3.0], [5.0, 5.0]])
    assert torch.all(whiteness(z) <= 4 * 2 * torch.exp(-z.double().square().sum(1) / 2) * (1 + 1e-6))
    assert whiteness(torch.tensor([[0.7, -0.9]]))[0] > 0.5


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("ratio", [20.0, 1 / 20])
def test_the_wrong_norm_is_seen(shape, ratio):
    z = on_shell(draws(50, shape)) * math.sqrt(ratio)
    if ratio > 1 or z[0].numel() > 2:  # a small norm is no evidence in two dimensions
        assert torch.all(whiteness(z) < 0.01)


@pytest.mark.parametrize("shape", [(64,), (1, 8, 8), (1024,)], ids=str)
def test_twice_the_norm_of_the_shell_is_seen(shape):
    assert torch.all(whiteness(on_shell(draws(50, shape)) * math.sqrt(2)) < 0.01)


@pytest.mark.parametrize("shape", IMAGES + SEQUENCES, ids=str)
def test_a_constant_on_the_shell_is_seen(shape):
    for value in (1.0, -1.0):
        assert whiteness(torch.full((1, *shape), value))[0] < 1e-3


@pytest.mark.parametrize("shape", IMAGES + SEQUENCES, ids=str)
@pytest.mark.parametrize("sign", [1, -1], ids=["smooth", "rough"])
def test_correlated_neighbours_on_the_shell_are_seen(shape, sign):
    z = draws(100, shape)
    for axis in (-1,) if shape in SEQUENCES else (-1, -2):
        z = 2 * z + sign * (z.roll(1, axis) + z.roll(-1, axis))
    assert float((whiteness(on_shell(z)) < 0.01).double().mean()) > 0.95


@pytest.mark.parametrize("shape", IMAGES + SEQUENCES, ids=str)
def test_a_third_of_the_energy_in_a_low_frequency_is_seen(shape):
    size = shape[-1]
    wave = torch.cos(math.pi * (torch.arange(size) + 0.5) / size).expand(1, *shape)
    z = on_shell(draws(100, shape))
    flat, unit = z.flatten(1), wave.flatten(1) / wave.norm()
    rest = flat - (flat * unit).sum(1, keepdim=True) * unit
    d = flat.shape[1]
    mixed = math.sqrt(0.3 * d) * unit + math.sqrt(0.7 * d) * rest / rest.norm(dim=1, keepdim=True)
    assert float((whiteness(mixed.reshape(z.shape)) < 0.01).double().mean()) > 0.95


def test_a_repeated_half_a_bought_coordinate_and_a_single_wave_are_seen():
    half = draws(20, (8, 16))
    assert torch.all(whiteness(torch.cat([half, half], 1)) < 0.01)
    assert torch.all(whiteness(torch.cat([draws(20, (2, 8, 8)).repeat(1, 2, 1, 1)], 1)) < 0.01)
    bought = draws(20, (1024,))
    bought[:, 3] = 8
    assert torch.all(whiteness(on_shell(bought)) < 0.01)
    wave = torch.cos(math.pi * 201 * (torch.arange(1024) + 0.5) / 1024)
    one = on_shell(draws(100, (1024,)) + 0.3 * wave)  # 6.8 standard deviations, too few for its octave
    assert float((whiteness(one) < 0.01).double().mean()) > 0.9


def test_one_direction_that_is_not_on_the_list_is_not_seen():
    """The documented limit: all draws share nine tenths of their energy with one typical direction, and pass."""
    mean = draws(1, (1024,), seed=3)
    z = on_shell(math.sqrt(0.9) * mean + math.sqrt(0.1) * draws(200, (1024,)))
    assert float((whiteness(z) > 0.01).double().mean()) > 0.95


def test_noise_that_is_not_finite_is_not_white_and_a_single_draw_needs_a_batch():
    z = draws(3, (8,))
    z[0, 0], z[1, 3] = torch.nan, torch.inf
    p = whiteness(torch.cat([z, torch.zeros(1, 8)]))
    assert p[[0, 1, 3]].tolist() == [0, 0, 0]
    assert p[2] > 0
    with pytest.raises(el.InputError, match=r"z\[None\]"):
        whiteness(draws(1, (8,))[0])


def test_every_draw_is_judged_alone():
    z = draws(5, (4, 8, 8))
    assert torch.allclose(whiteness(z), torch.cat([whiteness(one[None]) for one in z]), rtol=1e-9, atol=0)


def coordinates(d):
    w = draws(1, (d,), seed=8)[0]
    return el.Target(el.priors.OneStep(lambda z: z, (d,)), lambda z: (z * w).sum(1), batch=64)


@pytest.mark.parametrize("seed", [5, 6])
def test_an_unconstrained_search_is_caught_and_one_on_the_shell_is_not(seed):
    budget = el.Budget(rewards=800)
    for method, off in ((el.Elites(guard=Anywhere()), True), (el.Elites(), False), (el.RandomSearch(), False)):
        r = el.run(method, coordinates(64), budget, seed, on=[Typicality()])
        assert (r.history[-1]["white"] < 0.01) == off
        assert r.history[-1]["white"] == float(whiteness(r.best.z)[0])


def test_it_looks_only_when_the_best_changes_and_at_every_run_anew(monkeypatch):
    calls = []
    monkeypatch.setattr("elites.diagnose.typicality.whiteness", lambda z: calls.append(len(z)) or whiteness(z))
    watch = Typicality()
    for _ in range(2):
        calls.clear()
        r = el.run(el.RandomSearch(4), coordinates(8), el.Budget(steps=30), seed=1, on=[watch])
        best = [row["best"] for row in r.history]
        assert calls == [1] * len(set(best))
        assert len({row["white"] for row in r.history}) == len(set(best))


def test_a_best_of_the_same_key_in_another_run_is_looked_at():
    watch = Typicality()
    runs = [el.run(el.RandomSearch(1), coordinates(d), el.Budget(steps=1), probe=None, on=[watch]) for d in (8, 9)]
    assert torch.equal(runs[0].best.keys, runs[1].best.keys)
    assert [r.history[0]["white"] for r in runs] == [float(whiteness(r.best.z)[0]) for r in runs]


def test_a_walk_has_no_noise_to_judge():
    prior = el.priors.mixture(torch.zeros(1, 4, dtype=torch.float64), torch.ones(1))
    r = el.run(el.Plain(steps=3, n=4), el.Target(prior, lambda x: x[:, 0]), probe=None, on=[Typicality()])
    assert all("white" not in row for row in r.history)


@pytest.mark.parametrize("shape", [(7,), (300,), (5, 9), (4, 16, 16), (3, 2, 8, 8)], ids=str)
def test_a_draw_has_the_same_bits_in_every_batch(shape):
    z = torch.randn(9, *shape, generator=torch.Generator().manual_seed(0))
    z[4] = z[4].cumsum(-1)
    alone = torch.cat([whiteness(one[None]) for one in z])
    assert torch.equal(whiteness(z), alone)
    assert torch.equal(whiteness(z.flip(0)).flip(0), alone)
