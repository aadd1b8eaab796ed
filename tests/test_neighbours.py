"""Nearest neighbours: laws of uniform points, planted copies, and honest objects flagged no more than said."""

import math

import pytest
import torch
from helpers import FLOAT64, normal

import elites as el
from elites import InputError
from elites.diagnose import DistanceToData, Memorised, neighbours


def uniform(*shape, seed):
    return el.Stream(seed).uniform([0], shape)[0]


def all_distances(points, data):
    return torch.stack([(data - x).flatten(1).norm(dim=1) for x in points])


@pytest.mark.parametrize("k", [1, 2, 5])
def test_distances_of_uniform_points_on_a_circle_are_known(k):
    """Of n uniform points on a circle of length 1, the k-th nearest arc to a new one has the mean k / (2 (n + 1))."""
    n, m = 200, 4000
    angle = [2 * math.pi * uniform(size, seed=seed).double() for size, seed in ((n, 1), (m, 2))]
    data, new = (torch.stack([a.cos(), a.sin()], 1) for a in angle)
    distance = DistanceToData(data, new[:100], k=k)
    arcs = (2 * (distance(new) * distance.unit / 2).arcsin() / (2 * math.pi)).double()
    # the data are the same for all: over data, too, the mean varies, by about 1 / sqrt(n) of itself
    assert float(arcs.mean()) == pytest.approx(k / (2 * (n + 1)), rel=4 / n**0.5)


def test_at_one_neighbour_it_is_what_it_was():
    data, held_out, new = (normal(size, 3, 5, seed=s).float() for size, s in ((300, 0), (40, 1), (70, 2)))

    def old(points):
        points, rest = points.flatten(1).float(), data.flatten(1).float()
        return torch.cdist(points, rest, compute_mode="donot_use_mm_for_euclid_dist").min(1).values

    distance = DistanceToData(data, held_out)
    assert distance.unit == float(old(held_out).mean())
    assert torch.equal(distance(new), (old(new) / distance.unit).double())
    assert distance(new).dtype == torch.float64
    assert el.DistanceToData is DistanceToData


@pytest.mark.parametrize("k", [1, 4])
def test_pieces_change_no_bit(monkeypatch, k):
    data, held_out, new = (normal(size, 7, seed=s) for size, s in ((500, 0), (30, 1), (90, 2)))
    whole, old = DistanceToData(data, held_out, k=k), Memorised(data, held_out)
    monkeypatch.setattr(neighbours, "PAIRS", 64 * 11)
    monkeypatch.setattr(neighbours, "OBJECTS", 13)
    small = DistanceToData(data, held_out, features=lambda x: x, k=k)
    assert small.unit == whole.unit
    assert torch.equal(small(new), whole(new))
    assert torch.equal(Memorised(data, held_out, features=lambda x: x)(new), old(new))
    want = all_distances(new, data).sort(1).values[:, k - 1]
    assert torch.allclose(small(new) * small.unit, want, rtol=1e-5)


def test_pieces_are_bounded(monkeypatch):
    """No more distances at once than said, and features of no more objects."""
    most, asked, cdist = [], [], torch.cdist
    monkeypatch.setattr(neighbours, "PAIRS", 1000)
    monkeypatch.setattr(neighbours, "OBJECTS", 50)
    monkeypatch.setattr(torch, "cdist", lambda a, b, **how: most.append(len(a) * len(b)) or cdist(a, b, **how))
    distance = DistanceToData(normal(300, 2), normal(120, 2, seed=1), lambda x: asked.append(len(x)) or x, k=3)
    distance(normal(77, 2, seed=2))
    assert max(most) <= 1000
    assert max(asked) == 50
    assert sum(asked) == 300 + 120 + 77  # the data once


def test_an_odd_object_of_the_data_counts_for_little_with_more_neighbours():
    data, held_out = normal(200, 4), normal(50, 4, seed=1)
    odd = torch.full((1, 4), 50.0, **FLOAT64)
    data = torch.cat([data, odd])
    assert float(DistanceToData(data, held_out)(odd + 0.01)) < 0.1
    assert float(DistanceToData(data, held_out, k=3)(odd + 0.01)) > 20


@pytest.mark.parametrize("d", [1, 3, 30])
def test_honest_objects_are_flagged_no_more_than_said(d):
    data, held_out, new = (normal(size, d, seed=s).float() for size, s in ((2000, 0), (999, 1), (4000, 2)))
    p = Memorised(data, held_out)(new)
    for rate in (0.01, 0.05, 0.2):
        spread = (rate * (1 - rate) * (1 / 999 + 1 / 4000)) ** 0.5
        assert float((p <= rate).double().mean()) <= rate + 4 * spread


def test_the_share_that_is_flagged_on_a_line_is_known():
    """Of uniform points on a line d1 / d2 is uniform, and d2 is a sum of two exponentials that knows nothing of it."""
    data, held_out, new = (uniform(size, 1, seed=seed).double() for size, seed in ((8000, 0), (2000, 1), (4000, 2)))
    rate = 0.2
    ratio = (torch.arange(10_000, **FLOAT64) + 0.5) * rate / 10_000
    most = -math.log(1 - rate) / ratio  # of d2, where d1 is among the smallest
    want = float((1 - (1 + most) * (-most).exp()).mean()) * rate
    flagged = float((Memorised(data, held_out)(new) <= rate).double().mean())
    assert flagged == pytest.approx(want, abs=4 * (rate * (1 - rate) * (1 / 2000 + 1 / 4000)) ** 0.5)
    assert want < rate


def test_planted_copies_are_found():
    data, held_out = normal(1000, 30).float(), normal(199, 30, seed=1).float()
    copies = data[:50] + 0.05 * normal(50, 30, seed=2).float()
    memorised = Memorised(data, held_out)
    assert torch.equal(memorised(copies), torch.full((50,), 1 / 200, **FLOAT64))
    assert torch.equal(memorised(data[:5]), torch.full((5,), 1 / 200, **FLOAT64))
    # a copy between two of the data, and an average of them all, are no copies
    assert (memorised((data[:50] + data[50:100]) / 2) > 0.05).all()
    assert float(memorised(data.mean(0, keepdim=True))) > 0.05


def test_what_lies_in_the_data_twice_counts_once():
    data, held_out = normal(500, 8).float(), normal(99, 8, seed=1).float()
    memorised = Memorised(torch.cat([data, data[:100]]), held_out)
    assert torch.equal(memorised(data[:200]), Memorised(data, held_out)(data[:200]))
    assert (memorised(data[:200]) <= 0.01).all()


def test_objects_that_are_not_finite_have_no_number():
    data, held_out = normal(50, 2), normal(20, 2, seed=1)
    new = torch.tensor([[0.0, torch.nan], [torch.inf, 0.0], [0.0, 0.0]])
    for found in (DistanceToData(data, held_out), DistanceToData(data, held_out, k=3), Memorised(data, held_out)):
        assert found(new).isnan().tolist() == [True, True, False]
        assert len(found(new[:0])) == 0


def test_bad_input_is_one_sentence():
    data, held_out = normal(50, 2), normal(20, 2, seed=1)
    with pytest.raises(InputError, match="50 data for 51 neighbours"):
        DistanceToData(data, held_out, k=51)
    with pytest.raises(InputError, match="at a distance of 0"):
        DistanceToData(data, data)
    with pytest.raises(InputError, match="the same kind"):
        DistanceToData(data, normal(20, 3))
    for found in (DistanceToData, Memorised):
        with pytest.raises(InputError, match="No object is held out"):
            found(data, held_out[:0])
    with pytest.raises(InputError, match="for 2 neighbours"):
        Memorised(data[:1], held_out)
    with pytest.raises(InputError, match="the same object"):
        Memorised(data[:1].expand(5, 2), held_out)
    with pytest.raises(InputError, match="not finite"):
        Memorised(data, torch.tensor([[0.0, torch.nan]]))
