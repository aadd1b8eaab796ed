"""Rewards: any callable on a batch of decoded objects; ways to make one of what one has; and some that are ready."""

from . import digits
from .basic import per_sample
from .cached import cached
from .classifier import Ambiguity, LogProbability, Margin
from .clip import Aesthetic, CLIPScore, ImageEncoder, PickScore
from .combine import AtLeast, Constrained, Weighted
from .command import Command
from .encoding import to_array, to_json, to_parts, to_png
from .http import HTTP
from .images import CompressedSize, JPEGSize, Match, PNGSize, Symmetry
from .judge import Judge
from .molecules import QED, SA, LogP, Tanimoto
from .motion import Reach, SwingUp, pendulum
from .noisy import Ensemble, Repeated
from .preference import HPS, ImageReward
from .rollout import Rollout, WorldModel
from .scales import Rank, Raw, Standard
from .sets import MMD, Frechet
from .waiting import concurrent
from .workers import Spread

__all__ = [
    "HPS",
    "HTTP",
    "MMD",
    "QED",
    "SA",
    "Aesthetic",
    "Ambiguity",
    "AtLeast",
    "CLIPScore",
    "Command",
    "CompressedSize",
    "Constrained",
    "Ensemble",
    "Frechet",
    "ImageEncoder",
    "ImageReward",
    "JPEGSize",
    "Judge",
    "LogP",
    "LogProbability",
    "Margin",
    "Match",
    "PNGSize",
    "PickScore",
    "Rank",
    "Raw",
    "Reach",
    "Repeated",
    "Rollout",
    "Spread",
    "Standard",
    "SwingUp",
    "Symmetry",
    "Tanimoto",
    "Weighted",
    "WorldModel",
    "cached",
    "concurrent",
    "digits",
    "pendulum",
    "per_sample",
    "to_array",
    "to_json",
    "to_parts",
    "to_png",
]
