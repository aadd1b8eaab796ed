"""Shares of prior samples, by counting."""

import pytest
import torch
from helpers import FLOAT64, normal

from elites import InputError
from elites.diagnose import quantile, threshold


def test_it_counts_what_looks_less_real_and_half_of_what_looks_the_same():
    reference = torch.tensor([1.0, 2.0, 2.0, 4.0])
    values = torch.tensor([0.0, 1.0, 2.0, 3.0, 9.0])
    want = torch.tensor([0.0, 0.125, 0.5, 0.75, 1.0], **FLOAT64)
    assert torch.equal(quantile(values, reference, higher=True), want)
    assert torch.equal(quantile(values, reference, higher=False), 1 - want)
    assert quantile(3, reference, higher=True).tolist() == [0.75]


def test_infinite_values_are_extreme_and_those_that_are_no_number_have_no_quantile():
    reference = torch.tensor([1.0, torch.nan, 2.0, torch.inf])
    got = quantile(torch.tensor([torch.nan, torch.inf, -torch.inf, 1.5]), reference, higher=True)
    assert got[0].isnan()
    assert got[1:].tolist() == [1, 0, 0.5]
    with pytest.raises(InputError, match="No number of the prior samples is finite"):
        quantile(1.0, torch.tensor([torch.nan]), higher=True)
    with pytest.raises(InputError, match="No number of the prior samples is finite"):
        threshold(torch.tensor([]), keep=0.9, higher=True)


def test_quantiles_of_prior_samples_are_uniform():
    got = quantile(normal(4000, seed=1), normal(4000, seed=2), higher=False)
    for share in (0.05, 0.5, 0.96):
        assert abs(float((got <= share).double().mean()) - share) < 4 * (2 * share * (1 - share) / 4000) ** 0.5


def test_the_threshold_keeps_the_share_that_was_asked_for():
    reference = torch.arange(1.0, 101.0)
    assert threshold(reference, keep=0.96, higher=False) == 96
    assert threshold(reference, keep=0.96, higher=True) == 5
    assert threshold(reference, keep=0.955, higher=False) == 96
    assert threshold(reference, keep=1.0, higher=False) == 100
    assert threshold(reference, keep=1e-9, higher=False) == 1
    for keep in (0, 1.1):
        with pytest.raises(InputError, match="no share of prior samples"):
            threshold(reference, keep=keep, higher=False)
