"""Evidence that a result is real."""

from .typicality import Typicality, whiteness
from .watch import DistanceToData, Watch

__all__ = ["DistanceToData", "Typicality", "Watch", "whiteness"]
