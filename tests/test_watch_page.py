"""The live page in a real browser: a study runs, the page follows it, and its buttons work."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from chromium import Chromium, found

pytestmark = pytest.mark.skipif(not found(), reason="no Chromium is installed")

SCRIPT = "<script>window.hacked=1</script>"
IMAGE = "<img src=x onerror=window.hacked=2>"
HEBREW = "\u05e9\u05dc\u05d5\u05dd"
STUDY = f"""
import time
from dataclasses import dataclass
import elites as el
prior = el.priors.mixture([[2.0, 0.0, 1.0], [-2.0, 1.0, 0.0]], 0.3)
@dataclass(frozen=True)
class Prompted:
    prompt: str
    def __call__(self, x):
        time.sleep(0.15)
        out = x[:, 0].clone()
        if (x[:, 1] > 0.2).any():
            raise ValueError("{SCRIPT} {IMAGE} \\u202e{HEBREW}")
        return out
terms = {{"{SCRIPT}": (Prompted("{SCRIPT} {HEBREW}"), 1.0, el.rewards.Raw())}}
class Named(el.rewards.Weighted):
    def __repr__(self):
        return f"Named({{self.terms!r}})"
target = el.Target(prior, Named(terms), walk=el.Plain(steps=2), batch=1, on_error=el.Worst(limit=1))
method = el.Elites(population=4)
budget = el.Budget(steps=10_000)
"""


def start(folder, *arguments, **more):
    command = [sys.executable, "-m", "elites", *map(str, arguments)]
    with (folder / "errors").open("a") as errors:
        return subprocess.Popen(command, cwd=folder, stderr=errors, text=True, **more)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with a study that runs in it, and the address of its page."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "study.py").write_text(STUDY)
    watch = start(folder, "watch", stdout=subprocess.PIPE)
    run = start(folder, "run", "study.py", "-q", stdout=subprocess.DEVNULL)
    yield folder, watch.stdout.readline().strip(), run
    for process in (run, watch):
        process.terminate()
        process.wait(20)
    watch.stdout.close()


@pytest.fixture(scope="module")
def page(home, tmp_path_factory):
    """The page, open in a browser; in the end it must have asked nobody else, and complained of nothing."""
    end = time.monotonic() + 60
    while not (home[0] / "runs" / "study" / "run.json").exists():
        assert home[2].poll() is None and time.monotonic() < end, (home[0] / "errors").read_text()
        time.sleep(0.1)
    browser = Chromium(tmp_path_factory.mktemp("profile"))
    browser.size(1280)
    browser.open(home[1])
    browser.until("document.querySelector('[data-part=reward] svg')")
    yield browser
    browser.close()
    asked = {urlsplit(url).netloc for url in browser.requests if not url.startswith("data:")}
    assert asked == {urlsplit(home[1]).netloc}
    assert browser.complaints == []


STEP = r"+(document.querySelector('.now span')?.textContent.match(/step (\d+)/)?.[1] ?? -1)"


def test_the_page_follows_the_run_without_a_reload(page):
    page.js("window.survives = 'yes'")
    page.js("document.querySelector('[data-do=stop]').mark = 'same'")
    page.js("document.querySelector('[data-part=reproduce]').open = true")
    page.js("document.querySelector('[data-do=stop]').focus({preventScroll: true})")
    page.js("scrollTo(0, 300)")
    before, curve = (
        page.js(STEP),
        page.js("document.querySelector('[data-part=reward] .plot path.main').getAttribute('d')"),
    )
    page.until(f"{STEP} >= {before + 3}")
    page.until(
        f"document.querySelector('[data-part=reward] .plot path.main').getAttribute('d') !== {json.dumps(curve)}"
    )
    assert page.js("window.survives") == "yes"
    assert page.js("document.activeElement.mark") == "same"  # the button is the one that it was, and has the focus
    assert page.js("document.querySelector('[data-part=reproduce]').open")
    assert page.js("scrollY") == 300
    assert page.js("document.getElementById('said').textContent") == ""  # steps are not announced


def test_what_strangers_write_is_text(page):
    page.js("document.querySelectorAll('details').forEach(d => d.open = true)")
    page.until("document.querySelector('[data-part=failures] table')")
    text = page.js("document.body.innerText")
    assert text.count(SCRIPT) >= 3  # the prompt, the name of a term and the reason of the failures
    assert IMAGE in text and HEBREW in text and "\u202e" not in text
    failures = page.js("document.querySelector('[data-part=failures]').innerText")
    assert SCRIPT in failures and HEBREW in failures
    assert SCRIPT in page.js("document.querySelector('[data-part=curves]').innerText")
    assert SCRIPT in page.js("document.querySelector('[data-part=reproduce]').innerText")
    assert page.js("typeof window.hacked") == "undefined"
    assert page.js("document.querySelectorAll('main script, main [onerror], main img[src=x]').length") == 0


def test_it_fits_a_phone_and_a_desk(page, tmp_path):
    keep = os.environ.get("ELITES_PICTURES")
    for width, dark in ((390, False), (390, True), (1280, False), (1280, True)):
        page.size(width, dark=dark)
        page.until(f"innerWidth === {width}")
        assert page.js("document.documentElement.scrollWidth") <= width
        small = "[...document.querySelectorAll('button')].filter(b => b.getBoundingClientRect().height < 32).length"
        assert page.js(small) == 0
        page.picture(Path(keep or tmp_path) / f"{width}{'d' * dark}.png", False)
    colors = page.js("[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]")
    assert [sum(map(int, re.findall(r"\d+", c)[:3])) > 384 for c in colors] == [True, False]  # light on dark
    page.size(1280)


def test_pause_by_keyboard_and_stop_by_mouse(page, home):
    folder, _, run = home
    history = folder / "runs" / "study" / "history.jsonl"
    page.js("document.querySelector('[data-do=pause]').focus()")
    page.key("Enter", 13, "\r")
    page.until("document.querySelector('section .now.paused')")
    assert page.js("document.activeElement.textContent") == "Go on"
    rows = len(history.read_text().splitlines())
    assert page.js(STEP) == rows - 1
    time.sleep(1.5)  # several steps of the study
    assert len(history.read_text().splitlines()) == rows
    assert "paused" in page.js("document.getElementById('said').textContent")
    page.click("[data-do=go-on]")
    page.until(f"document.querySelector('section .now.running') && {STEP} > {rows}")
    before, rows = page.js(STEP), len(history.read_text().splitlines())
    page.click("[data-do=stop]")
    assert run.wait(30) == 130
    assert len(history.read_text().splitlines()) <= rows + 3  # what was not written yet, and the step under way
    told = json.loads((folder / "runs" / "study" / "result.json").read_text())
    assert told["stopped"] == "interrupted"
    page.until("document.querySelector('section .now.stopped')")
    assert page.js(STEP) >= before
    assert page.js("document.querySelectorAll('[data-do]').length") == 0
    assert page.js("document.querySelector('.again code').textContent") == "elites resume runs/study"
    assert page.js("document.activeElement.tagName") == "ARTICLE"  # not lost with the button
    assert page.js("window.survives") == "yes"


def test_several_runs_stand_side_by_side(page, home):
    folder = home[0]
    quick = STUDY.replace("0.15", "0").replace("10_000", "3")
    (folder / "other.py").write_text(quick)
    start(folder, "run", "other.py", "-q", stdout=subprocess.DEVNULL).wait(60)
    page.until("document.querySelectorAll('#list input').length === 2")  # it came by itself
    box = "#list tr:first-child input"
    if not page.js(f"document.querySelector('{box}').checked"):
        page.click(box)
    page.until("document.querySelectorAll('article [data-part=reward] .plot svg').length === 2")
    where = (
        "[...document.querySelectorAll('[data-part=reward]')].map(e => e.getBoundingClientRect()).map(r => [r.x, r.y])"
    )
    (x, y), (x2, y2) = page.js(where)
    assert x != x2 and abs(y - y2) < 1
    page.size(390)
    page.until("innerWidth === 390")
    (x, y), (x2, y2) = page.js(where)
    assert x == x2 and y2 > y
    page.size(1280)
    page.click(box)
    page.until("document.querySelectorAll('article').length === 1")
