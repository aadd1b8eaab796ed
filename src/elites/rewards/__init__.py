"""Rewards: any callable on a batch of decoded objects, and some that come with the library."""

from . import digits
from .basic import per_sample
from .classifier import Ambiguity, Margin
from .images import CompressedSize, Match, Symmetry
from .motion import Reach, SwingUp, pendulum

__all__ = [
    "Ambiguity",
    "CompressedSize",
    "Margin",
    "Match",
    "Reach",
    "SwingUp",
    "Symmetry",
    "digits",
    "pendulum",
    "per_sample",
]
