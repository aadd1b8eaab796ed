"""Docstrings reach the pages of the API with all that they say: nothing in a formula is taken for a mark."""

import inspect
import re
import sys
from importlib import import_module

import pytest
from pages import ROOT

core = pytest.importorskip("docutils.core")
sys.path.insert(0, str(ROOT / "docs" / "_site"))
api, docstrings = import_module("api"), import_module("docstrings")
sys.path.pop(0)

QUIET = {"report_level": 2, "halt_level": 2, "warning_stream": False, "default_role": "code"}


def shown(text):
    """What a reader sees of a docstring."""
    lines = docstrings.converted(inspect.cleandoc(text).split("\n"), {"Elites": "elites.search.Elites"})
    at = next((i for i, line in enumerate(lines) if docstrings.SECTION.match(line)), len(lines))
    lines = "\n".join([*lines[:at], *(line.strip() for line in lines[at:])])  # sections are left to napoleon
    lines = ".. default-role:: code\n\n" + re.sub(r":py:obj:`([^`]+?) <[\w.]+>`", r"``\1``", lines)
    return core.publish_doctree(lines, settings_overrides=QUIET).astext()


def bare(text):
    """Letters and signs, without spaces and without marks of Markdown."""
    return re.sub(r"[\s`*\-|]|^Attributes:$", "", text.replace("Attributes:", "Arguments:"))


def documented():
    """Every docstring on the pages: of exported things, their methods, and the modules that they are written in."""
    for name, (_, home, thing) in api.exported().items():
        yield name, thing.__doc__
        yield home, import_module(home).__doc__
        for method, f in vars(thing).items() if inspect.isclass(thing) else ():
            if not method.startswith("_") and getattr(f, "__doc__", None) and inspect.isfunction(f):
                yield f"{name}.{method}", f.__doc__


def test_every_docstring_says_the_same_on_its_page():
    read = dict(documented())
    assert len(read) > 250
    for name, text in read.items():
        assert bare(shown(text)) == bare(text), name


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("|z|^2/d of N(0, I), and y - A(x0)|.", "|z|^2/d of N(0, I), and y - A(x0)|."),
        ("A *target* is 2 * x * y, x_ and *args.", "A target is 2 * x * y, x_ and *args."),
        ("`spread`^2 = 1 and a\\b", "spread^2 = 1 and a\\b"),
        ("Noise `(n, *shape)` of `Elites()`, `f(x)`.", "Noise (n, *shape) of Elites(), f(x)."),
        ("See (Ma et al., 2025), arXiv:2501.09732.", "See (Ma et al., 2025), arXiv:2501.09732."),
        ("So:\n\n    x <- |a| *b*  `c`\n      y_\n\nand on.", "So:\n\nx <- |a| *b*  `c`\n  y_\n\nand on."),
    ],
)
def test_signs_stay_what_they_are(text, says):
    assert shown(text) == says


def test_what_is_marked():
    assert ":py:obj:`Elites() <elites.search.Elites>`" in docstrings.escaped(
        "`Elites()`", {"Elites": "elites.search.Elites"}
    )
    assert "<https://arxiv.org/abs/2501.09732>" in docstrings.escaped("arXiv:2501.09732", {})
    table = core.publish_doctree("\n".join(docstrings.converted(["| a | b |", "|---|---|", "| `c` | d |"], {})))
    assert [cell.astext() for cell in table.findall() if cell.tagname == "entry"] == ["a", "b", "c", "d"]
    assert api.links("elites.train.limits")["Typical"] == "elites.train.Typical"  # two things have this name
    assert api.links("elites.search.guards")["Typical"] == "elites.search.Typical"
