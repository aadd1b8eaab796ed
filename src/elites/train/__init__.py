"""Methods that move the prior itself, so that its plain samples are steered."""

from .adjoint import AdjointMatching
from .finetune import FineTune, FineTuneState, Fit
from .follow import Follow
from .limits import OffSupport, PathKL, Typical
from .weighted import RewardWeighted

__all__ = [
    "AdjointMatching",
    "FineTune",
    "FineTuneState",
    "Fit",
    "Follow",
    "OffSupport",
    "PathKL",
    "RewardWeighted",
    "Typical",
]
