"""Evidence that a result is real."""

from .alarm import Spending, StopWhen, alarmed, unlike
from .density import DenoisingLoss
from .diversity import Diversity, vendi
from .evidence import Evidence
from .hallucination import Last, LogSNR, TrajectoryVariance, Window
from .neighbours import DistanceToData, Memorised
from .quantiles import quantile, threshold
from .readings import readings
from .reevaluation import Reevaluated, reevaluated
from .reference import Reference
from .statistics import Interval, expected_best, improvement, interval, middle, paired, share
from .support import Subspace, local_subspace
from .typicality import Typicality, whiteness
from .watch import Watch

__all__ = [
    "DenoisingLoss",
    "DistanceToData",
    "Diversity",
    "Evidence",
    "Interval",
    "Last",
    "LogSNR",
    "Memorised",
    "Reevaluated",
    "Reference",
    "Spending",
    "StopWhen",
    "Subspace",
    "TrajectoryVariance",
    "Typicality",
    "Watch",
    "Window",
    "alarmed",
    "expected_best",
    "improvement",
    "interval",
    "local_subspace",
    "middle",
    "paired",
    "quantile",
    "readings",
    "reevaluated",
    "share",
    "threshold",
    "unlike",
    "vendi",
    "whiteness",
]
