"""Objects that are not finite are failures, and gradients go on where memory runs out."""

import pytest
import torch

import elites as el
from elites.priors import OneStep

FORMS = {
    "tensor": lambda v: v,
    "column": lambda v: v[:, None],
    "list": lambda v: v.tolist(),
    "array": lambda v: v.numpy(),
}


@pytest.mark.parametrize("broken", [torch.nan, torch.inf])
@pytest.mark.parametrize("form", FORMS)
def test_an_object_that_is_not_finite_is_a_failure_whatever_its_reward(form, broken):
    prior = OneStep(lambda z: torch.where(z[:, :1] > 0, z, broken), (3,))
    target = el.Target(prior, lambda x: FORMS[form](x.nan_to_num(9.0, 9.0).sum(1)), batch=4)
    z = prior.noise(el.Stream(0), range(10))
    bad = z[:, 0] <= 0
    found = target.evaluate(z, el.Stream(0), range(10))
    assert torch.equal(found.reward == -torch.inf, bad)
    assert torch.equal(found.reward[~bad], z[~bad].sum(1))
    assert [f.candidate for f in target.failures] == bad.nonzero().flatten().tolist()
    assert {f.reason for f in target.failures} == {"ValueError: the object is not finite"}


@pytest.mark.parametrize("kind", [torch.Tensor.numpy, lambda x: x])
def test_one_object_at_a_time_that_is_not_finite_is_a_failure(kind):
    prior = OneStep(lambda z: kind(torch.where(z > 0, z, torch.nan)), (1,))
    target = el.Target(prior, lambda x: 9.0, batch=1)
    z = prior.noise(el.Stream(0), range(6))
    assert torch.equal(target.evaluate(z, el.Stream(0), range(6)).reward == -torch.inf, z[:, 0] <= 0)


def test_a_chunk_without_any_finite_object_has_no_gradient_and_no_error():
    prior = OneStep(lambda z: z * torch.nan, (3,))
    target = el.Target(prior, lambda x: x.sum(1), batch=4)
    z = prior.noise(el.Stream(0), range(4))
    values, _, gradient = target.grad(lambda z: (target.score(z, el.Stream(0), range(len(z))), None), z)
    assert (values == -torch.inf).all()
    assert not gradient.any()


def test_a_gradient_begins_again_with_fewer_rows_where_its_graph_is_too_large():
    """Each inner chunk fits; together, under one graph, four rows are too many."""
    alive = []

    def f(z):
        if len(alive) + len(z) > 2:
            raise torch.OutOfMemoryError
        alive.extend(z)
        return z

    def value(z):
        alive.clear()
        return target.denoise(z, torch.tensor(1.0)).square().sum(1), None

    target = el.Target(OneStep(f, (3,), decoder=torch.clone), lambda x: x.mean(1), batch=8)
    z = el.Stream(0).normal(range(8), (3,))
    with pytest.warns(UserWarning, match="Out of memory"):
        _, _, gradient = target.grad(value, z)
    assert torch.equal(gradient, 2 * z)
    assert target.batch == 2


def test_an_object_that_is_not_finite_leaves_the_others_their_gradients():
    prior = OneStep(lambda z: torch.where(z[:, :1] > 0, z.square(), torch.nan), (3,))
    target = el.Target(prior, lambda x: x.nan_to_num(9.0).sum(1), batch=10)
    z = prior.noise(el.Stream(0), range(10))
    values, _, gradient = target.grad(lambda z: (target.score(z, el.Stream(0), range(len(z))), None), z)
    good = z[:, 0] > 0
    assert torch.equal(values == -torch.inf, ~good)
    assert torch.equal(gradient, torch.where(good[:, None], 2 * z, 0.0))


def test_gradients_go_on_with_half_the_batch_where_memory_runs_out():
    def value(z):
        sizes.append(len(z))
        if len(sizes) == 2:
            raise torch.OutOfMemoryError
        return z.square().sum(1), len(z)

    sizes, z = [], el.Stream(0).normal(range(11), (3,))
    target = el.Target(OneStep(torch.clone, (3,)), lambda x: x.mean(1), batch=4)
    with pytest.warns(UserWarning, match="Out of memory: batch is now 2"):
        values, extra, gradient = target.grad(value, z)
    assert torch.equal(values, z.square().sum(1))
    assert torch.equal(gradient, 2 * z)
    assert sizes == [4, 4, 2, 2, 2, 1]
    assert extra == [4, 2, 2, 2, 1]
    assert (target.batch, target.meter.grads) == (2, 11)
