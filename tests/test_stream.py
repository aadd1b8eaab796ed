"""Laws 3 and 4: noise is standard normal, and every number is keyed by what it is for."""

import numpy as np
import pytest
import torch
from helpers import PRIORS, Count, on, on_humps

from elites import InputError, Stream
from elites.stream import Purpose

every_prior = pytest.mark.parametrize("prior", PRIORS.values(), ids=PRIORS)
N = 4000


@every_prior
def test_law_03_noise_is_standard_normal_and_of_the_stream(prior):
    stream, n = Stream(3), 300
    z = prior.noise(stream.at(step=2, draw=1), range(n))
    assert torch.equal(z, stream.at(step=2, draw=1).normal(range(n), prior.shape))
    flat = z.double().flatten()
    se = len(flat) ** -0.5
    assert flat.mean().abs() < 4 * se
    assert (flat.square().mean() - 1).abs() < 4 * 2**0.5 * se
    assert flat.pow(3).mean().abs() < 4 * 15**0.5 * se
    assert (flat.pow(4).mean() - 3).abs() < 4 * 96**0.5 * se


def test_law_03_numbers_of_neighbouring_keys_are_independent():
    base = Stream(1, step=1)
    x = base.normal(range(N), (1,))[:, 0]
    others = {
        "candidate": x.roll(1),
        "step": base.at(step=2).normal(range(N), (1,))[:, 0],
        "draw": base.at(draw=1).normal(range(N), (1,))[:, 0],
        "purpose": base.at(purpose=Purpose.WALK).normal(range(N), (1,))[:, 0],
        "seed": Stream(2, step=1).normal(range(N), (1,))[:, 0],
    }
    for name, y in others.items():
        for a, b in ((x, y), (x.square() - 1, y.square() - 1)):
            assert (a * b).mean().abs() < 4 * (a.square() * b.square()).mean().sqrt() / N**0.5, name


def test_law_03_uniform_numbers_are_uniform():
    u = Stream(5).uniform(range(N), (2,)).double()
    assert u.min() >= 0
    assert u.max() < 1
    for power in (1, 2, 3):
        mean, square = 1 / (power + 1), 1 / (2 * power + 1)
        assert (u.pow(power).mean() - mean).abs() < 4 * ((square - mean**2) / u.numel()) ** 0.5


def test_law_04_a_candidate_redrawn_alone_equals_its_row():
    stream = Stream(2**70 + 1, purpose=Purpose.METHOD, step=3, draw=2)
    together = stream.normal(range(50), (4, 5))
    for i in (49, 0, 17):
        assert torch.equal(stream.normal([i], (4, 5))[0], together[i])
        assert torch.equal(stream.at(step=8).normal([(3, i)], (4, 5))[0], together[i])
        assert torch.equal(stream.uniform([i]), stream.uniform(range(50))[i : i + 1])
    assert torch.equal(stream.normal([5, 3], (4, 5)), together[[5, 3]])


def test_law_04_a_number_is_that_of_philox_at_its_key():
    stream = Stream(7, purpose=1, step=2, draw=4)
    philox = np.random.Philox(np.random.SeedSequence(7, spawn_key=(1, 2, 3, 4)))
    assert np.array_equal(stream.normal([3], (6,))[0], np.random.Generator(philox).standard_normal(6, np.float32))


def test_law_04_every_part_of_the_key_counts():
    keys = [
        Stream(s, p, k, d) for s in (0, 1, 2**32, 2**32 + 1, 2**64) for p in range(4) for k in (0, 1) for d in (0, 1)
    ]
    draws = [tuple(v) for stream in keys for v in stream.normal(range(2), (3,)).tolist()]
    assert len(set(draws)) == len(draws)


@pytest.mark.parametrize("seed", [-1, 1.0, True, "1", None])
def test_law_04_a_seed_that_is_no_whole_number_is_refused(seed):
    with pytest.raises(InputError, match="non-negative integer"):
        Stream(seed)


@pytest.mark.parametrize(("batch", "n"), [(1, 3), (4, 3), (4, 4), (4, 9)])
def test_law_04_the_network_sees_exactly_batch_rows_the_last_one_repeated(batch, n):
    count = Count()
    target = on_humps(count=count, batch=batch)
    x = Stream(0).normal(range(n), (6,))
    out = target.denoise(x, target.prior.grid(4)[0])
    assert count.sizes == [batch] * -(-n // batch)
    assert count.padded_well
    assert count.objects == target.meter.nfe == n
    assert torch.equal(out, target.prior.inner.denoise(x, target.prior.grid(4)[0]))


def test_law_04_a_walk_uses_no_number_twice():
    seen = []

    class Greedy:
        """A prior that asks for noise wherever it can."""

        shape, cost, noisy, schedule = (6,), 1, True, None  # with a schedule, guesses are means and take none

        def __getattr__(self, name):
            return getattr(PRIORS["mixture"], name)

        def denoise(self, x, t, z=None):
            seen.append(z)
            return x

        def move(self, x, x0, t, s, z=None):
            seen.append(z)
            return x0 + z

    prior, ids = Greedy(), range(5)
    seen.append(prior.noise(Stream(0, step=2), ids))
    on(prior, steps=7, batch=5).generate(seen[0], Stream(0, step=2), ids)
    numbers = torch.cat(seen).flatten().tolist()
    assert len(numbers) == len(set(numbers)) == 15 * 5 * 6
