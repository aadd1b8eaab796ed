"""What the live page shows of runs, and what it costs to show it to many."""

import json
import os
import re
import shutil
import signal
import threading
import time
from pathlib import Path

import pytest
from watching import make, no_patience, row, serving  # noqa: F401 (fixtures)

from elites.events import panels
from elites.lock import Lock
from elites.types import InputError
from elites.web import watched as watched_module
from elites.web.command import watch
from elites.web.glance import Glance
from elites.web.runs import Runs
from elites.web.server import Server


def test_what_has_not_changed_is_not_sent_again(tmp_path, served):
    page = served(make(tmp_path / "run"))
    (key,) = page.ids
    headers = page.ask(f"/live?show={key}")[1]
    tag = headers["ETag"]
    assert page.ask(f"/live?show={key}", If_None_Match=tag)[::2] == (304, "")
    before = {name: digest for name, _, digest in page.live(key)["runs"][0]["parts"]}
    assert page.ask(f"/part/{key}/reward", If_None_Match=page.ask(f"/part/{key}/reward")[1]["ETag"])[0] == 304
    with (tmp_path / "run" / "history.jsonl").open("a") as f:
        f.write(json.dumps(row(7)) + "\n")
    assert page.ask(f"/live?show={key}", If_None_Match=tag)[0] == 200
    after = {name: digest for name, _, digest in page.live(key)["runs"][0]["parts"]}
    assert before.keys() == after.keys()
    changed = {name for name in after if before[name] != after[name]}
    assert {"state", "reward", "outcome", "cost"} <= changed
    assert not {"failures", "reproduce", "probe"} & changed


def test_fifty_viewers_cost_what_one_does(tmp_path, served, monkeypatch):
    made = []

    def slow(record):
        made.append(len(record.rows))
        time.sleep(0.05)
        return f"<p>{len(record.rows)}</p>"

    monkeypatch.setitem(watched_module.MADE, "reward", ("Reward", slow))
    page = served(make(tmp_path / "run"))
    (key,) = page.ids
    answers = []
    viewers = [threading.Thread(target=lambda: answers.append(page.ask(f"/live?show={key}")[2])) for _ in range(50)]
    for viewer in viewers:
        viewer.start()
    for viewer in viewers:
        viewer.join()
    assert made == [3]
    assert len(set(answers)) == 1
    with (tmp_path / "run" / "history.jsonl").open("a") as f:
        f.write(json.dumps(row(7)) + "\n")
    for _ in range(50):
        page.live(key)
    assert made == [3, 4]


def test_a_slow_panel_takes_its_share_of_the_time(tmp_path, served, monkeypatch):
    made = []
    monkeypatch.setattr(watched_module, "SHARE", 10.0)

    def slow(record):
        made.append(len(record.rows))
        time.sleep(0.1)
        return f"<p>{len(record.rows)}</p>"

    monkeypatch.setitem(watched_module.MADE, "reward", ("Reward", slow))
    page = served(make(tmp_path / "run"))
    (key,) = page.ids
    began = time.monotonic()
    step = 3
    while time.monotonic() - began < 1.0 or made[-1] != step:  # the last change is shown in the end
        if time.monotonic() - began < 1.0:
            with (tmp_path / "run" / "history.jsonl").open("a") as f:
                f.write(json.dumps(row(step)) + "\n")
            step += 1
        page.live(key)
        assert time.monotonic() - began < 20
    assert 2 <= len(made) <= 1 + (time.monotonic() - began) / 1.0


def test_a_run_whose_folder_goes_away(tmp_path, served):
    page = served(make(tmp_path / "runs" / "one"), make(tmp_path / "home" / "two").parent)
    one, two = page.ids
    assert [run["word"] for run in page.live(one, two)["runs"]] == ["died", "died"]
    shutil.rmtree(tmp_path / "runs" / "one")
    shutil.rmtree(tmp_path / "home" / "two")
    told = page.live(one, two)
    assert [run["word"] for run in told["runs"]] == ["gone", "gone"]
    assert told["count"] == 1  # what was named stays in the list, what was found does not
    assert "not there" in page.ask(f"/part/{one}/state")[2]
    assert page.ask(f"/part/{one}/reward")[0] == 200  # what was seen last
    assert page.ask(f"/runs/{one}/stop", "POST")[0] == 409
    assert not (tmp_path / "runs" / "one").exists()


def test_half_written_and_damaged_files(tmp_path, served):
    path = make(tmp_path / "run")
    with (path / "history.jsonl").open("a") as f:
        f.write('{"step": 3, "best": 9')
    page = served(path)
    (key,) = page.ids
    page.live(key)
    assert "step 2" in page.ask(f"/part/{key}/state")[2]
    for name, text in (
        ("result.json", "{"),
        ("history.jsonl", "[]\n\x00\n"),
        ("failures.jsonl", '{"reason": {}}\n1\n'),
    ):
        (path / name).write_text(text)
    (path / "steps").write_text("a file")
    (path / "ledger.sqlite").write_text("no database" * 1000)
    assert page.live(key)["runs"][0]["word"] == "died"
    assert "no step yet" in page.ask(f"/part/{key}/state")[2]
    (path / "run.json").write_text(json.dumps({"schema": 99}))
    page.live(key)
    assert "newer elites" in page.ask(f"/part/{key}/state")[2]


def test_a_panel_that_fails_leaves_the_others(tmp_path, served, monkeypatch):
    def broken(record):
        raise ZeroDivisionError

    monkeypatch.setitem(watched_module.MADE, "reward", ("Reward", broken))
    page = served(make(tmp_path / "run"))
    (key,) = page.ids
    names = [name for name, *_ in page.live(key)["runs"][0]["parts"]]
    assert {"state", "outcome", "reward", "cost", "reproduce"} <= set(names)
    assert "cannot be drawn" in page.ask(f"/part/{key}/reward")[2]


def test_the_panels_are_those_of_the_report(tmp_path, served):
    page = served(make(tmp_path / "run", result={"stopped": "done", "nfe": 99}))
    (key,) = page.ids
    parts = page.live(key)["runs"][0]["parts"]
    record = watched_module.Record.read(tmp_path / "run")
    assert {name: title for name, title, _ in parts[2:]} == {n: t for n, (t, _) in panels.panels(record).items()}
    for name, (_, html) in panels.panels(record).items():
        assert page.ask(f"/part/{key}/{name}")[2] == html


def test_runs_appear_and_are_suggested_once_they_work(tmp_path, served):
    home = tmp_path / "runs"
    page = served(home)  # which is not even there
    assert page.live() == page.live() | {"count": 0, "suggested": [], "runs": []}
    assert "no runs in" in page.ask("/part/list")[2]
    old, new = make(home / "old"), make(home / "new")
    os.utime(old / "run.json", (1, 1))
    told = page.live()
    assert told["count"] == 2
    assert [page.server.runs.get(key).name for key in told["suggested"]] == ["new"]
    lock = Lock(old)
    assert [page.server.runs.get(key).name for key in page.live()["suggested"]] == ["old"]
    lock.close()
    assert "new" in page.ask("/part/list")[2]
    assert Runs([new, old, home]).all()[0].path == new and len(Runs([home, home / "old", new]).all()) == 2
    other = make(tmp_path / "more" / "new")
    assert {run.name for run in Runs([home, other]).all()} == {str(new), str(other), "old"}


def test_a_folder_that_was_named_before_its_run_began(tmp_path, served):
    (tmp_path / "early").mkdir()
    page = served(tmp_path / "early")
    assert page.live()["count"] == 0
    make(tmp_path / "made").rename(tmp_path / "aside")
    for file in (tmp_path / "aside").iterdir():
        file.rename(tmp_path / "early" / file.name)
    assert page.live()["count"] == 1


def test_every_state(tmp_path):
    def word(path):
        return Glance.at(path).word

    assert word(tmp_path / "none") == "gone"
    path = make(tmp_path / "run")
    assert (word(path), Glance.at(path).command) == ("died", f"elites resume {path}")
    assert Glance.at(make(tmp_path / "it's", study=None)).command.startswith("elites.resume(")
    lock = Lock(path)
    assert word(path) == "running"
    hour_ago = time.time() - 3600
    for file in path.iterdir():
        os.utime(file, (hour_ago, hour_ago))
    assert word(path) == "silent"
    (path / "history.jsonl").write_text("".join(json.dumps(row(i) | {"seconds": 1000 * i}) + "\n" for i in range(3)))
    os.utime(path / "history.jsonl", (hour_ago, hour_ago))
    assert word(path) == "running"  # its steps take that long
    (path / "control").write_text("pause")
    assert word(path) == "pausing"
    (path / "state.safetensors").write_text("")
    assert word(path) == "paused"
    (path / "control").write_text("stop\n")
    assert word(path) == "stopping"
    (path / "result.json").write_text(json.dumps({"stopped": "interrupted", "nfe": 16}))
    assert word(path) == "stopped" and Glance.at(path).command
    (path / "result.json").write_text(json.dumps({"stopped": "budget: all spent", "nfe": 16}))
    assert word(path) == "ended"
    (path / "result.json").write_text(json.dumps({"stopped": "budget: all spent", "nfe": 8}))
    assert word(path) == "stopping"  # that result is of before the run went on
    lock.close()


def test_ctrl_c_ends_the_page_with_a_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    watch(None, show=True)
    timer.join()
    signal.signal(signal.SIGINT, before)
    out, told = capsys.readouterr()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/#[\w-]{20,}\n", out)
    assert opened == [out.strip()]
    assert told.splitlines()[-1] == "The page has ended; the runs go on."
    assert not (tmp_path / "runs").exists()
    with pytest.raises(InputError, match="There is no folder nowhere: name run folders"):
        watch([tmp_path, Path("nowhere")])


def test_a_port_in_use_is_a_sentence(tmp_path, served):
    page = served(tmp_path)
    with pytest.raises(InputError, match="another --port"):
        Server(Runs([tmp_path]), page.server.port)
