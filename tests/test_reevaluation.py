"""The winner's curse, and its end."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import hill, on_humps

import elites as el
from elites.account import RewardError
from elites.diagnose import reevaluated
from elites.ledger import read
from elites.priors import OneStep


def noisy(s, seed=0):
    draws = np.random.Generator(np.random.Philox(seed))

    def reward(x):
        return x[:, 0] + torch.from_numpy(s * draws.standard_normal(len(x), dtype=np.float32))

    return el.Target(OneStep(lambda x: x, (1,)), reward, batch=16, on_error=el.Worst(1.0))


def found(true, s, seed):
    """What a search for the best of noisy numbers leaves, 16 best."""
    draws = np.random.Generator(np.random.Philox(seed))
    reward = true + s * draws.standard_normal(true.shape, dtype=np.float32)
    keys = torch.stack([torch.ones(len(true), dtype=torch.int64), torch.arange(len(true))], 1)
    return el.Samples(torch.from_numpy(true)[:, None], torch.from_numpy(reward), keys).top(16)


# noise, of how many, reported by the selection, true, true after 8 finalists were scored 4 times: of 200,000
# simulated searches each (40,000 of the last), standard errors below 0.004
CURSES = [(0.5, 256, 3.161, 2.531, 2.739), (1.0, 256, 3.997, 2.000, 2.472), (1.0, 4096, 5.130, 2.567, 3.101)]


@pytest.mark.parametrize(("s", "n", "reported", "true", "again"), CURSES)
def test_the_report_is_unbiased_and_the_new_winner_better(s, n, reported, true, again):
    target, rows = noisy(s), []
    for seed in range(400):
        quality = np.random.Generator(np.random.Philox(10_000 + seed)).standard_normal(n, dtype=np.float32)
        out = reevaluated(found(quality, s, seed), target)
        first = found(quality, s, seed)
        rows.append([out.selected, float(first.x[0]), float(out.winner.x), out.mean, out.mean - float(out.winner.x)])
    mean, error = np.mean(rows, 0), np.std(rows, 0) / 20
    for k, truth in enumerate((reported, true, again, again, 0.0)):
        assert abs(mean[k] - truth) < 4 * math.hypot(error[k], 0.004), (k, mean, error)
    assert mean[2] - mean[1] > 4 * np.std([r[2] - r[1] for r in rows]) / 20


def test_errors_noise_and_cost_are_what_they_say():
    target, errors, noise = noisy(0.5), [], []
    for seed in range(200):
        quality = np.linspace(-1, 1, 32, dtype=np.float32)
        out = reevaluated(found(quality, 0.5, seed), target, top=8, times=4)
        errors.append(out.error**2)
        noise.append(out.noise**2)
        assert (out.spent.rewards, out.spent.nfe) == (36, 0)
    assert abs(np.mean(errors) - 0.25 / 4) < 4 * np.std(errors) / math.sqrt(200)
    assert abs(np.mean(noise) - 0.25) < 4 * np.std(noise) / math.sqrt(200)


def test_a_reward_without_noise_keeps_its_winner():
    target = on_humps()
    result = el.run(el.RandomSearch(32), target, el.Budget(steps=2))
    out = reevaluated(result, target)
    assert torch.equal(out.winner.x, result.best.x)
    assert (out.mean, out.error, out.noise, out.curse) == (float(result.best.reward), 0.0, 0.0, 0.0)


def test_fresh_scores_have_keys_of_their_own_in_the_ledger_and_are_asked_once(tmp_path):
    calls = []

    def reward(x):
        calls.append(len(x))
        return hill(x)

    target = on_humps(reward=reward)
    result = el.run(el.RandomSearch(8), target, el.Budget(steps=2), on=[el.Checkpoint(tmp_path / "run")])
    before, own = len(list(read(tmp_path / "run" / "ledger.sqlite"))), sum(calls)
    folder = el.Folder.open(tmp_path / "run")
    book = folder.ledger()
    first = reevaluated(result, target, top=3, times=2, book=book)
    assert sum(calls) - own == first.spent.rewards == 8
    again = reevaluated(result, target, top=3, times=2, book=book)
    assert sum(calls) - own == 8  # answered from the ledger
    assert again.spent.rewards == 8  # and counted all the same
    assert again.mean == first.mean
    reevaluated(result, target, top=3, times=2, seed=1, book=book)
    assert sum(calls) - own == 16
    book.close()
    folder.close()
    rows = list(read(tmp_path / "run" / "ledger.sqlite"))
    assert len(rows) == before + 16
    assert sum(row["run_step"] < -(1 << 59) and row["purpose"] == el.stream.Purpose.CHECK for row in rows) == 16
    assert not any(row["repeat"] for row in rows if row["run_step"] < 0)  # of draws of their own
    assert target.account.book is None


def test_failures_lose_and_nothing_but_failures_is_one_sentence():
    target = on_humps()
    result = el.run(el.RandomSearch(32), target, el.Budget(steps=2))
    best, second = result.samples.x[0, 0], result.samples[1:2]

    target.reward = lambda x: torch.where(x[:, 0] == best, torch.nan, hill(x))
    out = reevaluated(result, target)
    assert torch.equal(out.winner.x, second.x)
    assert out.means[-1] == -math.inf
    target.reward = lambda x: x[:, 0] * torch.nan
    with pytest.raises(RewardError, match="8 finalists got a number"):
        reevaluated(result, target)


def test_too_little_to_score_is_refused_before_anything_is_spent():
    target = on_humps()
    result = el.run(el.RandomSearch(8), target, el.Budget(steps=1))
    spent = replace(target.meter)
    for arguments in ({"top": 0}, {"times": 1}):
        with pytest.raises(el.InputError):
            reevaluated(result, target, **arguments)
    with pytest.raises(el.InputError, match="no sample"):
        reevaluated(result.samples[:0], target)
    assert target.meter == spent
