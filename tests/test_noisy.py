"""Scales for rewards, repeated rewards and ensembles, against numbers by hand."""

import math
from statistics import stdev

import pytest
import torch
from helpers import normal
from test_combined import OBJECTS, numbers, picky, same, square, terms

from elites import InputError
from elites.answers import Scored
from elites.rewards.noisy import Ensemble, Repeated
from elites.rewards.scales import Rank, Raw, Standard


def test_standard_is_in_standard_deviations():
    scale = Standard.of(torch.tensor([1.0, 3.0, 8.0]))
    assert (scale.mean, scale.sd) == (4.0, stdev([1, 3, 8]))
    assert Standard(4.0, 2.0)(torch.tensor([4.0, 9.0, 0.0])).tolist() == [0.0, 2.5, -2.0]
    for wrong in ((0.0, 0.0), (0.0, -1.0), (0.0, math.inf), (math.nan, 1.0)):
        with pytest.raises(InputError, match="standard deviation above zero"):
            Standard(*wrong)


def test_rank_is_the_mid_rank_at_a_reference_value_and_linear_elsewhere():
    scale = Rank((5.0, 1.0, 2.0, 2.0, 2.0))
    at = torch.tensor([1.0, 2.0, 5.0], dtype=torch.float64)
    assert scale(at).tolist() == [0.1, 0.5, 0.9]  # (0 + 1/2) / 5, (1 + 3/2) / 5, (4 + 1/2) / 5
    slope = 0.8 / 4
    assert scale(torch.tensor([1.5, 3.5, 7.0, -9.0]).double()).tolist() == pytest.approx(
        [0.3, 0.7, 0.9 + 2 * slope, 0.1 - 10 * slope], abs=1e-15
    )
    assert Rank.of(torch.tensor([5.0, 2.0, 1.0, 2.0, 2.0])) == Rank((1.0, 2.0, 2.0, 2.0, 5.0))
    for wrong in ((), (1.0,), (3.0, 3.0), (0.0, math.nan), (0.0, math.inf)):
        with pytest.raises(InputError, match="two of them different"):
            Rank(wrong)


def test_rank_increases_has_a_gradient_everywhere_and_knows_no_unit():
    reference = normal(301).double()
    scale = Rank.of(reference)
    expected = [float((reference < v).sum() + 0.5) / 301 for v in reference]
    assert scale(reference).tolist() == expected
    x = torch.linspace(-9, 9, 2001, dtype=torch.float64).requires_grad_()
    values = scale(x)
    assert (values.diff() > 0).all()
    (slope,) = torch.autograd.grad(values.sum(), x)
    assert (slope > 0).all()
    assert float(slope[0]) == float(slope[-1]) == pytest.approx(float(300 / 301 / (reference.max() - reference.min())))
    assert torch.allclose(Rank.of(7 * reference - 3)(7 * x - 3), values, atol=1e-12)


class Noisy:
    """One answer a call, as listed."""

    def __init__(self, *answers):
        self.answers = iter(answers)

    def __call__(self, objects):
        return next(self.answers)


def test_repeats_give_the_mean_and_its_standard_error():
    answers = [[1.0, 5.0], [2.0, 5.0], [6.0, 5.0]]
    out = Repeated(Noisy(*answers), 3)([0, 0])
    assert numbers(out) == [3.0, 5.0]
    assert terms(out) == {
        "standard_error": [pytest.approx(stdev([1, 2, 6]) / math.sqrt(3)), 0.0],
        "repeats": [3.0, 3.0],
    }
    assert numbers(Repeated(Noisy(*answers), 3, average=torch.median)([0, 0])) == [2.0, 5.0]
    assert repr(Repeated(same, 3)) == "Repeated(same, 3, average=mean)"


def test_the_standard_error_is_that_of_the_mean():
    stream = iter(normal(9, 4000).double())
    out = Repeated(lambda objects: 2 * next(stream), 9)(range(4000))
    expected, n = 2 / 3, 4000  # of the mean of nine with standard deviation 2
    assert float(out.values.std()) == pytest.approx(expected, abs=4 * expected / math.sqrt(2 * n))
    squares = out.terms["standard_error"].square()
    assert float(squares.mean()) == pytest.approx(expected**2, abs=4 * float(squares.std()) / math.sqrt(n))


def test_a_repeat_that_fails_is_left_out_while_half_of_them_answer():
    bad = ValueError("no")
    answers = [[1.0, bad, bad, math.nan], [3.0, 2.0, bad, 1.0], [5.0, bad, bad, bad], [7.0, 4.0, 1.0, math.inf]]
    out = Repeated(Noisy(*answers), 4)(range(4))
    assert numbers(out) == [4.0, 3.0, "3 of 4 repeats failed: ValueError: no", "3 of 4 repeats failed: it is NaN"]
    assert terms(out)["repeats"] == [4.0, 2.0, 1.0, 1.0]
    assert terms(out)["standard_error"] == [pytest.approx(stdev([1, 3, 5, 7]) / 2), 1.0, None, None]
    out = Repeated(Noisy([bad], [4.0]), 2)([0])
    assert (numbers(out), terms(out)) == ([4.0], {"standard_error": [None], "repeats": [1.0]})


def test_repeats_keep_gradients_and_average_the_parts():
    x = normal(3).double().requires_grad_()
    scored = [Scored(k * x, {"a": [1.0 + k, 2.0, math.nan if k else 5.0]}) for k in (0, 1, 5)]
    out = Repeated(Noisy(*scored), 3)(x)
    (slope,) = torch.autograd.grad(out.values.sum(), x)
    assert slope.tolist() == pytest.approx([2.0, 2.0, 2.0], rel=1e-6)
    assert terms(out)["a"] == [3.0, 2.0, 5.0]
    with pytest.raises(InputError, match="at least 2 times"):
        Repeated(same, 1)


def test_an_ensemble_is_the_mean_rank_and_logs_the_disagreement():
    def flipped(objects):
        return [-v for v in objects]

    ensemble = Ensemble.fit(OBJECTS, {"a": same, "b": square, "c": flipped})
    out = ensemble(OBJECTS)
    ranks = [0.125, 0.375, 0.625, 0.875]
    assert numbers(out) == pytest.approx([(2 * r + 1 - r) / 3 for r in ranks], abs=1e-15)
    assert terms(out)["disagreement"] == pytest.approx([stdev([r, r, 1 - r]) for r in ranks], abs=1e-15)
    assert terms(out)["b"] == [v * v for v in OBJECTS]
    assert "'c': (" in repr(ensemble)
    assert "Rank(reference=(-8.0, -4.0, -2.0, -1.0))" in repr(ensemble)
    out = Ensemble({"a": (same, Raw()), "p": (picky, Raw())})([1.0, 2.0])
    assert numbers(out) == [1.0, "p: ValueError: two"]
    assert terms(out)["disagreement"] == [0.0, None]
    for wrong in ({"a": (same, Raw())}, {"a": (same, Raw()), "disagreement": (same, Raw())}, {"a": (same, 1), "b": 2}):
        with pytest.raises(InputError, match="verifier"):
            Ensemble(wrong)
