"""Docstrings of this package, which are plain text with a little Markdown, as the reStructuredText that autodoc reads.

Formulas stand in indented blocks and inside of sentences (`|z|^2`, `E|z|^2 = d`), where reStructuredText would see
marks of its own. So blocks become literal, text is escaped, and tables become tables.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

CODE = re.compile(r"(`[^`]+`)")
NAME = re.compile(r"`(?:el\.)?([A-Za-z][\w.]*)(\(\))?`")  # what may be linked
EMPHASIS = re.compile(r"(?<![\w\\*])\*(\w[^*\n]*?\w|\w)\*(?![\w*])")
ARXIV = re.compile(r"arXiv:(\d{4}\.\d{4,5})")
SECTION = re.compile(r"(Arguments|Raises|Returns|References|Differences|Attributes):$")


def converted(lines: list[str], links: Mapping[str, str]) -> list[str]:
    """The lines of a docstring in reStructuredText, their sections left to napoleon.

    Arguments:
        lines: of the docstring.
        links: names that stand in code, to the full names that they are linked to.
    """
    out: list[str] = []
    text: list[str] = []  # lines that wait to be escaped, since code may go over the end of a line
    i, section = 0, ""

    def flush() -> None:
        out.extend(escaped("\n".join(text), links).split("\n") if text else [])
        text.clear()

    while i < len(lines):
        line, before = lines[i], lines[i - 1] if i else ""
        section = line.strip() if SECTION.match(line) else section
        block = _block(lines, i)
        if line.startswith("|") and len(block) > 1 and block[1].startswith("|--"):
            flush()
            out += _table(block, links)
            i += len(block)
        elif line.startswith("    ") and not before.strip() and not section:
            flush()
            out += ["::", "", *block, ""]
            i += len(block)
        else:
            if section == "References:" and before.endswith("."):
                text.append("")  # papers stand one below the other
            text.append("Arguments:" if line == "Attributes:" else line)  # those of a dataclass are both
            i += 1
    flush()
    return out


def escaped(text: str, links: Mapping[str, str]) -> str:
    """Text in which nothing but code and emphasis is marked, and papers of arXiv are linked."""
    parts = CODE.split(text)
    out = parts[0] and _prose(parts[0])
    for i in range(1, len(parts), 2):
        before, after = parts[i - 1][-1:], parts[i + 1][:1]  # code ends where it touches a word: an escaped space
        out += "\\ " * (before.isalnum() or before in tuple("^=_*|")) + _code(parts[i], links)
        out += "\\ " * (after.isalnum() or after in tuple("^=_*|")) + _prose(parts[i + 1])
    return out


def _code(part: str, links: Mapping[str, str]) -> str:
    name = NAME.fullmatch(part)
    return f":py:obj:`{part[1:-1]} <{links[name[1]]}>`" if name and name[1] in links else f"`{part}`"


def _prose(part: str) -> str:
    kept = EMPHASIS.sub("\0\\1\1", part.replace("\\", "\\\\"))
    kept = re.sub(r"([*|])", r"\\\1", kept)
    kept = re.sub(r"(?<=\w)_(?!\w)", r"\\_", kept)
    kept = ARXIV.sub(r"`arXiv:\1 <https://arxiv.org/abs/\1>`__", kept)
    return kept.replace("\0", "*").replace("\1", "*")


def _block(lines: list[str], i: int) -> list[str]:
    """The table or the indented block that begins at line i, without the empty lines behind it."""
    mark, end = lines[i][:1], i
    while end < len(lines) and (lines[end][:1] == mark or (mark == " " and not lines[end].strip())):
        end += 1
    while end > i + 1 and not lines[end - 1].strip():
        end -= 1
    return lines[i:end]


def _table(rows: list[str], links: Mapping[str, str]) -> list[str]:
    """A Markdown table."""
    out = [".. list-table::", "   :header-rows: 1", ""]
    for row in (rows[0], *rows[2:]):
        cells = [escaped(cell.strip(), links) for cell in row.strip().strip("|").split("|")]
        out += [f"   {'*' if i == 0 else ' '} - {cell}" for i, cell in enumerate(cells)]
    return [*out, ""]
