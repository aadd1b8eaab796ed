"""What the tests of the live page share: folders of runs by hand, and a server on them."""

import http.client
import json
import threading
from pathlib import Path

import pytest

from elites.web import runs as runs_module
from elites.web import watched as watched_module
from elites.web.runs import Runs
from elites.web.server import Server


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


@pytest.fixture(name="served")
def serving():
    """A function that serves folders until the test has ended."""
    pages = []

    def serve(*folders):
        pages.append(Page(*folders))
        return pages[-1]

    yield serve
    for page in pages:
        page.server.close()
