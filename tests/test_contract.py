"""What every method keeps, whatever it searches for."""

import json
import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import Count, assert_same, bits, generators, half_nan, rows, steps_of
from hypothesis import given, settings
from hypothesis import strategies as st
from methods import METHODS
from safetensors.torch import load, save

from elites import (
    MPGD,
    Budget,
    Checkpoint,
    FineTune,
    InputError,
    Lookahead,
    Probe,
    Retry,
    Stream,
    Walk,
    Watch,
    resume,
    run,
)
from elites.packing import pack, unpack
from elites.store import Folder
from elites.train import AdjointMatching, Follow

every_method = pytest.mark.parametrize(("method", "make"), [m[1:] for m in METHODS], ids=[m[0] for m in METHODS])
SMALL = Budget(steps=6)


def nan(x):
    return torch.full((len(x),), torch.nan)


def after(events):
    """A `stop` that says so after that many events."""
    left = iter(range(events - 1))
    return lambda: next(left, None) is None


def at_clean_objects(method):
    """Whether it takes gradients that never pass the network."""
    if isinstance(method, FineTune):
        rule = method.rule
        return isinstance(rule, AdjointMatching) or (isinstance(rule, Follow) and at_clean_objects(rule.method))
    return isinstance(method, MPGD | Lookahead)


@every_method
def test_the_same_seed_gives_the_same_run(method, make):
    assert_same(run(method, make(), SMALL, seed=2**40 + 3), run(method, make(), SMALL, seed=2**40 + 3))


@every_method
def test_another_seed_gives_another_run(method, make):
    one, other = run(method, make(), SMALL, seed=3), run(method, make(), SMALL, seed=2**32 + 3)
    assert bits(one.best.x) != bits(other.best.x)


@every_method
@pytest.mark.parametrize("failing", [False, True])
def test_micro_batches_change_nothing(method, make, failing):
    changes = {"reward": half_nan} if failing else {}
    want = run(method, make(batch=16, **changes), SMALL)
    for batch, decode_batch in ((1, None), (7, 3), (64, None)):
        assert_same(run(method, make(batch=batch, decode_batch=decode_batch, **changes), SMALL), want)


@every_method
def test_the_global_generators_change_nothing_and_are_left_alone(method, make):
    want = run(method, make(), SMALL)
    torch.manual_seed(5), np.random.seed(5), random.seed(5)  # noqa: NPY002
    before = generators()
    got = run(method, make(), SMALL)
    assert generators() == before
    assert_same(got, want)


@every_method
@pytest.mark.parametrize("events", [1, 3])
def test_stop_save_load_and_continue_equals_one_go(method, make, events, tmp_path):
    want = run(method, make(reward=half_nan), SMALL, seed=4)
    first = run(method, make(reward=half_nan), SMALL, seed=4, on=[Checkpoint(tmp_path / "run")], stop=after(events))
    assert first.stopped == "interrupted"
    assert len(first.history) == events
    assert_same(resume(tmp_path / "run", method, make(reward=half_nan)), want)


@every_method
def test_a_killed_run_goes_on_from_its_last_save(method, make, tmp_path):
    def killer(event):
        if event.step == 3 and event.result is None:
            raise KeyboardInterrupt

    want, folder = run(method, make(), SMALL, seed=5), Folder.create(tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        run(method, make(), SMALL, seed=5, on=[killer, Checkpoint(folder, seconds=0)])
    folder.close()
    assert_same(resume(tmp_path / "run", method, make()), want)


@every_method
def test_a_longer_budget_goes_on_as_if_it_had_been_there_from_the_start(method, make, tmp_path):
    run(method, make(), Budget(steps=2), seed=6, on=[Checkpoint(tmp_path / "run")])
    assert_same(
        resume(tmp_path / "run", method, make(), Budget(steps=5)), run(method, make(), Budget(steps=5), seed=6)
    )


@every_method
def test_every_state_survives_safetensors_and_json(method, make):
    target = make()
    like = method.init(make(), Stream(9))
    for before, after_, *_ in steps_of(method, target, 5):
        for state in (before, after_):
            tensors = {}
            text = json.dumps(pack(state, "state", tensors))
            back = unpack(json.loads(text), like, load(save({k: v.clone() for k, v in tensors.items()})))
            assert type(back) is type(state)
            assert bits(back) == bits(state)


@every_method
@pytest.mark.parametrize("reward", [None, half_nan])
def test_the_meter_equals_a_counting_stub(method, make, reward):
    for batch in (1, 7, 16):
        count = Count()
        changes = {} if reward is None else {"reward": reward, "on_error": Retry(2, limit=1)}
        result = run(method, make(count=count, batch=batch, **changes), SMALL)
        assert (result.meter.nfe, result.meter.rewards) == (count.objects, count.scored)
        grads = result.meter.grads
        assert grads > count.grads if at_clean_objects(method) else grads == count.grads
        assert set(count.sizes) == {batch} | ({method.fit.rows} if isinstance(method, FineTune) else set())
        assert count.padded_well
        assert result.meter.failures == len(result.failures) == sum(row["failures"] for row in result.history)
        assert (result.meter.failures > 0) == (reward is not None)


@every_method
def test_init_makes_no_network_call_and_scores_nothing(method, make):
    count = Count()
    target = make(count=count)
    method.init(target, Stream(0))
    assert (count.sizes, count.scored, target.meter.nfe, target.meter.rewards) == ([], 0, 0, 0)


@every_method
@pytest.mark.parametrize(
    ("policy", "reward"), [(Retry(0, limit=1), half_nan), (Retry(2, limit=1), half_nan), (Retry(2, limit=1), nan)]
)
def test_cost_is_the_most_that_a_step_spends(method, make, policy, reward):
    target, total = make(reward=reward, on_error=policy), 0
    for before, _, info, spent in steps_of(method, target, 6):
        bound = method.cost(target, before)
        assert spent.nfe <= bound.nfe
        assert spent.rewards <= bound.rewards
        assert spent.grads <= bound.grads
        if reward is nan and info.rewards is not None:
            assert spent.rewards == bound.rewards  # every try fails, so the bound is met
        total += spent.nfe
    assert total > 0


LIMITS = st.fixed_dictionaries(
    {
        "nfe": st.none() | st.integers(1, 400),
        "rewards": st.none() | st.integers(1, 150),
        "steps": st.integers(1, 5),
    }
)


@every_method
@settings(max_examples=6)
@given(limits=LIMITS, batch=st.integers(1, 20), again=st.integers(0, 2), dead=st.booleans(), probe=st.booleans())
def test_no_budget_is_ever_exceeded(method, make, limits, batch, again, dead, probe):
    count, budget = Count(), Budget(**limits)
    target = make(count=count, batch=batch, on_error=Retry(again, limit=1), reward=nan if dead else half_nan)
    first = method.cost(target, method.init(target, Stream(0)))
    try:
        result = run(method, target, budget, probe=Probe() if probe and not dead else None)
    except InputError as error:
        assert (count.sizes, count.scored) == ([], 0)
        if "pay for a whole" in str(error):
            first = method.whole(target, method.init(target, Stream(0)))
        else:
            assert "smaller than one step" in str(error)
        assert budget.lacks(replace(first, nfe=0, rewards=0), first, 0)
        return
    steps = max(row["step"] for row in result.history)
    spent = {"nfe": count.objects, "rewards": count.scored, "steps": steps}
    assert all(limit is None or spent[name] <= limit for name, limit in limits.items())
    assert (result.meter.nfe, result.meter.rewards) == (count.objects, count.scored)
    if result.stopped.startswith("done"):
        assert method.done(result.state)
        return
    # it says which limit the next step would have passed, and it would have
    after_ = method.cost(target, result.state)
    why = {
        "nfe": ("network evaluations", limits["nfe"], count.objects + after_.nfe),
        "rewards": (" rewards ", limits["rewards"], count.scored + after_.rewards),
        "steps": ("steps are done", limits["steps"], steps + 1),
    }
    said = [name for name, (phrase, *_) in why.items() if phrase in result.stopped]
    assert len(said) == 1
    _, limit, needed = why[said[0]]
    assert needed > limit


@every_method
def test_dropping_subscribers_and_infos_changes_nothing(method, make, tmp_path):
    def empty(event):
        event.info.scalars.clear()
        event.failures.clear()

    subscribers = [Watch({"first": lambda x: x[:, 0]}), Checkpoint(tmp_path / "run"), empty]
    watched, alone = run(method, make(), SMALL, on=subscribers), run(method, make(), SMALL)
    assert bits(watched.samples) == bits(alone.samples)
    assert bits(watched.state) == bits(alone.state)
    assert all(set(json.loads(b)) <= set(json.loads(a)) for a, b in zip(rows(watched), rows(alone), strict=True))
    state = list(steps_of(method, make(), 6))[-1][1]  # no run, every info dropped
    assert bits(state) == bits(alone.state)


@every_method
@pytest.mark.parametrize("enabled", [True, False])
def test_the_gradient_mode_of_the_caller_is_untouched(method, make, enabled):
    seen = []
    with torch.set_grad_enabled(enabled):
        result = run(method, make(), SMALL, on=[lambda event: seen.append(torch.is_grad_enabled())])
        assert torch.is_grad_enabled() is enabled
    assert set(seen) == {enabled}
    assert not any(v.requires_grad for v in (result.best.x, result.best.reward))


@every_method
def test_every_reported_sample_is_drawn_again_from_its_key(method, make):
    """But for those that became what they are among others, or by choices along the way."""
    if isinstance(method, FineTune):
        pytest.skip("its samples are those of models that have moved")
    result = run(method, make(), SMALL, seed=11)
    if result.best.z is None and not isinstance(method, Walk):
        pytest.skip("its samples are not functions of one noise")
    target, keys = make(), result.samples.keys.tolist()
    assert len({tuple(key) for key in keys}) == len(keys)
    for i, (step, candidate) in enumerate(keys):
        one, key = result.samples[i : i + 1], [(step, candidate)]
        walk = target.with_walk(method) if isinstance(method, Walk) and step else target
        z = target.prior.noise(Stream(11), key) if one.z is None else one.z
        x = walk.generate(z, Stream(11), key)
        assert bits(x) == bits(one.x)
        assert bits(target.score(x, Stream(11), key)) == bits(one.reward)
