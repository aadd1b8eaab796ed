"""A residual perceptron, the network of the bundled priors over motions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["Perceptron"]

WAVES = 8  # frequencies of the time, each with sine and cosine
PARTS = ("weight", "bias")


@dataclass(frozen=True, eq=False)
class Perceptron:
    """(x, t) to a prediction like x: h <- h + W2 silu(W1 norm(h)), between two linear layers.

    Objects are flattened to d numbers, and 16 sines and cosines of t join them.

    Arguments:
        weights: `enter.weight` `(width, d + 16)`, for each block i `blocks.i.0` (layer norm) and `blocks.i.1` and
            `blocks.i.3` (linear), `leave.weight` `(d, width)`, each with its `bias`.
    """

    weights: Mapping[str, Tensor] = field(repr=False)

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
        for i in range(sum(name.endswith(".0.weight") for name in self.weights)):
            inner = functional.layer_norm(h, h.shape[1:], *self._layer(f"blocks.{i}.0"))
            h = h + self._linear(f"blocks.{i}.3", functional.silu(self._linear(f"blocks.{i}.1", inner)))
        return self._linear("leave", h).reshape(x.shape)

    def _layer(self, name: str) -> tuple[Tensor, Tensor]:
        return self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]

    def _linear(self, name: str, x: Tensor) -> Tensor:
        return functional.linear(x, *self._layer(name))
