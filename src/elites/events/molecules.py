"""Molecules as drawings, by RDKit where there is one."""

from __future__ import annotations

import re
import xml.etree.ElementTree as tree
from functools import lru_cache
from typing import Any

__all__ = ["outline"]

PATH = re.compile(r"[MLQCZHVmlqczhv0-9 .,\-]+")
ATOMS = 200  # of the largest molecule that is drawn
LETTERS = 1_000  # of the longest SMILES that is read
WIDE, HIGH = 200, 150


@lru_cache(maxsize=2048)
def outline(smiles: str) -> tuple[str, str]:
    """Path data of the bonds, to be stroked, and of the letters, to be filled, in a box of 200 by 150.

    Of what RDKit draws only the data of paths is taken, and only if it is made of path commands and numbers. Without
    RDKit, and of what is no molecule, both are empty.
    """
    try:
        from rdkit import Chem, rdBase
        from rdkit.Chem.Draw import rdMolDraw2D
    except ImportError:
        return "", ""
    if len(smiles) > LETTERS:
        return "", ""
    try:
        with rdBase.BlockLogs():
            molecule = Chem.MolFromSmiles(smiles)
            if molecule is None or not 0 < molecule.GetNumAtoms() <= ATOMS:
                return "", ""
            canvas = rdMolDraw2D.MolDraw2DSVG(WIDE, HIGH)
            options: Any = canvas.drawOptions()
            options.useBWAtomPalette()
            options.clearBackground = False
            options.padding = 0.06
            options.maxFontSize = 14
            rdMolDraw2D.PrepareAndDrawMolecule(canvas, molecule)
            canvas.FinishDrawing()
        root = tree.fromstring(canvas.GetDrawingText())
    except Exception:  # RDKit raises errors of C++ of many kinds
        return "", ""
    strokes: list[str] = []
    fills: list[str] = []
    for element in root.iter():
        data = element.get("d", "")
        if element.tag.rpartition("}")[2] != "path" or not PATH.fullmatch(data):
            continue
        style = element.get("style", "") + ";fill:" + element.get("fill", "none")
        filled = re.search(r"fill:\s*#", style) is not None
        (fills if filled else strokes).append(_short(data))
    return "".join(strokes), "".join(fills)


def _short(data: str) -> str:
    """The same path with a digit after the point, without spaces that say nothing."""
    rounded = re.sub(r"-?\d+\.\d+", lambda m: f"{float(m.group()):.1f}", data)
    return re.sub(r"\s*([MLQCZHVmlqczhv])\s*", r"\1", rounded).replace(",", " ").strip()
