"""Steering along the way: methods that open the walk from noise to object and act while it goes on."""

from .decoding import ValueDecoding
from .feynman_kac import FeynmanKac
from .guesses import CleanGuess, Draws
from .particles import Particles, ParticleState
from .paths import Paths
from .potentials import Difference, Max, Sum
from .rollover import Rollover
from .trajectory import TrajectorySearch
from .transitions import Glass, Native
from .tree import TreeSearch
from .twisted import Tempered, Twisted

__all__ = [
    "CleanGuess",
    "Difference",
    "Draws",
    "FeynmanKac",
    "Glass",
    "Max",
    "Native",
    "ParticleState",
    "Particles",
    "Paths",
    "Rollover",
    "Sum",
    "Tempered",
    "TrajectorySearch",
    "TreeSearch",
    "Twisted",
    "ValueDecoding",
]
