"""Evidence that a result is real."""

from .support import Subspace, local_subspace
from .typicality import Typicality, whiteness
from .watch import DistanceToData, Watch

__all__ = ["DistanceToData", "Subspace", "Typicality", "Watch", "local_subspace", "whiteness"]
