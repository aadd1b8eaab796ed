"""Pages of the documentation, and the pieces of Python and the commands that they show."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
MADE = ("docs/api/", "docs/outside/")  # by the build of the site
PAGES = sorted(
    name
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
    if not (name := path.relative_to(ROOT).as_posix()).startswith(MADE)
)
PIECE = re.compile(
    r"(?:^<!-- not run: (?P<why>[^\n]+) -->\n)?^```python\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
)
INLINE = re.compile(r"`((?:elites|make|python) [^`\n]+)`")
COMMAND = re.compile(r"^    (?:[A-Z]+=\S+ )*((?:elites|make|python) .*?)(?:  .*|#.*)?$", re.MULTILINE)


@dataclass(frozen=True)
class Piece:
    """Python of a page, from which line, and why it cannot run, if that is so."""

    code: str
    line: int
    why: str | None


def text(page: str) -> str:
    """A page as it is read."""
    return (ROOT / page).read_text()


def pieces(page: str) -> list[Piece]:
    """The blocks of Python on a page, in order."""
    whole = text(page)
    return [Piece(m["code"], whole.count("\n", 0, m.start("code")), m["why"]) for m in PIECE.finditer(whole)]


def commands(page: str) -> list[list[str]]:
    """The command lines on a page and in its sentences, as words, without comments; no quotes are used in them."""
    return [line.split() for pattern in (COMMAND, INLINE) for line in pattern.findall(text(page))]
