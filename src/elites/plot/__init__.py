"""Figures of runs for papers, one for each panel of a report (extra `plot`).

Each function takes a run folder, a `Record` of one or a `Result`, and the width of a column in inches; each returns a
matplotlib figure that belongs to nobody else: pyplot is not touched, and nothing is saved. Colours hold for
colour-blind eyes, and lightness and dashes tell curves apart in grey.

    el.plot.reward("runs/left").savefig("reward.pdf")
"""

from .panels import budget, evidence, judge, objects, reward
from .spread import compare

__all__ = ["budget", "compare", "evidence", "judge", "objects", "reward"]
