"""The rewards that come with the library, and the evidence beside a reward."""

import math
import zlib

import pytest
import torch
from helpers import normal, on, on_humps

from elites import (
    Budget,
    DistanceToData,
    Elites,
    InputError,
    Plain,
    RandomSearch,
    Target,
    Watch,
    per_sample,
    run,
)
from elites.priors import OneStep
from elites.rewards import Ambiguity, CompressedSize, Margin, Match, Symmetry


def images(n=5, channels=1):
    return torch.sigmoid(normal(n, channels, 8, 8)).float()


def test_symmetry_is_highest_for_a_mirror_image():
    x = images()
    both = (x + x.flip(-1)) / 2
    assert Symmetry()(both).abs().max() == 0
    assert (Symmetry()(x) < 0).all()
    assert torch.equal(Symmetry()(x), Symmetry()(x.flip(-1)))
    edge = torch.zeros(1, 1, 2, 4)
    edge[..., 0] = 1  # two of four columns differ from their mirror by 1
    assert float(Symmetry()(edge)) == -0.5


def test_compressed_size_is_minus_the_bytes_of_the_grey_levels():
    x = images()
    sizes = CompressedSize(levels=5)(x)
    grey = [bytes(int(v) for v in (image * 4).round().flatten()) for image in x]
    assert sizes.tolist() == [-len(zlib.compress(g, 9)) for g in grey]
    flat = CompressedSize()(torch.full((1, 1, 8, 8), 0.5))
    assert flat > CompressedSize()(x).max()


def test_match_is_zero_at_a_hit_and_minus_the_mean_square_elsewhere():
    x = images(channels=3)
    reward = Match(x[2])
    assert reward(x)[2] == 0
    assert reward(x).argmax() == 2
    assert torch.allclose(Match(torch.zeros(3, 8, 8))(x), -x.square().mean((1, 2, 3)))


def test_match_with_an_image_of_another_shape_is_a_failure_that_says_so():
    with pytest.raises(InputError, match=r"The images are \(1, 8, 8\), the wanted one \(3, 8, 8\)"):
        Match(torch.zeros(3, 8, 8))(images())
    target = on(OneStep(torch.sigmoid, (1, 8, 8)), reward=Match(torch.zeros(1, 4, 4)))
    result = run(RandomSearch(4), target, Budget(steps=1), probe=None)
    assert len(result.best) == 0
    assert all("the wanted one (1, 4, 4)" in failure.reason for failure in result.failures)


def test_margin_and_ambiguity_are_log_odds_and_log_probabilities():
    logits = normal(6, 4)
    p = logits.exp() / logits.exp().sum(1, keepdim=True)
    for label in range(4):
        assert torch.allclose(Margin(lambda x: x, label)(logits), (p[:, label] / (1 - p[:, label])).log())
    ambiguity = Ambiguity(lambda x: x, 1, 3)
    assert torch.allclose(ambiguity(logits), (p[:, 1] * p[:, 3]).log())
    both = torch.tensor([[-99.0, 7.0, -99.0, 7.0]])
    assert float(ambiguity(both)) == pytest.approx(-2 * math.log(2))
    assert (ambiguity(logits) < -2 * math.log(2)).all()


def test_rewards_have_gradients_where_mathematics_has():
    x = images().requires_grad_()
    for reward in (Symmetry(), Match(images(1)[0] + 0.1), Margin(lambda x: x.flatten(1), 2)):
        (grad,) = torch.autograd.grad(reward(x).sum(), x)
        assert torch.isfinite(grad).all()
        assert grad.abs().max() > 0


def test_per_sample_gives_one_answer_for_each_object():
    assert per_sample(len)(["a", "bb", ""]) == [1, 2, 0]
    out = per_sample(lambda v: 1 / v)([1, 0, 2])
    assert (out[0], type(out[1]), out[2]) == (1, ZeroDivisionError, 0.5)
    with pytest.raises(KeyboardInterrupt):
        per_sample(interrupt)([1])


def interrupt(obj):
    raise KeyboardInterrupt


def test_a_search_draws_a_clear_digit_that_a_judge_confirms():
    pytest.importorskip("diffusers")
    from elites.priors import digits
    from elites.rewards import digits as data

    reward, judge = (Margin(data.classifier(part), label=3) for part in ("reward", "judge"))
    target = Target(digits(), reward, walk=Plain(steps=5))
    result = run(Elites(8), target, Budget(steps=15), on=[Watch({"judge": judge})])
    probe, last = result.history[0], result.history[-1]
    assert last["best"] > probe["max"]
    assert last["judge"] > 0  # more a 3 than everything else together
    assert last["judge"] == float(judge(target.decode(result.best.x)))


# evidence beside the reward


def test_watch_adds_what_it_sees_of_the_best_object_to_every_row():
    seen = []

    def norm(x):
        seen.append(len(x))
        return x.square().sum(1)

    result = run(Elites(8), on_humps(), Budget(steps=8), on=[Watch({"norm": norm})])
    assert set(seen) == {1}
    best = [row["best"] for row in result.history]
    assert len(seen) == len(set(best))  # once for each new best
    assert result.history[-1]["norm"] == pytest.approx(float(result.best.x.square().sum()), rel=1e-6)
    assert result.meter.rewards == run(Elites(8), on_humps(), Budget(steps=8)).meter.rewards


def test_one_watch_serves_many_runs():
    watch = Watch({"first": lambda x: x[:, 0]})
    for scale in range(1, 20):  # the best candidate has the same key in all
        target = on(OneStep(lambda z, scale=scale: scale * z, (6,)), reward=lambda x: x[:, 0])
        for method in (RandomSearch(4), Plain(n=4)):
            result = run(method, target, Budget(steps=1), on=[watch])
            assert [row["first"] for row in result.history] == [row["best"] for row in result.history]


def test_watch_says_what_is_wrong_with_a_function_of_many_numbers():
    with pytest.warns(UserWarning, match="'both' is missing for a step: it returned 6 numbers for one object"):
        run(RandomSearch(4), on_humps(), Budget(steps=1), on=[Watch({"both": lambda x: x})])


def test_watch_is_silent_where_nothing_was_scored():
    result = run(
        RandomSearch(4),
        on_humps(reward=lambda x: x[:, 0] * torch.nan),
        Budget(steps=2),
        probe=None,
        on=[Watch({"first": lambda x: x[:, 0]})],
    )
    assert all("first" not in row for row in result.history)


def test_the_distance_to_data_is_in_units_of_held_out_data():
    data, held_out = normal(50, 3, 2), normal(20, 3, 2, seed=1)
    distance = DistanceToData(data, held_out)
    near = torch.stack([(data - x).flatten(1).norm(dim=1).min() for x in held_out])
    assert distance.unit == pytest.approx(float(near.mean()), rel=1e-5)
    assert torch.allclose(distance(held_out).double(), near / near.mean(), rtol=1e-5)
    assert float(distance(held_out).mean()) == pytest.approx(1, rel=1e-5)
    assert (distance(data) < 1e-6).all()
    assert (distance(held_out + 100) > 20).all()


def test_the_distance_can_be_taken_between_features():
    data, held_out = normal(50, 4), normal(20, 4, seed=1)
    distance = DistanceToData(data, held_out, features=lambda x: x[:, :2])
    moved = held_out.clone()
    moved[:, 2:] += 7
    assert torch.equal(distance(moved), distance(held_out))
