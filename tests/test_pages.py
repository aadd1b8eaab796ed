"""What the documentation shows runs: every page's Python in order, and commands, their options and files exist."""

import importlib.util
import math
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from helpers import on_flow, on_humps
from pages import PAGES, ROOT, commands, pieces, text
from typer.main import get_command

import elites as el
from elites.cli import app

ELSEWHERE = {  # where pages run that need more than the names below
    "docs/judges.md": "below, as a program",
    "docs/workers.md": "below, as a script with processes of its own",
    "docs/networks.md": "tests/test_networks.py, which writes the file of a network",
    "docs/rewards.md": "tests/test_combined.py",
}
WITH_PYTHON = [page for page in PAGES if pieces(page) and page not in ELSEWHERE]
SMALLER = {  # page: what is large, and what the tests take instead
    "README.md": [("nfe=10_000", "nfe=800")],
    "docs/index.md": [("nfe=10_000", "nfe=800")],
    "docs/choosing.md": [("nfe=1_000", "nfe=200")],
    "docs/reproducing.md": [("nfe=2_000", "nfe=160"), ("range(3)", "range(2)")],
    "docs/pipelines.md": [("nfe=20_000", "nfe=200"), ("steps=10)", "steps=2)")],
    "docs/steering.md": [("n=4, children=32, steps=20", "n=2, children=4, steps=5")],
    "docs/finetuning.md": [("steps=50", "steps=1"), ("temperature=3.0)", "temperature=3.0, n=4, steps=4)")],
}


def pipeline():
    """What a page on pipelines takes for granted."""
    pytest.importorskip("transformers")
    from pipelines import sd

    return {"pipe": sd(), "reward": lambda images: images.mean((1, 2, 3))}


GIVEN = {  # page: names that a reader has
    "README.md": pipeline,
    "docs/pipelines.md": pipeline,
}


@pytest.mark.parametrize("page", WITH_PYTHON)
def test_the_python_of_a_page_runs(page, tmp_path, monkeypatch):
    pytest.importorskip("diffusers")
    if "gymnasium" in text(page):
        pytest.importorskip("gymnasium")
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    module = ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", module)  # where functions say they are from, to be found by other threads
    vars(module).update(GIVEN.get(page, dict)())
    left = SMALLER.get(page, [])
    for piece in pieces(page):
        if piece.why is None:
            code = piece.code
            for large, small in SMALLER.get(page, []):
                if large in code:
                    left = [pair for pair in left if pair[0] != large]
                    code = code.replace(large, small)
            exec(compile("\n" * piece.line + code, ROOT / page, "exec"), vars(module))
    assert not left, f"{left} is not on the page any more"
    result = vars(module).get("result")
    assert result is None or math.isfinite(float(result.best.reward[0]))
    if page == "README.md":
        assert vars(module)["image"].shape == (1, 1, 8, 8)
        assert float(result.best.reward[0]) > 0.2
        assert (tmp_path / "runs" / "left" / "best.safetensors").exists()


def test_the_methods_of_the_page_on_adding_keep_the_contract():
    pytest.importorskip("diffusers")
    import test_contract as contract

    page = pieces("docs/adding.md")
    search, walk = (next(piece.code for piece in page if f"(el.{kind})" in piece.code) for kind in ("Search", "Walk"))
    (lines,) = (piece.code for piece in page if piece.why is not None)
    names = {"__name__": "page", "on_humps": on_humps, "on_flow": on_flow}
    exec(search + walk + lines, names)
    for _, method, make in names["METHODS"]:
        contract.test_the_same_seed_gives_the_same_run(method, make)
        contract.test_another_seed_gives_another_run(method, make)
        contract.test_micro_batches_change_nothing(method, make, failing=True)
        contract.test_every_state_survives_safetensors_and_json(method, make)
        contract.test_the_meter_equals_a_counting_stub(method, make, None)
        contract.test_every_reported_sample_is_drawn_again_from_its_key(method, make)


def test_pages_run_or_say_why_not():
    why = [(page, piece.why) for page in PAGES for piece in pieces(page) if piece.why is not None]
    assert len(why) <= 5, f"so much is not run: {why}"
    assert all(len(reason) > 15 for _, reason in why)
    assert len(WITH_PYTHON) > 10 and set(ELSEWHERE) < set(PAGES)  # that pages were found


def test_the_program_of_the_page_on_judges_answers(monkeypatch, capsys):
    (program,) = (piece.code for piece in pieces("docs/judges.md") if piece.why is None)
    monkeypatch.setattr(sys, "stdin", ['{"id": 7, "object": "CCO"}', '{"id": 8, "object": 0}'])
    exec(program, {"dock": len})
    assert capsys.readouterr().out.splitlines() == [
        '{"id": 7, "score": 3}',
        """{"id": 8, "error": "object of type 'int' has no len()"}""",
    ]


def test_the_page_on_workers_runs_as_a_script(tmp_path):
    pytest.importorskip("diffusers")
    code, spread = (piece.code for piece in pieces("docs/workers.md"))
    (tmp_path / "script.py").write_text(code + "        print(result.stopped)\n\n\n" + spread)
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.stdout == "budget: all 3 steps are done\n", done.stderr


@pytest.mark.parametrize("page", PAGES)
def test_commands_exist_with_their_options(page):
    known = get_command(app).commands
    goals = set(re.findall(r"^(\w+):", text("Makefile"), re.MULTILINE))
    for program, *words in commands(page):
        named = [word for word in words if not word.startswith(("-", "[", "#"))]
        flags = {word.partition("=")[0] for word in words if word.startswith("-")}
        if program == "make":
            assert {word for word in named if "=" not in word} <= goals, words
        elif program == "elites":
            assert named[0] in known, words
            assert flags <= {o for p in known[named[0]].params for o in (*p.opts, *p.secondary_opts)} | {"--help"}, (
                words
            )
        else:
            source = _source(words)
            assert source, words
            known_to_it = set(re.findall(r"\"(--[\w-]+)\"", source))
            if 'f"--{name}"' in source:
                known_to_it |= {f"--{name}" for name in re.findall(r"\b([a-z]+)\b", source)}
            assert flags - {"-m"} <= known_to_it, words


def _source(words):
    """The text of what `python WORDS` runs, with its package; empty if that is not there."""
    if words[0] != "-m":
        path = ROOT / words[0] if (ROOT / words[0]).exists() else ROOT / "examples" / words[0]
        return path.read_text() if path.exists() else ""
    found = importlib.util.find_spec(words[1])
    if found is None or words[1].startswith("pytest"):
        return "" if found is None else "".join(f'"{word}"' for word in words)
    files = [found.origin] if not found.submodule_search_locations else ROOT.glob(f"{words[1].replace('.', '/')}/*.py")
    return "".join(Path(f).read_text() for f in files)


@pytest.mark.parametrize("page", PAGES)
def test_links_inside_the_repository_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", text(page)):
        name, _, anchor = link.partition("#")
        path = (ROOT / page).parent / name if name else ROOT / page
        if not link.startswith("http"):
            assert path.exists(), link
            if anchor and path.suffix == ".md":
                headings = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
                assert anchor in [re.sub(r"[^\w\- ]", "", h).strip().lower().replace(" ", "-") for h in headings], link


def test_every_exported_name_has_a_docstring_and_a_page():
    sys.path.insert(0, str(ROOT / "docs" / "_site"))
    try:
        import api
    finally:
        sys.path.pop(0)
    assert api.missing() == []
    names = {name.rpartition(".")[2] for name in api.exported()}
    assert {n for n in el.__all__ if not isinstance(getattr(el, n), ModuleType)} <= names
