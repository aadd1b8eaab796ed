"""The site of the documentation: `make docs` builds it from these pages and the docstrings.

A new page is one more line in PAGES; one that is missing there is a warning, and warnings are errors.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent
sys.path.insert(0, str(HERE / "_site"))

import api  # noqa: E402
import docstrings  # noqa: E402
from sphinx.application import Sphinx  # noqa: E402
from sphinx.errors import ExtensionError  # noqa: E402
from sphinx.util import logging  # noqa: E402

from elites import __version__  # noqa: E402

PAGES = {  # headings of the side bar, with their pages
    "Start": ["words", "choosing", "evidence"],
    "Guides": [
        "pipelines",
        "networks",
        "rewards",
        "ready_rewards",
        "judges",
        "steering",
        "previews",
        "finetuning",
        "workers",
        "ledger",
        "report",
        "watching",
        "comparing",
        "tracking",
        "adding",
    ],
    "Measured": [
        "quality",
        "hallucination",
        "scale",
        "elites",
        "benchmarks",
        "reproducing",
        "reproductions/README",
    ],
    "Reference": [
        "api/index",
        "design",
        "outside/digits",
        "outside/motions",
        "outside/contributing",
        "outside/changelog",
    ],
}
OUTSIDE = {  # pages that lie elsewhere in the repository
    "digits": "src/elites/data/digits/README.md",
    "motions": "src/elites/data/trajectories/README.md",
    "contributing": "CONTRIBUTING.md",
    "changelog": "CHANGELOG.md",
}

project = "elites"
author = "The elites developers"
release = __version__
html_title = "elites"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_site"]

nitpicky = True
nitpick_ignore_regex = [  # links of prose are made of what there is; types that have no page stay plain text
    (r"py:class", r".*"),
    (r"py:exc", r"torch\..*"),
]
default_role = "code"
highlight_language = "none"
myst_heading_anchors = 4

autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_inherit_docstrings = False  # what every search or walk has is said once, in its template
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_preserve_defaults = True
autodoc_class_signature = "mixed"
python_maximum_signature_line_length = 88
add_module_names = False
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_custom_sections = ["Differences"]

html_theme = "furo"
html_static_path = ["_site/style"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
html_show_search_summary = False  # it is fetched, which a page that is opened from a disk may not do
html_show_copyright = False
pygments_style = "friendly"
pygments_dark_style = "native"

log = logging.getLogger(__name__)


def _contents(app: Sphinx, page: str, source: list[str]) -> None:
    """The tables of contents and the links to cards of data: pages are plain Markdown, to be read elsewhere too."""
    for name, path in OUTSIDE.items():
        source[0] = source[0].replace(f"(../{path})", f"(outside/{name}.md)")
    if page == "index":
        for heading, pages in PAGES.items():
            listed = "\n".join(pages)
            source[0] += f"\n```{{toctree}}\n:hidden:\n:caption: {heading}\n\n{listed}\n```\n"
    if page == "reproductions/README":
        listed = "\n".join(sorted(p.stem for p in (HERE / "reproductions").glob("[a-z]*.md")))
        source[0] += f"\n```{{toctree}}\n:hidden:\n\n{listed}\n```\n"


def _docstring(app: Sphinx, kind: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Plain text with a little Markdown, for napoleon."""
    home = getattr(thing, "__module__", None) or name
    lines[:] = docstrings.converted(lines, api.links(home if home.startswith("elites") else name))
    if kind in ("property", "attribute"):
        lines[:0] = ["..", ""]  # napoleon takes what stands before a colon in the first line for a type


def _skipped(app: Sphinx, kind: str, name: str, thing: Any, skip: bool, options: Any) -> bool | None:
    """Defaults that are functions of other packages are no members."""
    foreign = callable(thing) and not (getattr(thing, "__module__", None) or "").startswith("elites")
    return True if foreign else None


def _written(app: Sphinx) -> None:
    """Pages that are made: the API, and copies of what lies outside of this folder."""
    api.write(HERE / "api")
    (HERE / "outside").mkdir(exist_ok=True)
    for name, path in OUTSIDE.items():
        api.keep(HERE / "outside" / f"{name}.md", (ROOT / path).read_text().replace("(docs/", "(../"))
    for wrong in api.missing():
        log.warning(wrong)


def _alone(app: Sphinx, error: Exception | None) -> None:
    """A page that would ask another host for anything is refused: the site has to work without a network."""
    asks = re.compile(r"<(?:script|link|img|iframe|source|video)\b[^>]*(?:src|href)=\"(?:https?:)?//[^>]*>")
    loads = re.compile(r"(?:@import|url\()[^;)]*//[^;)]*")
    for path in sorted(Path(app.outdir).rglob("*")) if error is None else []:
        if path.suffix in (".html", ".css"):
            found = (asks if path.suffix == ".html" else loads).search(path.read_text())
            if found:
                raise ExtensionError(f"{path.name} asks another host: {found[0]}")


def setup(app: Sphinx) -> None:
    """Connect what is above."""
    app.connect("builder-inited", _written)
    app.connect("build-finished", _alone)
    app.connect("source-read", _contents)
    app.connect("autodoc-skip-member", _skipped)
    app.connect("autodoc-process-docstring", _docstring, priority=400)  # before napoleon
