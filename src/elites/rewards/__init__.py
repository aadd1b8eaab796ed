"""Rewards: any callable on a batch of decoded objects, and some that come with the library."""

from . import digits
from .basic import per_sample
from .classifier import Ambiguity, Margin
from .combine import AtLeast, Constrained, Weighted
from .images import CompressedSize, Match, Symmetry
from .motion import Reach, SwingUp, pendulum
from .noisy import Ensemble, Repeated
from .scales import Rank, Raw, Standard
from .spread import concurrent

__all__ = [
    "Ambiguity",
    "AtLeast",
    "CompressedSize",
    "Constrained",
    "Ensemble",
    "Margin",
    "Match",
    "Rank",
    "Raw",
    "Reach",
    "Repeated",
    "Standard",
    "SwingUp",
    "Symmetry",
    "Weighted",
    "concurrent",
    "digits",
    "pendulum",
    "per_sample",
]
