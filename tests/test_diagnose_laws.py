"""Tails of laws, against closed forms."""

import math

import torch

from elites.diagnose.laws import beta_tails, student

T = torch.tensor([-40.0, -3.0, -0.5, 0.0, 0.5, 3.0, 40.0], dtype=torch.float64)


def test_student_with_one_and_two_degrees_of_freedom():
    assert torch.allclose(student(T, 1), 0.5 + torch.arctan(T) / math.pi, rtol=1e-9, atol=0)
    # 1 + t / sqrt(2 + t^2) loses its digits in the lower tail
    lower = 1 / ((2 + T**2).sqrt() * ((2 + T**2).sqrt() + T.abs()))
    assert torch.allclose(student(T, 2), torch.where(T < 0, lower, 1 - lower), rtol=1e-9, atol=0)


def test_student_of_many_degrees_is_nearly_normal():
    assert torch.allclose(student(T[1:-1], 1e6), torch.special.ndtr(T[1:-1]), rtol=1e-4, atol=0)


def test_the_tails_of_beta_with_an_integer_are_powers():
    x = torch.tensor([1e-3, 0.2, 0.5, 0.9, 1 - 1e-9], dtype=torch.float64)
    a = torch.tensor(3.5, dtype=torch.float64)
    tail, upper = beta_tails(x, a, torch.ones((), dtype=torch.float64))
    exact = torch.where(upper, 1 - x**3.5, x**3.5)
    assert upper.tolist() == [False, False, False, True, True]
    assert torch.allclose(tail, exact, rtol=1e-6, atol=0)
