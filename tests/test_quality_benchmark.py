"""What the large comparison of searches rests on: its cells, its verdicts, its peers and its rewards."""

import json

import pytest
import torch
from benchmarks import peers
from benchmarks.quality import cells, clock, pictures, tables
from benchmarks.quality.images import Crossings, Noisy, Slant
from benchmarks.quality.tasks import TASKS

import elites as el
from elites.search import Anywhere, AskTell, Haar, Typical

TASK, SEEDS = "needle, 64", (0, 1, 2)


def cell(method, best, *, task=TASK, seed=0, budget=500, shell=1.0):
    return {"task": task, "method": method, "seed": seed, "budget": budget, "best": best, "shell": shell}


def complete(method, seeds=SEEDS, most=10_000):
    return [cell(method, 0.0, seed=s, budget=b) for s in seeds for b in cells.budgets(TASKS[TASK], most)]


def missing(have, methods=("Elites", "best of N"), most=10_000):
    return cells.missing(have, [TASK], methods, SEEDS, most)


def test_what_is_there_is_not_run_again_and_the_rest_is():
    assert missing([]) == [(TASK, who, SEEDS, 10_000) for who in ("Elites", "best of N")]
    assert missing(complete("Elites")) == [(TASK, "best of N", SEEDS, 10_000)]
    assert missing(complete("Elites", seeds=(0, 2)), ["Elites"]) == [(TASK, "Elites", (1,), 10_000)]
    assert missing(complete("Elites") + complete("best of N")) == []


def test_one_missing_budget_is_enough_to_run_a_seed_again():
    have = [c for c in complete("Elites") if (c["seed"], c["budget"]) != (1, 2_000)]
    assert missing(have, ["Elites"]) == [(TASK, "Elites", (1,), 10_000)]
    assert missing(complete("Elites"), ["Elites"], most=50_000) == [(TASK, "Elites", SEEDS, 50_000)]


def test_what_does_not_fit_the_task_is_no_job():
    assert missing([], ["Optuna CMA, held", "SES, published"]) == []  # two dimensions at most; images alone


def test_cells_of_another_task_do_not_count():
    assert len(missing([c | {"task": "ripples, 64"} for c in complete("Elites")], ["Elites"])) == 1


def test_a_run_against_the_clock_is_not_repeated_at_the_same_limit(tmp_path, capsys):
    row = {"task": "digits size", "method": "Elites", "seed": 0, "budget": 8.0}
    asked = ["digits size"], ["Elites"], [0, 1]
    assert clock.missing([row], *asked, 8.0) == [("digits size", "Elites", 1)]
    assert len(clock.missing([row], *asked, 4.0)) == 2
    told = row | {"best": -20.0, "nfe": 900, "seconds": 4.5}
    (tmp_path / "clock.jsonl").write_text(json.dumps(told) + "\n")
    clock.show(cells.load(tmp_path / "clock.jsonl"), 8.0)
    assert "| Elites | -20 | 900 | 200 |" in capsys.readouterr().out


def test_the_recorder_has_the_best_within_each_budget():
    seen = []

    def counting(z):
        rewards = z[:, 0].clamp(-1, 1) + len(seen)  # every step beats the one before
        seen.extend(rewards.tolist())
        return rewards

    recorder = cells.Recorder((20, 40, 41, 1_000))
    target = el.Target(el.priors.OneStep(lambda z: z, (3,)), counting, batch=8)
    el.run(el.RandomSearch(8), target, el.Budget(nfe=400), on=[recorder], probe=None)
    got = {budget: float(best.reward[0]) for budget, best in recorder.close().items()}
    assert got == {20: max(seen[:16]), 40: max(seen[:40]), 41: max(seen[:40]), 1_000: max(seen)}
    assert len(set(got.values())) == 3


def test_a_run_has_a_cell_for_each_budget_and_the_best_never_falls():
    found = cells.group(("needle, 2", "best of N", (0, 1), 2_000))
    assert [(c["seed"], c["budget"]) for c in found] == [(0, 500), (0, 2_000), (1, 500), (1, 2_000)]
    for early, late in (found[:2], found[2:]):
        assert early["best"] <= late["best"] <= 0
    assert cells.missing(found, ["needle, 2"], ["best of N"], [0, 1], 2_000) == []


@pytest.mark.parametrize("shells, expected", [((1.0, 0.95), True), ((1.0, 1.2), False), ((0.8, 1.0), False)])
def test_one_winner_off_the_shell_is_enough_to_be_off(shells, expected):
    assert tables.typical([cell("Elites", 0.0, shell=s) for s in shells]) is expected


def test_best_of_n_is_the_prior_and_two_dimensions_have_a_ball():
    assert tables.typical([cell("best of N", 0.0, shell=0.6)])
    assert tables.typical([cell("Elites", 0.0, task="needle, 2", shell=0.01)])
    assert not tables.typical([cell("Elites", 0.0, task="needle, 2", shell=4.7)])


def verdict(ours, theirs, **more):
    """The verdict where best of N has 0 at first, and a search of others 10 at last."""
    have = [cell("best of N", 0.0), cell("pycma, held", 10.0, budget=2_000)]
    have += [cell("Elites", ours), cell("EvoTorch SNES, held", theirs, **more)]
    return tables.winners(have)[TASK, 500]


def test_a_tie_is_a_thousandth_of_the_range_of_the_task():
    assert tables.TIE == 1e-3
    near, far = verdict(4.991, 5.0), verdict(4.989, 5.0)
    assert near["Elites first"] and near["ours first"] and not near["strict"]
    assert not far["Elites first"] and not far["ours first"]
    assert verdict(5.001, 5.0)["strict"]
    assert near["rival"] == ("EvoTorch SNES, held", 5.0)


def test_who_left_the_shell_wins_nothing():
    found = verdict(1.0, 5.0, shell=2.0)
    assert found["rival"] == ("best of N", 0.0) and found["Elites first"] and found["strict"]


def test_another_of_ours_may_be_first():
    have = [cell("best of N", 0.0), cell("EvoTorch SNES, held", 5.0), cell("Elites", 4.0), cell("Auto", 6.0)]
    found = tables.winners(have)[TASK, 500]
    assert found["ours first"] and not found["Elites first"] and found["leader"] == ("Auto", 6.0)


def test_the_median_of_seeds_decides():
    have = [cell("best of N", v, seed=s) for s, v in enumerate((0.0, 1.0, 9.0))]
    have += [cell("Elites", v, seed=s) for s, v in enumerate((2.0, 3.0, 0.0))]
    assert tables.winners(have)[TASK, 500]["strict"]


def test_a_curve_is_the_share_of_the_way_that_is_left():
    have = [cell("best of N", 0.0), cell("Elites", 6.0), cell("Auto", 8.0, budget=2_000)]
    have += [cell("pycma, held", 99.0, shell=3.0), cell("zero order", -5.0)]
    left, start, end = pictures.gaps(have)
    assert (start, end) == (0.0, 8.0)
    assert left["Elites", 500] == (0.25, True)
    assert left["Auto", 2_000] == (pictures.FLOOR, True)
    assert left["pycma, held", 500] == (pictures.FLOOR, False) and left["zero order", 500] == (1.0, True)


def test_where_all_left_the_shell_there_is_no_way():
    assert pictures.gaps([cell("best of N", 1.0, shell=9.0)]) == ({}, 1.0, 1.0)


def test_spectral_evolution_learns_the_low_band_and_keeps_the_rest():
    optimiser = peers.spectral(64, 10, 3)
    rows = Haar(1).rows(8).double()
    lows, rests = [], []
    for _ in range(5):
        z = torch.from_numpy(optimiser.ask()).reshape(-1, 8, 8)
        low = rows @ z @ rows.T
        lows.append(low)
        rests.append(z - rows.T @ low @ rows)
        optimiser.tell(z.reshape(10, -1).numpy(), -low[:, 0, 0].numpy())
    rest = torch.cat(rests)
    assert torch.allclose(rest, rest[:1].expand_as(rest), atol=1e-6) and rest[0].square().mean() > 0.3
    assert (torch.cat(lows).std(0) > 0.1).all()
    assert lows[-1][:, 0, 0].mean() > lows[0][:, 0, 0].mean() + 1


def test_spectral_evolution_runs_and_repeats():
    target = el.Target(el.priors.OneStep(lambda z: z, (1, 8, 8)), lambda z: z[:, 0, 0, 0], batch=10)
    method = AskTell(peers.spectral, 10, guard=Anywhere(), restart=None)
    first, one, two = (el.run(method, target, el.Budget(rewards=n), 1, probe=None) for n in (10, 200, 200))
    assert first.best.reward < one.best.reward == two.best.reward


def test_pyribs_runs_repeats_and_climbs():
    pytest.importorskip("ribs")
    target = el.Target(el.priors.OneStep(lambda z: z, (64,)), lambda z: z[:, 0], batch=16)
    method = AskTell(peers.pyribs(), 16, guard=Typical())
    first, one, two = (el.run(method, target, el.Budget(rewards=n), 2, probe=None) for n in (16, 320, 320))
    assert first.best.reward < one.best.reward == two.best.reward
    assert one.best.reward <= 8.001  # on the shell no coordinate is above sqrt(64)


@pytest.mark.parametrize("name", TASKS)
def test_every_reward_of_every_task_is_a_number_on_samples_of_the_prior(name):
    task, ids = TASKS[name], range(2)
    prior, stream = task.prior(), el.Stream(11)
    target = el.Target(prior, task.reward(0), walk=el.Plain(steps=3), batch=2)
    samples = target.evaluate(prior.noise(stream, ids), stream, ids)
    objects = prior.decode(samples.x)
    others = [make(0)(objects) for make in (task.truth, task.judge) if make is not None]
    for values in (samples.reward, task.distance()(objects), *others):
        assert values.shape == (2,) and torch.isfinite(torch.as_tensor(values)).all()
    assert not target.failures
    assert list(task.budgets) == sorted(set(task.budgets))


def pictures_of(n):
    return el.Stream(4).uniform(range(n), (1, 8, 8))


def test_noise_of_a_reward_is_drawn_anew_at_every_call_and_is_its_seeds_own():
    x = pictures_of(12)
    noisy, twin = (Noisy(lambda x: x.flatten(1).mean(1), 0.5, 3) for _ in range(2))
    first, second = noisy(x), noisy(x)
    assert (first - second).abs().median() > 0.05
    assert torch.equal(twin(x), first) and torch.equal(twin(x), second)


def test_slant_is_a_correlation():
    step = torch.zeros(3, 1, 8, 8)
    for i in range(8):
        step[0, 0, i, i] = step[1, 0, i, 7 - i] = step[2, 0, i, 3] = 1
    assert torch.allclose(Slant()(step), torch.tensor([1.0, -1.0, 0.0]), atol=1e-3)


def test_crossings_are_counted_along_rows_and_columns():
    square = torch.zeros(2, 1, 8, 8)
    square[0, 0, 2:5, 3:6] = 1
    assert Crossings()(square).tolist() == [12.0, 0.0]


@pytest.mark.parametrize("size", [0.5, 2.0])
def test_noise_of_a_reward_has_the_variance_that_was_asked_for(size):
    n, x = 4_000, pictures_of(4_000)
    off = (Noisy(lambda x: torch.zeros(len(x)), size, 1)(x) / size).double()
    assert abs(off.mean()) < 4 / n**0.5
    assert abs(off.square().mean() - 1) < 4 * (2 / n) ** 0.5
    assert abs((off < 0.6745).double().mean() - 0.75) < 4 * (0.75 * 0.25 / n) ** 0.5


def test_methods_are_compared_on_the_seeds_that_both_have():
    """The other seed is an easy one, which a rival alone has run."""
    have = [cell("best of N", -9.0, seed=s) for s in (0, 1)]
    have += [cell("Elites", 1.0), cell("pycma, held", 0.5), cell("pycma, held", 50.0, seed=1)]
    ((_, found),) = tables.winners(have).items()
    assert found["Elites first"]
    assert found["strict"]
    have += [cell("Elites", 2.0, seed=1)]
    ((_, found),) = tables.winners(have).items()
    assert not found["Elites first"]
