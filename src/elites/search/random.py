"""Random search: the best of N prior samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ..stream import Stream
from ..target import Target
from ..templates import Search
from ..types import InputError

__all__ = ["RandomSearch"]


@dataclass
class RandomState:
    """The shape of the noise; random search learns nothing."""

    shape: tuple[int, ...]


@dataclass(frozen=True)
class RandomSearch(Search):
    """Best of N: fresh noise at every step, N as large as the budget. The baseline of every comparison.

    Arguments:
        population: candidates a step.

    References:
        Inference-Time Scaling for Diffusion Models beyond Scaling Denoising Steps (Ma et al., 2025),
        arXiv:2501.09732.
    """

    population: int = 16

    def __post_init__(self) -> None:
        if self.population < 1:
            raise InputError(f"The population is {self.population}: give at least one candidate.")

    def init(self, target: Target, stream: Stream) -> RandomState:
        return RandomState(tuple(target.prior.shape))

    def ask(self, state: RandomState, stream: Stream, ids: Sequence[int]) -> Tensor:
        return stream.normal(ids, state.shape)

    def tell(self, state: RandomState, ids: Sequence[int], rewards: Tensor, stream: Stream) -> RandomState:
        return state
