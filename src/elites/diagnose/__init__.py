"""Evidence that a result is real."""

from .density import DenoisingLoss
from .diversity import Diversity, vendi
from .hallucination import Last, LogSNR, TrajectoryVariance, Window
from .neighbours import DistanceToData, Memorised
from .quantiles import quantile, threshold
from .support import Subspace, local_subspace
from .typicality import Typicality, whiteness
from .watch import Watch

__all__ = [
    "DenoisingLoss",
    "DistanceToData",
    "Diversity",
    "Last",
    "LogSNR",
    "Memorised",
    "Subspace",
    "TrajectoryVariance",
    "Typicality",
    "Watch",
    "Window",
    "local_subspace",
    "quantile",
    "threshold",
    "vendi",
    "whiteness",
]
