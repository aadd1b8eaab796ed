"""Diversity of sets whose answer is known."""

import math

import pytest
import torch
from helpers import FLOAT64, normal

from elites import InputError, Stream
from elites.diagnose import Diversity, quantile, vendi


def test_the_vendi_score_counts_what_has_nothing_in_common():
    assert vendi(torch.eye(7)) == pytest.approx(7)
    assert vendi(torch.ones(7, 7)) == pytest.approx(1)
    # two clusters of sizes 6 and 2: the entropy of (3/4, 1/4)
    blocks = torch.block_diag(torch.ones(6, 6), torch.ones(2, 2))
    assert vendi(blocks) == pytest.approx(math.exp(-0.75 * math.log(0.75) - 0.25 * math.log(0.25)))
    # two objects of similarity s have the eigenvalues (1 + s) / 2 and (1 - s) / 2
    s = 0.6
    want = math.exp(-sum(v * math.log(v) for v in ((1 + s) / 2, (1 - s) / 2)))
    assert vendi(torch.tensor([[1, s], [s, 1]])) == pytest.approx(want)


def test_the_effective_number_of_objects_far_apart_is_theirs():
    diversity = Diversity(normal(50, 3, 4))
    far = 1000 * torch.eye(12, **FLOAT64).reshape(12, 3, 4)
    assert diversity.effective(far) == pytest.approx(12)
    assert diversity.effective(far[:1].expand(9, 3, 4)) == pytest.approx(1)
    assert diversity.effective(far[:2].repeat(5, 1, 1)) == pytest.approx(2)
    assert diversity.effective(far[:1]) == pytest.approx(1)
    assert diversity.distance(far[:1].expand(9, 3, 4)) == 0


def test_its_kernel_is_as_wide_as_the_reference_says():
    """Of two objects a median distance apart the similarity is exp(-2), whatever the units."""
    want = [(1 + s * math.exp(-2)) / 2 for s in (1, -1)]
    for scale in (1e-3, 1.0, 1e3):
        reference = scale * normal(60, 5)
        pairs = torch.pdist(reference)
        diversity = Diversity(reference)
        two = torch.zeros(2, 5, **FLOAT64)
        two[1, 0] = pairs.median()
        assert diversity.effective(two) == pytest.approx(math.exp(-sum(v * math.log(v) for v in want)))
        assert diversity.distance(two) == pytest.approx(float(pairs.median() / pairs.mean()))
        assert diversity.distance(reference) == pytest.approx(1)
    narrow = Diversity(normal(60, 5), width=1e-3)
    assert narrow.effective(normal(10, 5, seed=1)) == pytest.approx(10)


def test_mean_distance_of_normal_points_is_exact():
    """Two points of N(0, I) on a line are 2 / sqrt(pi) apart on average, and ten times as far in tens."""
    diversity = Diversity(normal(2000, 1))
    assert diversity.unit == pytest.approx(2 / math.pi**0.5, rel=4 / 2000**0.5)
    assert diversity.distance(10 * normal(2000, 1, seed=1)) == pytest.approx(10, rel=6 / 2000**0.5)


def test_sets_of_prior_samples_say_where_a_set_lies():
    diversity = Diversity(normal(400, 6))
    for measure in (Diversity.distance, Diversity.effective):
        among = diversity.among(16, measure, Stream(0))
        assert among.shape == (200,)
        assert torch.equal(among, diversity.among(16, measure, Stream(0)))
        honest = torch.tensor([measure(diversity, normal(16, 6, seed=s)) for s in range(1, 101)])
        got = quantile(honest, among, higher=True)
        assert abs(float(got.mean()) - 0.5) < 4 * (1 / 12 / 100 + 1 / 12 / 25) ** 0.5  # the reference is 25 such sets
        assert float(quantile(measure(diversity, 0.5 * normal(16, 6, seed=1)), among, higher=True)) < 0.02
        assert float(quantile(measure(diversity, 2 * normal(16, 6, seed=1)), among, higher=True)) > 0.98


def test_features_are_what_differs():
    reference = normal(50, 4)
    diversity = Diversity(reference, features=lambda x: x[:, :2])
    assert diversity.unit == pytest.approx(Diversity(reference[:, :2]).unit)
    moved = reference.clone()
    moved[:, 2:] *= 100
    assert diversity.effective(moved) == diversity.effective(reference)
    plain = Diversity(reference[:, :2])
    assert torch.equal(*(d.among(5, Diversity.effective, Stream(0)) for d in (diversity, plain)))


def test_bad_input_is_one_sentence():
    reference = normal(20, 3)
    for bad in (reference[:1], reference[:1].expand(5, 3), reference * torch.nan):
        with pytest.raises(InputError, match="no two objects that differ"):
            Diversity(bad)
    with pytest.raises(InputError, match="positive share"):
        Diversity(reference, width=0)
    with pytest.raises(InputError, match="no distance between them"):
        Diversity(reference).distance(reference[:1])
    with pytest.raises(InputError, match="give a larger reference"):
        Diversity(reference).among(21, Diversity.effective, Stream(0))
    with pytest.raises(InputError, match=r"give \(n, n\)"):
        vendi(torch.ones(2, 3))
    with pytest.raises(InputError, match="a kernel's matrix"):
        vendi(2 * torch.eye(3))
