"""The ledger: what is in it, when, and what a run that goes on makes of it."""

import json
import math
import random
import re
import sqlite3
import struct
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from helpers import assert_same, bits, hill, on_flow, on_humps
from ledgers import (
    BUDGET,
    METHOD,
    Named,
    Reward,
    goes_on,
    held,
    interrupt,
    key_of,
    kill,
    killed,
    stopped,
    target,
    written,
)

import elites as el
from elites.account import Account, Entry
from elites.answers import Scored, digest
from elites.ledger import Ledger, read
from elites.rewards import per_sample
from elites.salvage import rows
from elites.templates import Search


def f32(value):
    return struct.pack("<f", value)


def test_every_evaluation_is_there_once_under_its_key_with_the_reward_that_was_told(tmp_path):
    told = []
    result = el.run(METHOD, target(), BUDGET, 7, on=[el.Checkpoint(tmp_path), told.append], probe=el.Probe(8))
    found = {key_of(row): row for row in written(tmp_path)}
    want = {(0, 0, 0, i, 0, 0): v for i, v in enumerate(told[0].info.rewards)}
    want |= {(0, 0, 0, i, 0, 1): v for i, v in enumerate(told[0].info.rewards[:2])}  # scored twice
    want |= {(e.step, 0, e.step, i, 0, 0): v for e in told[1:5] for i, v in enumerate(e.info.rewards)}
    assert found.keys() == want.keys()
    assert len(written(tmp_path)) == len(found) == result.meter.rewards == 8 + 2 + 32
    for key, value in want.items():
        row = found[key]
        if torch.isfinite(value):
            assert (row["state"], row["reason"]) == ("done", None)
            assert f32(row["reward"]) == f32(float(value))
            assert row["reward"] == float(value)
        else:
            assert (row["state"], row["reward"], row["reason"]) == ("failed", None, "it is NaN")
    failed = [(k[2], k[3]) for k, row in found.items() if row["reason"] and not k[-1]]
    assert sorted(failed) == sorted((f.step, f.candidate) for f in result.failures) != []
    for sample, (step, candidate) in zip(result.samples.x, result.samples.keys.tolist(), strict=True):
        assert found[step, 0, step, candidate, 0, 0]["digest"] == digest(sample).hex()
    digests = Counter(row["digest"] for row in found.values())
    assert sorted(digests.values()) == [1] * 38 + [2] * 2
    assert found[0, 0, 0, 1, 0, 0]["digest"] == found[0, 0, 0, 1, 0, 1]["digest"]


def test_terms_and_tries_are_written(tmp_path):
    tries = Counter()

    def reward(x):
        answers = []
        for v in x:
            tries[digest(v)] += 1
            odd = int(1000 * float(v[0])) % 2
            answers.append(OSError("busy") if odd and tries[digest(v)] < 3 else Scored(v[0], {"a": v[1], "b": 2.0}))
        return answers

    t = target(Named(reward), on_error=el.Retry(2))
    result = el.run(METHOD, t, el.Budget(rewards=100), 3, on=[el.Checkpoint(tmp_path)], probe=None)
    found = written(tmp_path)
    assert {row["calls"] for row in found} == {1, 3}
    assert all(row["calls"] == tries[bytes.fromhex(row["digest"])] for row in found)
    assert sum(row["calls"] for row in found) == result.meter.rewards == sum(tries.values())
    assert all(row["terms"].keys() == {"a", "b"} and row["terms"]["b"] == 2 for row in found)
    for sample, key in zip(result.samples.x, result.samples.keys.tolist(), strict=True):
        row = next(r for r in found if [r["step"], r["candidate"]] == key)
        assert row["terms"]["a"] == float(sample[1])


class Told(Search):
    """A search that looks, when it is told, at what another connection sees."""

    population = 8

    def __init__(self, path):
        self.path, self.seen = path, 0

    def init(self, target, stream):
        return torch.zeros(1)

    def ask(self, state, stream, ids):
        return stream.normal(ids, (6,))

    def tell(self, state, ids, rewards, stream):
        found = {key_of(row): row for row in read(self.path)}
        for i, value in zip(ids, rewards.tolist(), strict=True):
            row = found[stream.step, 0, stream.step, i, 0, 0]
            assert (row["state"], row["reward"]) == (("failed", None) if value == -math.inf else ("done", value))
            self.seen += 1
        return state


@pytest.mark.parametrize("each", [True, False])
def test_no_reward_is_told_that_others_cannot_read(each, tmp_path):
    method = Told(tmp_path / "ledger.sqlite")
    el.run(method, target(Reward(each=each).reward), BUDGET, on=[el.Checkpoint(tmp_path)])
    assert method.seen == 32


def test_a_reward_that_looks_sees_all_that_have_ended_and_what_is_in_flight(tmp_path):
    states = []

    @per_sample
    def reward(x):
        states.append(Counter(row["state"] for row in written(tmp_path)))
        return x[0]

    el.run(METHOD, target(reward), el.Budget(steps=2), on=[el.Checkpoint(tmp_path)], probe=None)
    assert [s["done"] for s in states] == list(range(16))
    assert [s["pending"] for s in states] == [3, 2, 1, 1] * 4  # a batch of 4 is scored in chunks of 3 and 1


def test_another_process_reads_while_the_run_writes(tmp_path):
    query, seen = "SELECT count(*), sum(state) FROM evaluation", []
    code = f"import sqlite3; print(*sqlite3.connect({str(tmp_path / 'ledger.sqlite')!r}).execute({query!r}))"

    @per_sample
    def reward(x):
        if len(written(tmp_path, "done")) == 9:
            seen.append(subprocess.check_output([sys.executable, "-ISc", code], text=True))
        return x[0]

    el.run(METHOD, target(reward), el.Budget(steps=2), on=[el.Checkpoint(tmp_path)], probe=None)
    assert seen == ["(11, 9)\n"]


FINAL = el.Final(el.Plain(steps=5), top=3)
METHODS = {  # method, target, options of the run
    "elites": (METHOD, on_humps, {"final": FINAL}),
    "random search": (el.RandomSearch(5), on_humps, {"final": FINAL}),
    "chains": (el.PCN(6, temperature=0.5, burn=3), on_flow, {}),
    "particles": (el.FeynmanKac(6, 4), on_flow, {}),
    "previews": (el.Previews(el.Elites(4), el.search.EarlyGuess((0.25,))), on_humps, {"final": FINAL}),
    "decoding": (el.ValueDecoding(2, 3, 4), on_flow, {}),
    "ascent": (el.NoiseAscent(4), on_humps, {}),  # a gradient takes the reward again
}


@pytest.mark.parametrize("each", [True, False])
@pytest.mark.parametrize("name", METHODS)
def test_a_run_stopped_at_any_evaluation_goes_on_to_the_same_bits_and_repeats_none(name, each, tmp_path):
    method, make, options = METHODS[name]
    options = {"probe": el.Probe(8), **options}
    whole = lambda reward: target(reward.reward, make, steps=6 if name == "previews" else 3)
    clean = Reward(each=each)
    want = el.run(method, whole(clean), BUDGET, 7, **options)
    calls = range(1, clean.calls + 1)
    for at in calls[::5] if name == "elites" else random.Random(name).sample(calls, 3):
        folder, first, second = tmp_path / f"{at}", Reward(at, interrupt, each), Reward(each=each)
        stopped(folder, method, whole(first), seconds=at % 2, **options)
        assert_same(el.resume(folder, method, whole(second), **options), want)
        assert first.calls == at
        if name != "ascent":
            assert first.answered + second.answered == clean.answered
        assert {row["state"] for row in written(folder)} <= {"done", "failed"}


@pytest.mark.parametrize("each", [True, False])
def test_a_run_killed_at_any_evaluation_goes_on_to_the_same_bits_and_repeats_none(each, tmp_path):
    for at in range(2, 36, 7) if each else range(2, 18, 4):
        folder = tmp_path / f"{at}"
        killed(folder, Reward(at, kill, each).reward, seconds=at % 2)
        assert held(folder).total() == (at - 1 if each else sum(1 for row in written(folder) if row["ended"]))
        goes_on(folder, each=each)
        with sqlite3.connect(folder / "ledger.sqlite") as db:
            assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.parametrize("value", [-0.0, 1e-45, 16777217.0, 3.4028234663852886e38, -1e-3])
def test_every_number_comes_back_to_the_bit(value, tmp_path):
    def reward(x):
        calls.append(len(x))
        if len(calls) == 9:
            raise KeyboardInterrupt
        return torch.where(x[:, 1] > 0, x[:, 0], value)

    calls, method, t = [], el.PCN(6), target(Named(reward))
    stopped(tmp_path / "run", method, t, seconds=9, probe=None)
    got = el.resume(tmp_path / "run", method, t, probe=None)
    want = el.run(method, t, BUDGET, 7, probe=None)
    assert any(f32(v) == f32(value) for v in want.state.reward.tolist())
    assert bits(got.state) == bits(want.state)


def test_what_is_written_comes_back(tmp_path):
    book = Ledger(tmp_path / "l.sqlite")
    entries = [
        Entry((1, 0, 1, 0, 0, 0), 0.5, None, 3, 20, b"d" * 16, {"a": 0.1, "b": math.inf}),
        Entry((1, 0, 1, 1, 0, 0), -math.inf, "OSError: no file \udcff\u2603\0end", latent=bytes(100_000)),
        Entry((1, 5, 2**40, 2**50, 7, 300), -0.0),
    ]
    book.settle(entries)
    book.pending([e.key for e in entries])  # as where a gradient takes the reward again
    book.begin(1)
    assert book.known([e.key for e in entries]) == {e.key: e for e in entries}
    assert entries[1].reason == "OSError: no file \\udcff\u2603\0end"
    assert book.failed() == [(entries[1].key, entries[1].reason, bytes(100_000))]
    book.close()
    assert {row[:6] for row in rows(tmp_path / "l.sqlite")} == {e.key for e in entries}


def test_an_object_that_is_scored_often_in_a_step_has_a_key_each_time(tmp_path):
    account = Account()
    assert list(account.keys(el.Stream(0), [5, 3])[1:]) == [(0, 0, 0, 3, 0, 0)]  # nothing is written: not counted
    account.book = Ledger(tmp_path / "l.sqlite")
    keys = [account.keys(el.Stream(0), [5, 3])[0] for _ in range(600)]
    account.book.close()
    assert [key[-1] for key in keys] == list(range(600))


def test_the_mean_of_a_term_does_not_depend_on_the_order_of_answers():
    values, means = [1e16, 1.0, -1e16, 0.1, 3e-20, 7e9, -0.3, 1e-3] * 3, set()
    for seed in range(20):
        account = Account()
        random.Random(seed).shuffle(values)
        account.settle([Entry((1, 0, 1, i, 0, 0), 0.0, terms={"a": v}) for i, v in enumerate(values)], 1)
        means.add(account.terms()["term.a"])
    assert means == {math.fsum(values) / len(values)}


def test_means_of_terms_are_the_same_bits_when_some_come_from_the_ledger(tmp_path):
    def reward(x):
        calls.append(0)
        if len(calls) == 14:
            raise KeyboardInterrupt
        return Scored(x[:, 0], {"a": x[:, 1], "b": [1e9 * float(v) for v in x[:, 2]]})

    calls, t = [], target(Named(reward))
    stopped(tmp_path / "run", METHOD, t, seconds=9)
    got = el.resume(tmp_path / "run", METHOD, t)
    want = el.run(METHOD, t, BUDGET, 7)
    means = [json.dumps([[row["term.a"], row["term.b"]] for row in r.history]) for r in (got, want)]
    assert means[0] == means[1]


def test_two_runs_of_one_process_keep_apart(tmp_path):
    inner = []

    @per_sample
    def reward(x):
        if not inner:
            inner.append(el.run(METHOD, target(), BUDGET, 1, on=[el.Checkpoint(tmp_path / "b")]))
        return hill(x[None])[0]

    t = target(reward)
    a, c = (el.run(METHOD, t, BUDGET, 2, on=[el.Checkpoint(tmp_path / name)]) for name in "ac")
    assert_same(inner[0], el.run(METHOD, target(), BUDGET, 1))
    assert_same(a, c)
    assert len(written(tmp_path / "b")) == inner[0].meter.rewards
    assert len(written(tmp_path / "a")) == a.meter.rewards
    assert held(tmp_path / "a") == held(tmp_path / "c")
    assert not held(tmp_path / "a") & held(tmp_path / "b")


def test_the_page_names_every_column_and_its_queries_run(tmp_path):
    page = (Path(__file__).parents[1] / "docs" / "ledger.md").read_text()
    el.run(METHOD, target(), BUDGET, 7, on=[el.Checkpoint(tmp_path)])
    with sqlite3.connect(tmp_path / "ledger.sqlite") as db:
        columns = [row[1] for row in db.execute("PRAGMA table_info(evaluation)")]
        table = page.split("| column | |")[1].split("\n\n")[0]
        named = [
            name for cell in re.findall(r"^\| ([^|]*) \|", table, re.MULTILINE) for name in re.findall(r"\w+", cell)
        ]
        assert sorted(named) == sorted(columns)
        best, reasons, steps, objects = (
            db.execute(query).fetchall() for query in re.findall(r"```sql\n(.*?)```", page, re.DOTALL)[0].split("\n\n")
        )
    done = sorted((row["reward"] for row in written(tmp_path, "done")), reverse=True)
    assert [reward for *_, reward, _ in best] == done[:10]
    assert reasons == [("it is NaN", len(written(tmp_path, "failed")))]
    assert [step for step, *_ in steps] == [0, 1, 2, 3, 4]
    assert [n for _, n, *_ in objects] == [2] * 4  # the probe scores four objects twice
