"""Run folders written by hand, and the checks that every page has to pass."""

import json
import math
import re
from html.parser import HTMLParser

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from elites.events.pictures import png, strip
from elites.events.report import write_report

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>\u202eevil\u2066\ud800"
PROBE = {"sd": 2.0, "ties": 0.0, "repeat": 0.0, "network_seconds": 0.01, "reward_seconds": 0.001}


class Page(HTMLParser):
    """Tags and their attributes, the text, and whether tags are balanced."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.words, self.open = [], [], []
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "path", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def row(step, **more):
    """A line of the history."""
    value = -5.0 + step
    spread = {"max": value, "mean": value - 2, "q10": value - 4, "median": value - 2, "q90": value - 1, "best": value}
    spent = {"failures": 0, "nfe": 160 * (step + 1), "rewards": 16 * (step + 1), "grads": 0, "seconds": 0.1 * step}
    return {"step": step, "count": 16, "shell": 1.0 + 0.01 * step, **spent, **spread, **more}


def rows(n):
    """A history with a judge and a distance; step 0 is the probe."""
    watched = ({"judge": 0.9 * (i - 5), "distance": 1 + 0.1 * math.sin(i), "ink": 0.3} for i in range(n))
    return [row(i, **w, **(PROBE if i == 0 else {})) for i, w in enumerate(watched)]


def make(path, history, *, about=(), result=None, failures=(), pictured=(), best=0, side=8):
    """A run folder."""
    path.mkdir()
    told = {"schema": 1, "seed": 7, "budget": {"nfe": 10_000, "rewards": None, "seconds": 60, "steps": None}}
    told |= {"method": "Elites(population=16)", "target": "Target(prior, reward)", "study": None}
    told |= {"versions": {"elites": "0.1", "torch": "2.6"}} | dict(about)
    (path / "run.json").write_text(json.dumps(told))
    (path / "history.jsonl").write_text("".join(json.dumps(r) + "\n" for r in history))
    (path / "failures.jsonl").write_text("".join(json.dumps(f) + "\n" for f in failures))
    draw = np.random.default_rng(0)
    images = [Image.fromarray(draw.integers(0, 255, (side, side, 3), dtype=np.uint8)) for _ in range(8)]
    for step in pictured:
        (path / "steps").mkdir(exist_ok=True)
        (path / "steps" / f"{step:06d}.png").write_bytes(strip(images, [step - 0.125 * i for i in range(8)]))
    if result is not None:
        (path / "result.json").write_text(json.dumps(result))
        kept = {"reward": torch.arange(best).flip(0) + 0.5, "keys": torch.arange(2 * best).reshape(best, 2)}
        save_file({**kept, "x": torch.zeros(best, 4), "z": torch.zeros(best, 4)}, path / "best.safetensors")
    for i in range(best):
        (path / "best").mkdir(exist_ok=True)
        (path / "best" / f"{i:02d}.png").write_bytes(png(images[i % 8]))
    return path


EVIDENCE = [
    {"name": "typicality", "value": 0.98, "quantile": 0.43, "says": "0.98: more typical than 43 % of prior samples."},
    {"name": "judge", "value": 3.5, "quantile": 0.002, "says": "less than what prior samples have", "warns": True},
    {"name": "spread", "value": None, "quantile": None, "says": "not known"},
]


def full(path, **more):
    """A finished run that has everything."""
    result = {
        "evidence": EVIDENCE,
        "stopped": "budget: all spent",
        "best": 15.25,
        "nfe": 3500,
        "rewards": 340,
        "failures": 3,
        "seconds": 2.0,
    }
    final = {"step": 19, "failures": 0, "nfe": 3500, "rewards": 340, "grads": 0, "seconds": 2.0}
    final |= {"preview": 14.0, "final": 15.25, "judge": 13.0, "distance": 1.1, "shell": 1.2}
    failures = [{"step": s, "candidate": 3, "reason": "it is NaN"} for s in (1, 2)]
    failures.append({"step": 4, "candidate": 5, "reason": "OSError: no disk"})
    given = {"result": result, "failures": failures, "pictured": (0, 1, 2, 10), "best": 4} | more
    return make(path, [*rows(20), final], **given)


def read(path):
    """The page of a folder, checked for what no page may have."""
    html = write_report(path).read_text(encoding="utf-8")
    for never in ("http://", "https://", "<script", "javascript:", "<link", "@import", "\u202e", "\u2066", "nan%"):
        assert never not in html.lower(), never
    page = Page(html)
    for tag, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes)
        if tag == "img":
            assert attributes["src"].startswith("data:image/") and attributes["alt"]
        assert attributes.get("href", "#").startswith("#")
        assert not ("style" in attributes and "url(" in attributes["style"])
        if attributes.get("class") == "scroll":
            assert attributes["tabindex"] == "0" and attributes["role"] == "region" and attributes["aria-label"]
        assert tag != "th" or attributes["scope"] in ("row", "col")
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    links = [attributes["href"][1:] for tag, attributes in page.tags if tag == "a"]
    named = [attributes["aria-labelledby"] for tag, attributes in page.tags if tag == "section"]
    assert len(set(ids)) == len(ids) and {*links, *named} <= set(ids)
    for path_data in re.findall(r' d="([^"]*)"', html):
        assert re.fullmatch(r"[MLQCZHVchvz0-9 .,-]+", path_data), path_data[:80]
    return html, page
