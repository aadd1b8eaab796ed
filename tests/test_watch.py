"""The server of the live page: who may ask what, and what it costs to answer many."""

import http.client
import json
import os
import re
import shutil
import signal
import threading
import time
from pathlib import Path

import pytest

from elites.events import panels
from elites.events.control import order
from elites.lock import Lock
from elites.types import InputError
from elites.web import runs as runs_module
from elites.web import watched as watched_module
from elites.web.command import watch
from elites.web.glance import Glance
from elites.web.runs import Runs
from elites.web.server import Server

HOSTILE = "<script>window.hacked=1</script>\"'\u202eevil\u2066\ud800"


def row(step, **more):
    spread = {"max": step, "mean": step - 2.0, "q10": step - 4.0, "median": step - 2.0, "q90": step - 1.0}
    return (
        {"step": step, "count": 8, "best": step, "nfe": 8 * step, "rewards": 8 * step, "seconds": step} | spread | more
    )


def make(path, steps=3, *, result=None, study="study.py"):
    """The folder of a run."""
    path.mkdir(parents=True)
    told = {"schema": 1, "seed": 0, "budget": {"nfe": 100}, "method": "Elites(8)", "target": "t", "study": study}
    (path / "run.json").write_text(json.dumps(told | {"versions": {"elites": "0.1"}}))
    (path / "history.jsonl").write_text("".join(json.dumps(row(i)) + "\n" for i in range(steps)))
    if result is not None:
        (path / "result.json").write_text(json.dumps(result))
    return path


@pytest.fixture(autouse=True)
def no_patience(monkeypatch):
    """Look at a folder at every question."""
    monkeypatch.setattr(watched_module, "LOOK", 0.0)
    monkeypatch.setattr(runs_module, "FIND", 0.0)
    monkeypatch.setattr(watched_module, "SHARE", 0.0)


class Page:
    """A server on some folders, and questions to it."""

    def __init__(self, *folders):
        self.server = Server(Runs([Path(f) for f in folders]))
        self.thread = threading.Thread(target=self.server.serve, daemon=True)
        self.thread.start()

    def ask(self, path, method="GET", **headers):
        """Status, headers and text; a header of None is left out."""
        link = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=10)
        known = {"Host": f"127.0.0.1:{self.server.port}", "Authorization": f"Bearer {self.server.token}"}
        known |= {name.replace("_", "-"): value for name, value in headers.items()}
        link.putrequest(method, path, skip_host=True)
        for name, value in known.items():
            if value is not None:
                link.putheader(name, value)
        link.endheaders()
        answer = link.getresponse()
        text = answer.read().decode()
        link.close()
        return answer.status, answer.headers, text

    def live(self, *ids):
        return json.loads(self.ask(f"/live?show={','.join(ids)}")[2])

    @property
    def ids(self):
        return [run.id for run in self.server.runs.all()]


@pytest.fixture
def served():
    """A function that serves folders until the test has ended."""
    pages = []

    def serve(*folders):
        pages.append(Page(*folders))
        return pages[-1]

    yield serve
    for page in pages:
        page.server.close()


def test_who_may_ask(tmp_path, served):
    page = served(make(tmp_path / "run"))
    (key,) = page.ids
    port = page.server.port
    inside = ["/live", f"/live?show={key}", "/part/list", f"/part/{key}/reward"]
    page.live(key)
    for path in inside:
        assert page.ask(path)[0] == 200
        for wrong in (None, "", "Bearer", "Bearer x", f"Bearer {page.server.token}x", page.server.token):
            assert page.ask(path, Authorization=wrong)[0] == 403
    for path in ["/", "/live.js", "/live.css", *inside]:
        for host in ("evil.example", f"evil.example:{port}", f"127.0.0.1:{port + 1}", "127.0.0.1", "", None):
            assert page.ask(path, Host=host)[0] == 403, (path, host)
        assert page.ask(path, Host=f"localhost:{port}")[0] == 200
        for origin in ("http://evil.example", "null", f"https://127.0.0.1:{port}"):
            assert page.ask(path, Origin=origin)[0] == 403
        assert page.ask(path, Origin=f"http://127.0.0.1:{port}")[0] == 200
    assert page.server._http.server_address[0] == "127.0.0.1"


def test_what_is_open_to_all_says_nothing_of_runs(tmp_path, served):
    page = served(make(tmp_path / "secret"))
    for path in ("/", "/live.js", "/live.css"):
        code, _, text = page.ask(path, Authorization=None)
        assert code == 200
        assert "secret" not in text and page.server.token not in text and str(tmp_path) not in text


@pytest.mark.parametrize(
    "path",
    [
        *("/..%2f..%2fetc/passwd", "/part/..%2f/reward", "/part/../run.json", "/part/..%2frun.json/reward"),
        *("/run.json", "//etc/passwd", "/part/run/reward", "/part/KEY/run.json", "/part/KEY/..%2frun.json"),
        *("/part/KEY/reward/x", "/part/KEY", "/live/x", "/runs/KEY/stop", "/web/live.js", "/live.js/", "/%2e%2e/"),
    ],
)
def test_no_address_is_a_path(tmp_path, served, path):
    page = served(make(tmp_path / "run"))
    assert page.ask(path.replace("KEY", page.ids[0]))[0] == 404


def test_other_methods_are_refused_and_every_answer_has_the_headers(tmp_path, served):
    page = served(make(tmp_path / "run"))
    for method in ("PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "FOO"):
        code, headers, _ = page.ask("/", method)
        assert (code, headers["Allow"]) == (405, "GET, POST")
    for path in ("/", "/live", "/nothing", "/live.js"):
        headers = page.ask(path)[1]
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "script-src 'self';" in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cache-Control"] == "no-store"
        assert "Access-Control-Allow-Origin" not in headers and "Set-Cookie" not in headers
        assert "Python" not in headers["Server"]
    for name in ("/", "/live.js"):
        text = page.ask(name)[2]
        assert "http:" not in text and "https:" not in text and "onclick" not in text


def test_orders(tmp_path, served):
    page = served(make(tmp_path / "run"))
    (key,) = page.ids
    assert page.ask(f"/runs/{key}/pause", "POST")[0] == 409  # nobody is at work on it
    lock = Lock(tmp_path / "run")
    for bad in ({"Authorization": None}, {"Host": "evil.example"}, {"Origin": "http://evil.example"}):
        assert page.ask(f"/runs/{key}/stop", "POST", **bad)[0] == 403
    assert order(tmp_path / "run") == ""
    for path in (f"/runs/{key}/kill", "/runs/none/stop", f"/runs/{key}", f"/runs/..%2f{key}/stop", "/"):
        assert page.ask(path, "POST")[0] == 404
    assert page.ask(f"/runs/{key}/stop", "POST", Content_Length="100000")[0] == 413
    assert page.ask(f"/runs/{key}/stop", "POST", Content_Length="-1")[0] == 413
    assert order(tmp_path / "run") == ""
    for word, told, state in (("pause", "pause", "pausing"), ("go-on", "", "running"), ("stop", "stop", "stopping")):
        assert page.ask(f"/runs/{key}/{word}", "POST")[0] == 200
        assert order(tmp_path / "run") == told
        assert page.live(key)["runs"][0]["word"] == state
    lock.close()


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


def test_names_of_strangers_are_escaped(tmp_path, served):
    name = "<script>window.hacked=1<\u2215script>\u202eevil"
    path = make(tmp_path / "runs" / name, result={"stopped": HOSTILE, "nfe": 99})
    for page in (served(path), served(path.parent)):
        (key,) = page.ids
        texts = [page.ask("/part/list")[2]]
        texts += [page.ask(f"/part/{key}/{part[0]}")[2] for part in page.live(key)["runs"][0]["parts"]]
        assert any("&lt;script&gt;window.hacked" in text for text in texts)
        for text in texts:
            assert "<script" not in text and "\u202e" not in text and "\u2066" not in text
        assert "\u202e" not in page.live(key)["runs"][0]["name"]


def test_ctrl_c_ends_the_page_with_a_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    watch(None, show=True)
    timer.join()
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
