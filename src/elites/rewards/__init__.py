"""Rewards: any callable on a batch of decoded objects, and some that come with the library."""

from . import digits
from .basic import per_sample
from .classifier import Ambiguity, Margin
from .images import CompressedSize, Match, Symmetry

__all__ = ["Ambiguity", "CompressedSize", "Margin", "Match", "Symmetry", "digits", "per_sample"]
