"""Evidence that a result is real."""

from .alarm import Spending, StopWhen, alarmed, unlike
from .density import DenoisingLoss
from .diversity import Diversity, vendi
from .evidence import Evidence
from .hallucination import Last, LogSNR, TrajectoryVariance, Window
from .neighbours import DistanceToData, Memorised
from .quantiles import quantile, threshold
from .readings import readings
from .reference import Reference
from .support import Subspace, local_subspace
from .typicality import Typicality, whiteness
from .watch import Watch

__all__ = [
    "DenoisingLoss",
    "DistanceToData",
    "Diversity",
    "Evidence",
    "Last",
    "LogSNR",
    "Memorised",
    "Reference",
    "Spending",
    "StopWhen",
    "Subspace",
    "TrajectoryVariance",
    "Typicality",
    "Watch",
    "Window",
    "alarmed",
    "local_subspace",
    "quantile",
    "readings",
    "threshold",
    "unlike",
    "vendi",
    "whiteness",
]
