"""What evidence is compared with: prior samples that are kept, refused or read beside copies of the data."""

import pickle
from dataclasses import replace

import pytest
import torch
from test_alarm import FEW, along, target

import elites as el
from elites.diagnose import Evidence, Memorised, Reference, readings
from elites.priors import OneStep
from elites.search import Anywhere

HACK = el.Elites(32, guard=Anywhere())


def test_a_reference_of_another_shape_is_refused_before_the_budget_is_spent():
    other = Reference.of(el.Target(el.priors.mixture([[2.0], [-2.0]], 0.3), along), 16)
    ours = target()
    with pytest.raises(el.InputError, match=r"shape \(1,\): this prior needs"):
        el.run(HACK, ours, FEW, on=[Evidence(reference=other)])
    assert ours.meter.nfe == 0


def test_a_reference_with_latents_of_another_shape_than_the_noise_is_kept(tmp_path):
    ours = el.Target(OneStep(lambda z: z[:, :1], (3,), decoder=lambda x: x), lambda x: x[:, 0])
    made = Reference.of(ours, 16)
    made.save(tmp_path / "r")
    made.save(tmp_path / "new" / "folder" / "r")
    assert (tmp_path / "new" / "folder" / "r").read_bytes() == (tmp_path / "r").read_bytes()
    for wrong in (tmp_path / "r" / "under", tmp_path / "new"):
        with pytest.raises(el.InputError, match=r"^Cannot write .*: choose another file"):
            made.save(wrong)
    assert Reference.load(ours, tmp_path / "r").samples.x.shape == (16, 1)


def test_a_reference_is_no_path():
    with pytest.raises(el.InputError, match=r"Reference\.load"):
        Evidence(reference="reference.safetensors")


def test_a_copy_of_the_data_is_read_as_one():
    cloud = torch.randn(400, 4, generator=torch.Generator().manual_seed(0))
    twice = el.DistanceToData(cloud[:200], cloud[200:], features=lambda x: 2 * x)
    ours = el.Target(el.priors.mixture(torch.zeros(1, 4), 1.0), along)
    reference = Reference.of(ours, 128, seed=3)
    own = reference.samples

    def read(x):
        found = readings(replace(own[:1], x=x), reference, distance=twice)
        return next(r for r in found if r.name == "memorised")

    copy = read(cloud[17:18] + 1e-6)
    assert copy.value == pytest.approx(1 / 201)
    assert copy.warns
    assert copy.quantile == 0
    values = Memorised(cloud[:200], cloud[200:])(own.x)
    for i in (0, 1, 2):
        new = read(own.x[i : i + 1])
        assert (new.value, new.warns) == (float(values[i]), False)
        shares = [float(f(values, values[i]).double().mean()) for f in (torch.lt, torch.le)]  # p-values have ties
        assert shares[0] <= new.quantile <= shares[1] < 1
    assert "memorised" not in [r.name for r in readings(own[:1], reference, distance=lambda x: twice(x))]
    alike = el.DistanceToData(cloud[:1].expand(5, 4), cloud[200:])
    assert "memorised" not in [r.name for r in readings(own[:1], reference, distance=alike)]


def test_a_copy_is_no_column_and_does_not_ring(tmp_path):
    cloud = torch.randn(400, 2, generator=torch.Generator().manual_seed(0))
    evidence = Evidence(distance=el.DistanceToData(cloud[:200], cloud[200:]), reference=16)
    result = el.run(
        el.RandomSearch(8), el.Target(el.priors.mixture(torch.zeros(1, 2), 1.0), along), FEW, on=[evidence]
    )
    assert "memorised" in [r.name for r in result.evidence]
    assert "memorised" not in result.history[-1]
    assert "distance" in result.history[-1]


def sideways(x):
    return x[:, 1]


def test_prior_samples_that_another_reward_has_scored_are_refused_before_the_run(tmp_path):
    prior = el.priors.mixture(torch.zeros(1, 2), 1.0)
    ours, other = el.Target(prior, along), el.Target(prior, sideways)
    Reference.of(other, 16).save(tmp_path / "scored")
    Reference.of(other, 16, scored=False).save(tmp_path / "plain")
    with pytest.raises(el.InputError, match=r"sideways. has scored, and this run has .along.: .* scored=False"):
        Reference.load(ours, tmp_path / "scored")
    with pytest.raises(el.InputError, match="has scored"):
        el.run(HACK, ours, FEW, on=[Evidence(reference=Reference.load(other, tmp_path / "scored"))])
    assert ours.meter.nfe == 0
    el.run(HACK, ours, el.Budget(steps=1), on=[Evidence(reference=Reference.load(ours, tmp_path / "plain"))])


class Counting:
    def __init__(self):
        self.calls = 0

    def __repr__(self):
        return f"Counting({self.calls})"

    def __call__(self, x):
        self.calls += 1
        return x[:, 0]


def test_a_reward_whose_repr_changes_is_still_the_same_one():
    ours = el.Target(el.priors.mixture(torch.zeros(1, 2), 1.0), Counting())
    reference = Reference.of(ours, 16)
    for _ in range(2):
        el.run(HACK, ours, el.Budget(steps=1), on=[Evidence(reference=reference)])


def test_a_distance_that_was_used_is_pickled_and_needs_99_to_know_a_copy():
    cloud = torch.randn(300, 2, generator=torch.Generator().manual_seed(0))
    ours = el.Target(el.priors.mixture(torch.zeros(1, 2), 1.0), along)
    reference = Reference.of(ours, 16)
    for held, there in ((99, True), (98, False)):
        distance = el.DistanceToData(cloud[:200], cloud[200 : 200 + held])
        names = [r.name for r in readings(reference.samples[:1], reference, distance=distance)]
        assert ("memorised" in names) is there
        again = pickle.loads(pickle.dumps(distance))
        assert torch.equal(again.memorised(cloud), Memorised(cloud[:200], cloud[200 : 200 + held])(cloud))
