"""Runs beside one another: what is said of them is what stands in their folders."""

import itertools
import json

import numpy as np
import pytest
import torch
from helpers import hill, on_humps
from test_cli import elites, sentence

import elites as el
from elites.compare import compare
from elites.comparison import compared
from elites.diagnose import expected_best, interval
from elites.ledger import read
from elites.store import Folder

NFE = 4  # of a prior sample of `on_humps`


def made(path, method, seed, nfe=400, reward=hill, probe=None, **more):
    return el.run(
        method,
        on_humps(reward=reward),
        el.Budget(nfe=nfe),
        seed,
        on=[el.Typicality(), el.Checkpoint(path)],
        probe=probe,
        **more,
    )


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Four seeds of a search and of the baseline, with unequal budgets, and one that was interrupted."""
    place = tmp_path_factory.mktemp("runs")
    results = {}
    for seed in range(4):
        results[f"e{seed}"] = made(place / f"e{seed}", el.Elites(8), seed, nfe=400)
        results[f"r{seed}"] = made(place / f"r{seed}", el.RandomSearch(8), seed, nfe=640)
    steps = itertools.count()
    results["cut"] = made(place / "cut", el.Elites(8), 9, stop=lambda: next(steps) == 1)
    return place, results


def test_the_lines_are_those_of_the_results(runs):
    place, results = runs
    found = compared([place / name for name in results])
    assert [line.run for line in found.runs] == list(results)
    for line in found.runs:
        result = results[line.run]
        assert line.reward == pytest.approx(float(result.best.reward))
        assert (line.nfe, line.seed, line.failures) == (result.meter.nfe, result.seed, 0)
        assert line.shell == pytest.approx(result.history[-1]["shell"])
        assert line.white == pytest.approx(result.history[-1]["white"])
    assert found.runs[-1].status == "interrupted"
    assert any("cut" in note and "Not ended" in note for note in found.notes)


def test_gains_are_over_every_prior_sample_there_is(runs):
    place, results = runs
    found = compared([place / name for name in results])
    rewards = [row["reward"] for s in range(4) for row in read(place / f"r{s}" / "ledger.sqlite")]
    assert len(rewards) == 4 * 640 // NFE
    for line in found.runs:
        assert line.over_prior.estimate == pytest.approx(line.reward - np.mean(rewards))
        assert line.over_prior.low < line.over_prior.estimate < line.over_prior.high
    first = found.runs[0]
    assert first.n == results["e0"].meter.nfe // NFE
    assert first.over_best.estimate == pytest.approx(first.reward - expected_best(rewards, first.n))
    assert not first.over_best.known  # 640 samples for a best of 100
    assert next(line for line in found.runs if line.run == "r0").n == 0


def test_unequal_budgets_are_said_and_cut(runs):
    place, results = runs
    found = compared([place / name for name in results])
    assert found.evaluations == [384]
    assert any("Unequal budgets: 384 to 640" in note for note in found.notes)
    for line in found.runs:
        rows = [row["best"] for row in results[line.run].history if row["nfe"] <= 384]
        assert line.equal == pytest.approx(rows[-1])


def test_methods_are_grouped_over_seeds_and_paired_by_them(runs):
    place, results = runs
    found = compared([place / name for name in results])
    ours, base = (next(g for g in found.groups if g.method == name) for name in ("Elites", "RandomSearch"))
    best = np.array([float(results[f"e{s}"].best.reward) for s in range(4)])
    assert ours.seeds == base.seeds == [0, 1, 2, 3]  # without the one that was interrupted
    assert (ours.mean, ours.spread) == pytest.approx((best.mean(), best.std(ddof=1)))
    assert ours.level == interval(best)
    (pair,) = found.against
    at = {line.run: line.equal for line in found.runs}
    gaps = [at[f"e{s}"] - at[f"r{s}"] for s in range(4)]
    assert ours.equal == interval([at[f"e{s}"] for s in range(4)])
    assert base.equal == interval([at[f"r{s}"] for s in range(4)])
    assert base.equal != base.level
    assert (pair.method, pair.other, pair.gain) == ("Elites", "RandomSearch", interval(gaps))
    assert pair.wins.estimate == np.mean([g > 0 for g in gaps])


def test_one_seed_twice_counts_once_and_two_seeds_have_no_interval(runs, tmp_path):
    place, _ = runs
    made(tmp_path / "again", el.Elites(8), 1)
    found = compared([place / "e0", place / "e1", tmp_path / "again"])
    (group,) = found.groups
    assert group.seeds == [0, 1]
    assert not group.level.known
    assert any("repeats seed 1" in note for note in found.notes)


def test_too_small_a_prior_gives_no_best_of_n(tmp_path):
    made(tmp_path / "alone", el.Elites(8), 0, nfe=2000, probe=el.Probe(16))
    found = compared([tmp_path / "alone"])
    (line,) = found.runs
    probe = [r["reward"] for r in read(tmp_path / "alone" / "ledger.sqlite") if r["run_step"] == 0 and not r["repeat"]]
    assert line.over_prior.estimate == pytest.approx(line.reward - np.mean(probe))
    assert line.over_prior.n == 16
    assert line.n == 0
    assert any("pay for up to" in note and "16 were scored" in note for note in found.notes)


def test_another_reward_of_the_same_name_is_another_target(tmp_path):
    def hill(x):
        return -x[:, 0]

    hill.__qualname__ = "hill"
    made(tmp_path / "a", el.RandomSearch(8), 0, probe=el.Probe(8))
    made(tmp_path / "b", el.Elites(8), 0, probe=el.Probe(8), reward=hill)
    found = compared([tmp_path / "a", tmp_path / "b"])
    assert any("compared apart" in note for note in found.notes)
    assert not found.against


def test_a_noisy_reward_is_said(tmp_path):
    draws = np.random.Generator(np.random.Philox(0))

    def wobbly(x):
        return x[:, 0] + torch.from_numpy(draws.standard_normal(len(x), dtype=np.float32))

    made(tmp_path / "n", el.Elites(8), 0, reward=wobbly, nfe=2000, probe=el.Probe())
    assert any("reevaluated" in note for note in compared([tmp_path / "n"]).notes)


def test_the_command_prints_tables_and_json(runs, tmp_path, capsys):
    place, results = runs
    names = [place / name for name in results]
    _, out, _ = elites("compare", *names, "--json", cwd=tmp_path, check=0)
    told = json.loads(out)
    assert told["runs"][0]["reward"] == pytest.approx(float(results["e0"].best.reward))
    assert told["runs"][0]["over_best"]["low"] is None
    assert set(told) == {"runs", "groups", "against", "evaluations", "notes"}
    compare(names)
    out = capsys.readouterr().out
    assert "Elites over RandomSearch" in out
    assert "interrupted" in out
    assert max(map(len, out.split("Unequal")[0].splitlines())) <= 80


def test_what_is_no_run_is_one_sentence(tmp_path):
    _, _, err = elites("compare", tmp_path, cwd=tmp_path, check=2)
    assert "no run folder" in sentence(err)
    with pytest.raises(el.InputError, match="nothing to compare"):
        compared([])


def test_a_result_of_nothing_neither_ends_a_list_nor_a_comparison(tmp_path):
    made(tmp_path / "a", el.RandomSearch(8), 0, nfe=64)
    nothing = dict.fromkeys(("stopped", "best", "nfe", "failures", "seconds", "evidence"))
    (tmp_path / "a" / "result.json").write_text(json.dumps(nothing))
    history = tmp_path / "a" / "history.jsonl"
    history.write_text(history.read_text() + '{"step": 9, "best": NaN}\n')
    assert "damaged" in elites("list", ".", cwd=tmp_path, check=0)[1]
    (line,) = json.loads(elites("list", ".", "--json", cwd=tmp_path, check=0)[1], parse_constant=pytest.fail)
    assert line["best"] is None
    assert compared([tmp_path / "a"]).runs[0].failures == 0
    (tmp_path / "a" / "result.json").write_text("[]")
    assert "damaged" in elites("list", ".", cwd=tmp_path, check=0)[1]
    assert not Folder(tmp_path / "a").finished
