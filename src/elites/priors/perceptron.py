"""A residual perceptron, the network of the bundled priors over motions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from .network import WEIGHTS, Network, check_weights

__all__ = ["Perceptron"]

WAVES = 8  # frequencies of the time, each with sine and cosine
PARTS = ("weight", "bias")


@dataclass(frozen=True, eq=False)
class Perceptron(Network):
    """(x, t) to a prediction like x: h <- h + W2 silu(W1 norm(h)), between two linear layers.

    Objects are flattened to d numbers, and 16 sines and cosines of t join them.

    Arguments:
        own: weights: `enter.weight` `(width, d + 16)`, for each block i `blocks.i.0` (layer norm) and `blocks.i.1` and
            `blocks.i.3` (linear), `leave.weight` `(d, width)`, each with its `bias`.
    """

    own: Mapping[str, Tensor] = field(repr=False)

    @staticmethod
    def shapes(d: int, width: int, blocks: int) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the weights."""
        layers: dict[str, tuple[int, ...]] = {"enter": (width, d + 2 * WAVES), "leave": (d, width)}
        for i in range(blocks):
            layers |= {f"blocks.{i}.0": (width,), f"blocks.{i}.1": (width, width), f"blocks.{i}.3": (width, width)}
        return {f"{k}.{part}": v if part == "weight" else v[:1] for k, v in layers.items() for part in PARTS}

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        """Arguments: x `(B, *shape)`, t `(B,)`."""
        waves = t[:, None] * (math.pi / 2 * 2.0 ** torch.arange(WAVES, device=t.device))
        h = self._linear("enter", torch.cat([x.flatten(1), waves.sin(), waves.cos()], 1))
        for i in range(sum(name.endswith(".0.weight") for name in self.own)):
            inner = functional.layer_norm(h, h.shape[1:], *self._layer(f"blocks.{i}.0"))
            h = h + self._linear(f"blocks.{i}.3", functional.silu(self._linear(f"blocks.{i}.1", inner)))
        return self._linear("leave", h).reshape(x.shape)

    def weights(self) -> dict[str, Tensor]:
        """All of them."""
        return {name: v.detach() for name, v in self.own.items()}

    def with_weights(self, weights: Mapping[str, Tensor]) -> Perceptron:
        """The same perceptron with these weights."""
        check_weights(weights, self.own)
        own = {name: (v if v.requires_grad else v.clone()).to(self.own[name]) for name, v in weights.items()}
        return replace(self, own={**self.own, **own})

    def save(self, folder: Path) -> None:
        """As `weights.safetensors`."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file(self.weights(), folder / WEIGHTS)

    def _layer(self, name: str) -> tuple[Tensor, Tensor]:
        return self.own[f"{name}.weight"], self.own[f"{name}.bias"]

    def _linear(self, name: str, x: Tensor) -> Tensor:
        return functional.linear(x, *self._layer(name))
