"""Figures of runs for papers, one for each panel of a report (extra `plot`).

Each function takes a run folder, a `Record` of one or a `Result`, and the width of a column in inches; each returns a
matplotlib figure that belongs to nobody else: pyplot is not touched, and nothing is saved. Colours hold for
colour-blind eyes, and lightness and dashes tell curves apart in grey.

    el.plot.reward("runs/left").savefig("reward.pdf")
"""

from .bars import failures, probe, readings
from .panels import budget, evidence, judge, reward
from .pictured import lineage, objects
from .spread import compare

__all__ = [
    "budget",
    "compare",
    "evidence",
    "failures",
    "judge",
    "lineage",
    "objects",
    "probe",
    "readings",
    "reward",
]
