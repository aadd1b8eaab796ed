"""Evidence that a result is real."""

from .watch import DistanceToData, Watch

__all__ = ["DistanceToData", "Watch"]
