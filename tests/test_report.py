"""The report of a run, from folders written by hand."""

import math
import re

import pytest
import torch
from PIL import Image
from reports import HOSTILE, PROBE, full, make, read, row, rows

from elites.events.pictures import strip
from elites.events.report import Report, write_report
from elites.types import Budget, Event, Info, InputError, Meter, Result, Samples, Setup

SECTIONS = (
    "Best objects",
    "Evidence",
    "Reward",
    "Judge against reward",
    "Evidence along the way",
    "Lineage of the winner",
    "Best by step",
    "Cost",
    "Probe of the prior",
    "Failures",
    "How to reproduce",
)


def test_full_folder_has_every_section(tmp_path):
    html, page = read(full(tmp_path / "run"))
    assert tuple(re.findall(r"<h2[^>]*>([^<]*)</h2>", html)) == SECTIONS
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    metas = [attributes for tag, attributes in page.tags if tag == "meta"]
    assert any(m.get("content") == policy for m in metas)
    assert ("html", {"lang": "en"}) in page.tags
    assert "Elites raised the reward from −5 to 15.25" in page.text
    assert "budget: all spent" in page.text and "14 before full steps" in page.text
    assert "it is NaN" in page.text and "(1, 3), (2, 3)" in page.text
    assert "16 prior samples" in page.text
    assert "of 10,000" in page.text and "no limit" in page.text
    assert "ink" in page.text
    assert sum(tag == "img" for tag, _ in page.tags) == 4 + 4 * 8 + 1  # the best, the steps, and the winner
    for tag, attributes in page.tags:
        if tag == "svg":
            assert attributes.get("aria-hidden") == "true" or (
                attributes["role"] == "img" and attributes["aria-label"]
            )
    assert "elites resume" not in page.text


def test_judge_that_falls_is_said(tmp_path):
    history = [r | {"judge": -r["best"]} for r in rows(5)]
    result = {"stopped": "done", "best": -1.0, "nfe": 800}
    _, page = read(make(tmp_path / "run", history, result=result))
    assert "does not confirm the gain" in page.text


def test_strangers_words_are_inert(tmp_path):
    history = [r | {HOSTILE: 1.0 + i} for i, r in enumerate(rows(4))]
    about = dict.fromkeys(("method", "target", "study"), HOSTILE)
    about |= {"versions": {HOSTILE: HOSTILE, "elites": HOSTILE}, "budget": {"nfe": HOSTILE, HOSTILE: HOSTILE}}
    about["seed"] = HOSTILE
    failures = [{"step": HOSTILE, "candidate": HOSTILE, "reason": HOSTILE}]
    result = {"stopped": HOSTILE, "best": HOSTILE, "nfe": 800, "rewards": HOSTILE}
    for name, ended in (("a<b>&\"'", result), ("b", None)):
        path = make(tmp_path / name, history, about=about, failures=failures, result=ended)
        html, page = read(path)
        assert "<img src=x" not in html and "&lt;script&gt;" in html
        assert "alert(1)" in page.text and "evil" in page.text
        assert not any(tag == "script" for tag, _ in page.tags)


def test_commands_to_copy_are_quoted(tmp_path):
    about = {"study": "s.py; rm x", "seed": "1; rm y", "budget": {"nfe": "$(rm z)"}}
    _, page = read(make(tmp_path / "run", rows(2), about=about))
    assert "elites run 's.py; rm x' --seed '1; rm y' --nfe '$(rm z)'" in page.text


@pytest.mark.parametrize("study", [None, "/home/a b/study.py"])
def test_unfinished_run_says_how_to_go_on(tmp_path, study):
    _, page = read(make(tmp_path / "run", rows(3), about={"study": study}, pictured=(0, 1)))
    assert "not finished" in page.text and "Elites raised the reward from −5 to −3" in page.text
    if study:
        assert "elites run '/home/a b/study.py' --seed 7 --nfe 10000 --seconds 60" in page.text
        assert f"elites resume {tmp_path / 'run'}" in page.text
    else:
        assert "elites.resume(" in page.text


def test_interrupted_run_can_be_resumed(tmp_path):
    result = {"stopped": "interrupted", "best": -3.0, "nfe": 480}
    _, page = read(make(tmp_path / "run", rows(3), about={"study": "s.py"}, result=result, best=1))
    assert "Stopped: interrupted" in page.text and "elites resume" in page.text


def test_result_of_before_a_resume_is_left_out(tmp_path):
    stale = {"stopped": "budget: old", "best": -4.0, "nfe": 320, "rewards": 32, "failures": 0, "seconds": 1}
    _, page = read(make(tmp_path / "run", rows(10), result=stale, best=2))
    assert "budget: old" not in page.text and "from −5 to 4" in page.text and "not finished" in page.text


@pytest.mark.parametrize("history", [[], [{}], [{"step": 0}], [row(0)], rows(1), [{"step": None, "max": "much"}]])
def test_little_or_no_history(tmp_path, history):
    read(make(tmp_path / "run", history))


def test_history_alone(tmp_path):
    path = make(tmp_path / "run", rows(4))
    (path / "run.json").unlink()
    (path / "failures.jsonl").unlink()
    _, page = read(path)
    assert "−2" in page.text


def test_no_run_is_refused(tmp_path):
    with pytest.raises(InputError, match="no run folder"):
        write_report(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_odd_values_are_gaps(tmp_path):
    odd = [math.nan, math.inf, -math.inf, 1e300, "x", None, [], {}, 10**400]
    names = ("max", "q10", "median", "q90", "best", "shell", "distance", "judge", "ink", "step", "failures", "nfe")
    history = [row(i) | {names[(i + k) % 12]: odd[(i * k) % 9] for k in range(8)} for i in range(40)]
    read(make(tmp_path / "a", history, result={"stopped": None, "best": math.nan, "nfe": "x"}))
    read(make(tmp_path / "b", [dict.fromkeys(names, math.nan)] * 3))
    read(make(tmp_path / "c", [row(i) | dict.fromkeys(names[:9], 1e-320) for i in range(3)]))


def test_all_equal_curves(tmp_path):
    for i, value in enumerate((0.0, 1.0, -3e7, 1e-30, 1e30)):
        same = dict.fromkeys(
            ("max", "mean", "q10", "median", "q90", "best", "judge", "distance", "shell", "ink"), value
        )
        read(make(tmp_path / str(i), [row(0, **same, **PROBE), *(row(k, **same) for k in (1, 2))]))


def test_damaged_files(tmp_path):
    path = full(tmp_path / "run")
    with (path / "history.jsonl").open("a") as f:
        f.write('{"step": 21, "be')
    with (path / "failures.jsonl").open("a") as f:
        f.write('{"step": 21, "candidate": 1, "reason": "bad {x}')
    (path / "steps" / "000002.png").write_bytes(b"no picture")
    (path / "steps" / "notes.png").write_bytes(b"")
    (path / "best" / "00.png").write_bytes((path / "best" / "01.png").read_bytes()[:60])
    (path / "best.safetensors").write_bytes(b"short")
    (path / "result.json").write_text("[")
    read(path)


def test_objects_that_are_no_images(tmp_path):
    path = make(tmp_path / "run", rows(3), result={"stopped": "done", "best": 0.0, "nfe": 480}, best=2)
    for file in (path / "best").iterdir():
        file.unlink()
    _, page = read(path)
    assert "not drawn" in page.text and "step 2, candidate 3" in page.text


def test_strip_that_cannot_be_cut_is_shown_whole(tmp_path):
    path = make(tmp_path / "run", rows(2))
    (path / "steps").mkdir()
    images = [Image.new("RGB", (64 + i, 64)) for i in range(2)]
    (path / "steps" / "000001.png").write_bytes(strip(images, [1.5, 0.5]))
    _, page = read(path)
    assert sum(tag == "img" for tag, _ in page.tags) == 2  # as the best so far, and of its step
    assert "1.500" in page.text and "0.5000" in page.text


def test_size_of_a_long_run_with_large_pictures(tmp_path):
    history = [r | {f"column {k}": math.sin(i * k) for k in range(20)} for i, r in enumerate(rows(5000))]
    failures = [{"step": i, "candidate": 0, "reason": f"reason {i} " * 100} for i in range(2000)]
    result = {"stopped": "done", "best": 4994.0, "nfe": 800_000}
    path = make(
        tmp_path / "run", history, failures=failures, result=result, best=16, pictured=range(0, 400, 10), side=200
    )
    html, page = read(path)
    assert len(html) < 5_000_000
    assert html.count("<h2 ") == len(SECTIONS) - 1  # no evidence was read
    assert sum(tag == "img" for tag, _ in page.tags) == 12 + 16 * 8 + 1
    assert "and 1,980 more reasons" in page.text
    assert "more columns are in history.jsonl" in page.text


def test_subscriber_writes_at_the_end_only(tmp_path):
    path = make(tmp_path / "run", rows(3))
    report = Report(path)
    none = Samples(torch.zeros(0, 2), torch.zeros(0), torch.zeros(0, 2, dtype=torch.int64))
    result = Result(none, none, [], Meter(), [], "done", 0, {}, None)
    setup = Setup(None, None, Budget(steps=1), 0)
    event = Event(setup, 1, None, Info(), Meter(), None, row(1), [])
    report(event)
    assert not (path / "report.html").exists()
    report(Event(setup, 1, None, Info(), Meter(), None, {}, [], result))
    assert (path / "report.html").exists()
    assert not list(path.glob(".report*"))


def test_what_is_looked_at_now_and_then_is_one_line_with_its_looks(tmp_path):
    """The alarm looks at ever fewer steps; a chart of gaps would show nothing."""
    looks = {1: 1.0, 4: 0.5, 16: 0.1}
    history = [r | ({"alarm.p": looks[i]} if i in looks else {}) for i, r in enumerate(rows(40))]
    html, _ = read(make(tmp_path / "run", history))
    chart = html[html.index("P-value of the alarm") :].partition("</figure>")[0]
    line, dots = (re.search(rf'class="{look}" d="([^"]*)"', chart)[1] for look in ("main", "dots"))
    assert (line.count("M"), line.count("L"), dots.count("M")) == (1, 2, 3)


def test_the_alarm_is_said_first_and_marked(tmp_path):
    history = [r | {"alarm": float(i >= 7), "alarm.p": 0.5} for i, r in enumerate(rows(20))]
    result = {"stopped": "done", "best": 14.0, "nfe": 3200}
    result["evidence"] = [{"name": "alarm", "value": 7, "says": "The last honest best is 1.5.", "warns": True}]
    html, page = read(make(tmp_path / "run", history, result=result, best=2))
    header = page.text[: page.text.index("Best objects")]
    assert "hacking alarm rang at step 7" in header and "The last honest best is 1.5." in header
    assert "1.5.." not in header
    assert html.count('class="post"') == 2 * (1 + 4)  # the reward and four more curves, each with a legend
    assert page.text.count("after the alarm") >= 1
    quiet = [r | {"alarm": 0.0} for r in rows(20)]
    html, page = read(make(tmp_path / "late", quiet, result=result, best=2))
    assert "hacking alarm rang at step 19" in page.text and 'class="post"' in html  # it looks once more at the end
    html, page = read(make(tmp_path / "quiet", quiet, result=result | {"evidence": []}, best=2))
    assert "rang" not in page.text and 'class="post"' not in html and 'role="note"' not in html
