"""The ledger of a run from the command line: failures, retry, export and repair."""

import csv
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time

import pytest
from safetensors.torch import load_file
from test_cli import elites

STUDY = """
import os
from pathlib import Path
import elites as el

down = Path("down")

@el.per_sample
def reward(x):
    done = len(Path("calls.log").read_text()) if Path("calls.log").exists() else 0
    if down.exists() and float(x[1]) > {above} and done >= {after}:
        raise ConnectionError("no licence")
    with open("calls.log", "a") as f:
        f.write(".")
    return x[0]

prior = el.priors.mixture([[2.0, 0.0, 1.0], [-2.0, 1.0, 0.0]], 0.3)
target = el.Target(prior, reward, walk=el.Plain(steps=4))
method = el.Elites(population=16)
budget = el.Budget(steps={steps})
probe = None
"""


@pytest.fixture
def place(tmp_path):
    def put(steps=4, above=-9.0, after=0):
        (tmp_path / "study.py").write_text(STUDY.format(steps=steps, above=above, after=after))
        return tmp_path

    return put


def calls(folder):
    return len((folder / "calls.log").read_text())


def test_failures_are_listed_by_reason_with_their_keys(place):
    cwd = place(above=1.15)
    (cwd / "down").touch()
    elites("run", "study.py", "--out", "r", "-q", cwd=cwd, check=0)
    _, out, _ = elites("failures", "r", "--json", cwd=cwd, check=0)
    rows = [json.loads(line) for line in out.splitlines()]
    assert 0 < len(rows) < 30
    assert {row["reason"] for row in rows} == {"ConnectionError: no licence"}
    _, out, _ = elites("failures", "r", cwd=cwd, check=0, env={"COLUMNS": "200"})
    assert f"{rows[0]['step']}:{rows[0]['candidate']}" in out
    assert f" {len(rows)} " in out


def test_a_run_without_failures_says_so(place):
    cwd = place()
    elites("run", "study.py", "--out", "r", "-q", cwd=cwd, check=0)
    assert elites("failures", "r", cwd=cwd, check=0)[1] == "Nothing failed.\n"


def test_an_outage_that_is_mended_leaves_no_trace(place):
    """The limit ends the run, retry scores what failed, and resuming ends where a run without an outage ends."""
    cwd = place(after=64 + 20)
    elites("run", "study.py", "--out", "want", "-q", cwd=cwd, check=0)
    once = calls(cwd)
    assert once == 64
    (cwd / "down").touch()
    code, _, err = elites("run", "study.py", "--out", "r", "-q", cwd=cwd)
    assert code == 1
    assert "9 of 16 objects of step 2 have failed" in err
    assert "elites retry r" in err
    assert calls(cwd) == once + 20
    _, out, _ = elites("retry", "r", cwd=cwd, check=0)
    assert out.startswith("0 of 9 failed evaluations have a reward now; 9 failed again")
    (cwd / "down").unlink()
    _, out, _ = elites("retry", "r", cwd=cwd, check=0)
    assert out == "9 of 9 failed evaluations have a reward now.\ngo on with: elites resume r\n"
    elites("resume", "r", "-q", cwd=cwd, check=0)
    assert calls(cwd) == 2 * once  # nothing twice
    want, found = (load_file(cwd / name / "best.safetensors") for name in ("want", "r"))
    assert all((want[name] == found[name]).all() for name in want)


def test_retry_on_workers(place):
    cwd = place(above=1.15)
    (cwd / "down").touch()
    elites("run", "study.py", "--out", "r", "-q", cwd=cwd, check=0)
    (cwd / "down").unlink()
    before = calls(cwd)
    _, out, _ = elites("retry", "r", "--workers", "2", cwd=cwd, check=0)
    n = int(out.split()[0])
    assert n > 0
    assert out == f"{n} of {n} failed evaluations have a reward now.\n"
    assert calls(cwd) == before + n


def test_export_has_every_evaluation_in_every_format(place):
    parquet = pytest.importorskip("pyarrow.parquet")
    cwd = place(above=1.15)
    (cwd / "down").touch()
    elites("run", "study.py", "--out", "r", "-q", cwd=cwd, check=0)
    lines = [json.loads(line) for line in elites("export", "r", cwd=cwd, check=0)[1].splitlines()]
    assert elites("export", "r", "--parquet", cwd=cwd, check=0)[1] == "r/evaluations.parquet\n"
    elites("export", "r", "--csv", "--out", "a.csv", cwd=cwd, check=0)
    assert len(lines) == 64
    assert parquet.read_table(cwd / "r" / "evaluations.parquet").to_pylist() == lines
    with (cwd / "a.csv").open() as f:
        rows = list(csv.DictReader(f))
    assert [row["reward"] for row in rows] == ["" if line["reward"] is None else str(line["reward"]) for line in lines]
    assert {line["run"] for line in lines} == {"r"}
    assert {line["state"] for line in lines} == {"done", "failed"}


def test_export_while_the_run_goes_on(place):
    cwd = place(steps=400)
    with (cwd / "study.py").open("a") as f:
        f.write(
            "\nimport time\ninner = reward\ntarget.reward = el.per_sample(lambda x: (time.sleep(0.01), x[0])[1])\n"
        )
    run = subprocess.Popen([sys.executable, "-m", "elites", "run", "study.py", "--out", "r", "-q"], cwd=cwd)
    try:
        found = 0
        patience = time.monotonic() + 60
        while found < 20 and time.monotonic() < patience:
            time.sleep(0.2)
            if (cwd / "r" / "ledger.sqlite").exists():
                _, out, _ = elites("export", "r", cwd=cwd)
                found = sum(json.loads(line)["state"] == "done" for line in out.splitlines())
        assert found >= 20
        assert run.poll() is None
    finally:
        run.send_signal(signal.SIGKILL)
        run.wait()


def test_a_damaged_ledger_is_refused_and_repaired(place):
    cwd = place(steps=40)
    elites("run", "study.py", "--out", "r", "-q", cwd=cwd, check=0)
    file = cwd / "r" / "ledger.sqlite"
    data = bytearray(file.read_bytes())
    middle = len(data) // 2 // 4096 * 4096
    data[middle : middle + 4096] = os.urandom(4096)
    file.write_bytes(data)
    code, _, err = elites("resume", "r", "--nfe", "99999", cwd=cwd)
    assert code == 1
    assert "is damaged" in err
    assert "elites repair r" in err
    assert file.read_bytes() == data
    _, out, _ = elites("repair", "r", cwd=cwd, check=0)
    saved = int(out.split()[0])
    assert 500 < saved < 640
    with sqlite3.connect(file) as db:
        assert db.execute("SELECT count(*) FROM evaluation").fetchone() == (saved,)
    elites("failures", "r", cwd=cwd, check=0)


def test_what_is_no_run_is_one_sentence(tmp_path):
    for command in ("failures", "retry", "export", "repair"):
        code, _, err = elites(command, "nothing", cwd=tmp_path)
        assert code == 2
        assert err.count("\n") == 1
        assert "no run" in err
