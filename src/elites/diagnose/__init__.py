"""Evidence that a result is real."""

from .reevaluation import Reevaluated, reevaluated
from .statistics import Interval, expected_best, improvement, interval, middle, paired, share
from .support import Subspace, local_subspace
from .typicality import Typicality, whiteness
from .watch import DistanceToData, Watch

__all__ = [
    "DistanceToData",
    "Interval",
    "Reevaluated",
    "Subspace",
    "Typicality",
    "Watch",
    "expected_best",
    "improvement",
    "interval",
    "local_subspace",
    "middle",
    "paired",
    "reevaluated",
    "share",
    "whiteness",
]
