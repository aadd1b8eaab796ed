"""Steering along the way: methods that open the walk from noise to object and act while it goes on."""

from .decoding import ValueDecoding
from .dps import DPS
from .feynman_kac import FeynmanKac
from .guesses import CleanGuess, Draws
from .guidance import Guidance, Repeat
from .lgd import LGDMC
from .lookahead import AheadLoss, Constant, Lookahead, LookaheadState, Published, RawGradient, Tweedie
from .mmps import MMPS
from .mpgd import MPGD
from .particles import Particles, ParticleState
from .paths import Paths
from .potentials import Difference, Max, Sum
from .rollover import Rollover
from .strengths import Raw, Share, Tilt
from .trajectory import TrajectorySearch
from .transitions import Glass, Native
from .tree import TreeSearch
from .twisted import Tempered, Twisted

__all__ = [
    "DPS",
    "LGDMC",
    "MMPS",
    "MPGD",
    "AheadLoss",
    "CleanGuess",
    "Constant",
    "Difference",
    "Draws",
    "FeynmanKac",
    "Glass",
    "Guidance",
    "Lookahead",
    "LookaheadState",
    "Max",
    "Native",
    "ParticleState",
    "Particles",
    "Paths",
    "Published",
    "Raw",
    "RawGradient",
    "Repeat",
    "Rollover",
    "Share",
    "Sum",
    "Tempered",
    "Tilt",
    "TrajectorySearch",
    "TreeSearch",
    "Tweedie",
    "Twisted",
    "ValueDecoding",
]
