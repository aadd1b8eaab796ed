"""The command line as a user meets it: exit codes, sentences, folders, interruption and resume."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

STUDY = """
import os
import time
import elites as el
prior = el.priors.mixture([[2.0, 0.0, 1.0], [-2.0, 1.0, 0.0]], 0.3)
def reward(x):
    time.sleep({pause})
    return x[:, 0]
target = el.Target(prior, reward, walk=el.Plain(steps=4))
method = el.Elites(population=8)
budget = el.Budget(steps={steps})
judge = reward
"""


def elites(*arguments, cwd, check=None, env=None):
    """Run the command line and return (exit code, stdout, stderr)."""
    done = subprocess.run(
        [sys.executable, "-m", "elites", *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **(env or {})},
    )
    if check is not None:
        assert done.returncode == check, done.stderr
    return done.returncode, done.stdout, done.stderr


def sentence(stderr):
    """The last line, which has to be the one sentence of an expected error."""
    last = stderr.strip().splitlines()[-1]
    assert last.startswith("elites: "), stderr
    assert "Traceback" not in last
    return last


@pytest.fixture
def study(tmp_path):
    path = tmp_path / "study.py"
    path.write_text(STUDY.format(pause=0, steps=6))
    return path


def test_run_report_and_list_of_a_study(study, tmp_path):
    _, out, err = elites("run", study, "--json", "--seed", 3, cwd=tmp_path, check=0)
    result = json.loads(out)
    folder = tmp_path / result["run"]
    assert result["stopped"].startswith("budget: all 6 steps are done")
    assert {"best", "judge", "shell", "nfe", "rewards", "failures"} <= set(result)
    assert "prior samples score" in err
    assert json.loads((folder / "run.json").read_text())["seed"] == 3
    assert (folder / "best.safetensors").exists()
    assert (folder / "report.html").exists()
    _, out, _ = elites("report", folder, cwd=tmp_path, check=0)
    assert out.strip().endswith("report.html")
    _, out, _ = elites("list", cwd=tmp_path, check=0)
    assert "study" in out
    assert "budget" in out


def test_quiet_says_nothing_and_a_second_run_takes_a_new_folder(study, tmp_path):
    _, _, err = elites("run", study, "--quiet", cwd=tmp_path, check=0)
    assert err == ""
    elites("run", study, "--quiet", cwd=tmp_path, check=0)
    assert (tmp_path / "runs" / "study-2" / "report.html").exists()


@pytest.mark.parametrize("command", ["demo", "run", "resume", "report", "list"])
def test_every_command_has_help(command, tmp_path):
    _, out, _ = elites(command, "--help", cwd=tmp_path, check=0)
    assert "Usage" in out


BAD = {
    "no such file": (None, [], "There is no study"),
    "no target": ("method = 1", [], "defines no target"),
    "no method": (STUDY.format(pause=0, steps=2).replace("method =", "other ="), [], "defines no method"),
    "wrong kind of budget": (STUDY.format(pause=0, steps=2) + "budget = 5", [], "elites.Budget"),
    "wrong kind of draw": (STUDY.format(pause=0, steps=2) + "draw = 5", [], "callable on one object"),
    "import error": ("import no_such_module_of_ours", [], "ModuleNotFoundError"),
    "zero budget": (STUDY.format(pause=0, steps=2), ["--nfe", 0], "leaves nothing to spend"),
    "negative budget": (STUDY.format(pause=0, steps=2), ["--seconds", -1], "leaves nothing to spend"),
    "less than one step": (STUDY.format(pause=0, steps=2), ["--nfe", 31], "smaller than one step"),
    "negative seed": (STUDY.format(pause=0, steps=2), ["--seed", -1], "non-negative"),
    "no limit": (STUDY.format(pause=0, steps=2).replace("steps=2", ""), [], "has no limit"),
    "tiny population": (STUDY.format(pause=0, steps=2).replace("population=8", "population=2"), [], "at least 4"),
    "more kept than drawn": (STUDY.format(pause=0, steps=2).replace("population=8", "8, keep=9"), [], "keep at most"),
    "no GPU": ("import elites as el\nel.priors.digits(device='cuda:9')", [], "cuda:9"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence_and_leaves_nothing_behind(case, tmp_path):
    text, arguments, words = BAD[case]
    path = tmp_path / "bad.py"
    if text is not None:
        path.write_text(text)
    _, out, err = elites("run", path, *arguments, cwd=tmp_path, check=2)
    assert words in sentence(err)
    assert out == ""
    assert not any((tmp_path / "runs").glob("*")) if (tmp_path / "runs").exists() else True


def test_an_import_error_shows_the_studys_own_traceback_shortened(tmp_path):
    (tmp_path / "bad.py").write_text("def f():\n    import no_such_module_of_ours\nf()\n")
    _, _, err = elites("run", "bad.py", cwd=tmp_path, check=2)
    assert 'bad.py", line 3' in err
    assert "elites/study.py" not in err
    assert len(err.splitlines()) < 12


def test_an_error_of_the_network_is_told_from_ours(tmp_path):
    text = STUDY.format(pause=0, steps=5).replace("el.priors.mixture([[2.0, 0.0, 1.0], [-2.0, 1.0, 0.0]], 0.3)", "P")
    net = "def net(x, t):\n    raise ArithmeticError('broken net')\n"
    text = text.replace("prior = P", net + "prior = el.priors.GaussianPrior(net, (3,), el.Flow(), el.Velocity())")
    (tmp_path / "broken.py").write_text(text)
    _, _, err = elites("run", "broken.py", cwd=tmp_path, check=1)
    assert "ArithmeticError" in sentence(err)
    assert "broken net" in err


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("return x[1:, 0]", "numbers for"),
        ("return ['a'] * len(x)", "no number"),
        ("return x[:, 0] + 1j", "complex"),
        ("raise OSError('licence server')", "licence server"),
        ("return x[:, 0] * float('nan')", "NaN"),
    ],
)
def test_a_reward_that_never_works_fails_the_run_with_its_reason(body, reason, tmp_path):
    (tmp_path / "bad.py").write_text(STUDY.format(pause=0, steps=3).replace("return x[:, 0]", body))
    _, _, err = elites("run", "bad.py", cwd=tmp_path, check=1)
    assert reason in sentence(err) or "shape" in sentence(err)


def test_a_constant_reward_is_an_error_with_a_sentence(tmp_path):
    text = STUDY.format(pause=0, steps=30).replace("return x[:, 0]", "return x[:, 0] * 0")
    (tmp_path / "flat.py").write_text(text)
    _, _, err = elites("run", "flat.py", cwd=tmp_path, check=1)
    assert "nothing can be selected" in sentence(err)


def test_failures_of_some_objects_are_counted_and_listed(tmp_path):
    text = STUDY.format(pause=0, steps=3).replace("return x[:, 0]", "return x[:, 0].where(x[:, 0] > 0, x * 0 / 0)")
    text = text.replace("x * 0 / 0", "x[:, 0] * float('nan')")
    (tmp_path / "some.py").write_text(text)
    _, out, _ = elites("run", "some.py", "--json", cwd=tmp_path, check=0)
    rows = (tmp_path / "runs" / "some" / "failures.jsonl").read_text().splitlines()
    assert json.loads(out)["failures"] == len(rows) > 0
    assert json.loads(rows[0])["reason"] == "it is NaN"


def test_a_folder_that_exists_is_left_alone(study, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    _, _, err = elites("run", study, "--out", "mine", cwd=tmp_path, check=2)
    assert "exists" in sentence(err)
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_report_and_resume_of_what_is_no_run(tmp_path):
    (tmp_path / "empty").mkdir()
    for command in ("resume", "report"):
        _, _, err = elites(command, "empty", cwd=tmp_path, check=2)
        assert "no run folder" in sentence(err)
        assert not list((tmp_path / "empty").iterdir())


def wait_for(file: Path, process, more_than=1):
    end = time.monotonic() + 60
    while not (file.exists() and len(file.read_text().splitlines()) > more_than):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.05)


def started(study, cwd):
    return subprocess.Popen(
        [sys.executable, "-m", "elites", "run", str(study), "--out", "run"],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PAUSE": "1"},
    )


@pytest.fixture
def slow(tmp_path):
    """Far from its end when it is ended, however busy the machine; quick when it goes on."""
    path = tmp_path / "study.py"
    path.write_text(STUDY.format(pause="float(os.environ.get('PAUSE', 0))", steps=25))
    return path


def best(folder):
    from safetensors.torch import load_file

    return load_file(folder / "best.safetensors")


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_was_ended_resumes_to_the_same_bits(how, slow, tmp_path):
    process = started(slow, tmp_path)
    wait_for(tmp_path / "run" / "history.jsonl", process, 3)
    if how == signal.SIGKILL:
        _, _, err = elites("resume", "run", cwd=tmp_path, check=2)  # while the first one still runs
        assert f"process {process.pid}" in sentence(err)
    process.send_signal(how)
    _, err = process.communicate(timeout=60)
    assert process.returncode == (130 if how == signal.SIGINT else -signal.SIGKILL)
    if how == signal.SIGINT:
        assert "elites resume run" in err
        assert "interrupted" in elites("list", ".", cwd=tmp_path, check=0)[1]
    slow.write_text("raise SystemError('the study was edited after the run began')")
    elites("resume", "run", "--quiet", cwd=tmp_path, check=0)
    whole = tmp_path / "again.py"
    whole.write_text(STUDY.format(pause=0, steps=25))
    elites("run", whole, "--quiet", "--out", "whole", cwd=tmp_path, check=0)
    one, two = best(tmp_path / "run"), best(tmp_path / "whole")
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)

    def history(folder):
        rows = [json.loads(line) for line in (tmp_path / folder / "history.jsonl").read_text().splitlines()]
        return [{k: v for k, v in row.items() if "seconds" not in k} for row in rows]

    assert history("run") == history("whole")


def test_the_demo_without_diffusers_says_what_to_install(tmp_path):
    (tmp_path / "diffusers.py").write_text("raise ImportError('not here')")
    _, _, err = elites("demo", cwd=tmp_path, check=2, env={"PYTHONPATH": str(tmp_path)})
    assert "pip install 'elites[diffusers]'" in sentence(err)


def test_the_demo_runs_with_a_tiny_budget(tmp_path):
    pytest.importorskip("diffusers")
    _, out, err = elites("demo", "--nfe", 1200, cwd=tmp_path, check=0)
    assert "Elites" in out
    assert "best of N" in out
    assert out.strip().splitlines()[-1].startswith("report: ")
    assert (tmp_path / "runs" / "demo" / "report.html").stat().st_size > 5000
    assert "step" in err


def test_a_closed_pipe_is_quiet(study, tmp_path):
    command = f"{sys.executable} -m elites run {study} --json --quiet | true"
    done = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stderr


def test_a_study_with_a_judge_says_what_rang(study, tmp_path):
    """The planted loophole pays for what the judge knows nothing of, in one prior sample of a thousand."""
    hacked = STUDY.format(pause=0, steps=6).replace(
        "return x[:, 0]", "return x[:, 0] + 1000 * (-2.213 - x[:, 0]).relu()"
    )
    study.write_text(
        hacked.replace("judge = reward", "judge = lambda x: x[:, 0]\ndistance = lambda x: x.norm(dim=1)")
        .replace("el.Elites(population=8)", "el.RandomSearch(64)")
        .replace("steps=6)", "nfe=20_000)")
    )
    _, out, err = elites("run", study, "--json", cwd=tmp_path, check=0)
    assert json.loads(out)["alarm"] is True
    assert "distance" in json.loads(out)
    _, out, err = elites("run", study, "--quiet", cwd=tmp_path, check=0)
    assert "alarm: the reward is being hacked" in " ".join(err.split())
    page = (tmp_path / out.partition("report: ")[2].strip()).read_text()
    assert "the judge likes it better than" in page


def test_a_distance_that_is_no_function_is_refused(study, tmp_path):
    study.write_text(study.read_text() + "distance = 3\n")
    _, _, err = elites("run", study, cwd=tmp_path, check=2)
    assert "defines distance as int" in sentence(err)
