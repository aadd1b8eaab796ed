"""Gaussian priors from any torch network, and classifier-free guidance.

A network predicts noise, clean data, v, a score or a velocity; `GaussianPrior` turns that into the clean guess
`E[x0 | x_t]` from which every walk is built.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..kernel import DDIM, Renoise
from ..levels import trainable
from ..schedule import Eps, Prediction, Schedule, Score, Table, Velocity
from ..stream import Id, Stream
from ..types import Gaussian, InputError
from .network import Tunable, network

__all__ = ["CFG", "GaussianPrior", "check_device"]


def check_device(device: str | torch.device) -> torch.device:
    """The device, if this machine has it.

    Raises:
        InputError: if it does not.
    """
    wanted = torch.device(device)
    if wanted.type == "cuda" and not torch.cuda.is_available():
        raise InputError(f"The device {wanted} was asked for and this machine has no usable GPU: use device='cpu'.")
    if wanted.type == "cuda" and (wanted.index or 0) >= torch.cuda.device_count():
        raise InputError(f"The device {wanted} does not exist: this machine has {torch.cuda.device_count()} GPU(s).")
    return wanted


def _identity(x0: Tensor) -> Tensor:
    return x0


@dataclass(frozen=True, eq=False)
class GaussianPrior:
    """A prior from a network that sees `x = alpha x0 + sigma z`.

    Arguments:
        net: `(x, t)` with x `(B, *shape)` and t `(B,)` to the prediction `(B, *shape)`; a torch module, or
            `Tunable(function, module)`, can be trained.
        shape: of one object in latent space.
        schedule: time to (alpha, sigma), and the times of a walk.
        predicts: what the network predicts: `Eps()`, `X0()`, `V()`, `Score()` or `Velocity()`.
        kernel: the transition, `DDIM(eta)`.
        clip: clamp the clean guess at +- clip, or `None`.
        decoder: clean latents `(B, *shape)` to objects; the latents themselves by default.
        device: where the network is.
        cost: network evaluations per object of one call.
        name: how the prior is written in a run.

    Raises:
        InputError: if the device is not there, or the prediction says nothing on this schedule.
    """

    net: Callable[[Tensor, Tensor], Tensor] = field(repr=False)
    shape: tuple[int, ...]
    schedule: Schedule
    predicts: Prediction = Eps()  # noqa: RUF009 (frozen)
    kernel: DDIM | Renoise = DDIM()  # noqa: RUF009 (frozen)
    clip: float | None = None
    decoder: Callable[[Tensor], Any] = field(default=_identity, repr=False)
    device: str | torch.device = "cpu"
    cost: int = 1
    name: str = ""
    _moves: dict[tuple[float, float], tuple[float, ...]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        check_device(self.device)
        alpha, _ = self.schedule(self.schedule.times(1)[0])
        if alpha == 0 and isinstance(self.predicts, Eps | Score):
            raise InputError(f"{self.schedule} starts at alpha = 0, where {self.predicts} says nothing: start later.")
        if isinstance(self.schedule, Table) and isinstance(self.predicts, Velocity):
            raise InputError("A table of levels has no time derivatives: use a continuous schedule for Velocity().")

    @property
    def noisy(self) -> bool:
        """Whether the kernel draws noise."""
        return self.kernel.noisy

    def noise(self, stream: Stream, ids: Sequence[Id]) -> Tensor:
        """Standard normal noise of the candidates."""
        return stream.normal(ids, self.shape)

    def decode(self, x0: Tensor) -> Any:
        """Clean latents to objects."""
        return self.decoder(x0)

    def grid(self, steps: int) -> Tensor:
        """The times of the schedule."""
        return self.schedule.times(steps)

    def start(self, z: Tensor) -> Tensor:
        """sigma z at the first time of the schedule."""
        _, sigma = self.schedule(self.schedule.times(1)[0])
        return sigma * z.to(self.device)

    def denoise(self, x: Tensor, t: Tensor, z: Tensor | None = None) -> Tensor:
        """E[x0 | x] from the network."""
        if tuple(x.shape[1:]) != tuple(self.shape):
            raise InputError(
                f"The latents have shape {tuple(x.shape)}: the prior needs (B, {', '.join(map(str, self.shape))})."
            )
        y = self.net(x, t.to(x).expand(len(x)))
        if not isinstance(y, Tensor):
            raise InputError(f"The network returned a {type(y).__name__}: give lambda x, t: net(x, t)[0], or alike.")
        if y.shape != x.shape:
            raise InputError(f"The network returned shape {tuple(y.shape)} for {tuple(x.shape)}: they must agree.")
        return self.clean(y, x, t)

    def clean(self, y: Tensor, x: Tensor, t: Tensor) -> Tensor:
        """E[x0 | x] from a prediction y of the network at x and t."""
        x0 = self.predicts.x0(y, x, self.schedule, t)
        return x0 if self.clip is None else x0.clamp(-self.clip, self.clip)

    def move(self, x: Tensor, x0: Tensor, t: Tensor, s: Tensor, z: Tensor | None = None) -> Tensor:
        """a x + b x0 + c z."""
        key = float(t), float(s)
        if key not in self._moves:  # every walk has the same few transitions
            self._moves[key] = tuple(float(v) for v in self.kernel(self.schedule, t, s))
        a, b, c = self._moves[key]
        mean = a * x + b * x0
        return mean if z is None else mean + c * z

    def weights(self) -> dict[str, Tensor]:
        """The weights of the network that are trained, by name.

        Raises:
            InputError: if the network is a plain function.
        """
        return network(self.net).weights()

    def with_weights(self, weights: Mapping[str, Tensor]) -> GaussianPrior:
        """The same prior with other weights in its network, which itself is left as it is.

        Weights that require gradients are being trained; then guesses are not clamped, since a clamp passes none on.
        """
        trained = any(v.requires_grad for v in weights.values())
        return replace(self, net=network(self.net).with_weights(weights), clip=None if trained else self.clip)

    def module(self) -> nn.Module:
        """The torch module of the network.

        Raises:
            InputError: if there is none.
        """
        net = network(self.net)
        if not isinstance(net, Tunable):
            raise InputError(f"The network is a {type(net).__name__}: give one that is a torch module.")
        return net.module

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the network with its weights: in the format of diffusers, or as `weights.safetensors`."""
        network(self.net).save(Path(folder))


@dataclass(frozen=True)
class CFG:
    """Classifier-free guidance: the clean guess `u + scale (c - u)` of two priors on one schedule.

    Because all predictions are affine in the clean guess with weights that sum to one, this equals guidance on the
    noise, the score or the velocity.

    Arguments:
        conditional, unconditional: priors of the same shape and schedule; the first one decodes and moves.
        scale: 1 is the conditional prior, more is stronger.

    References:
        Classifier-Free Diffusion Guidance (Ho and Salimans, 2022), arXiv:2207.12598.
    """

    conditional: Gaussian
    unconditional: Gaussian
    scale: float

    def __post_init__(self) -> None:
        if self.conditional.shape != self.unconditional.shape:
            raise InputError(
                f"The conditional prior has shape {self.conditional.shape}, the unconditional one "
                f"{self.unconditional.shape}: guidance needs the same shape."
            )

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one object in latent space."""
        return self.conditional.shape

    @property
    def schedule(self) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
        """Time to (alpha, sigma)."""
        return self.conditional.schedule

    @property
    def kernel(self) -> Callable[..., tuple[Tensor, Tensor, Tensor]]:
        """The transition."""
        return self.conditional.kernel

    @property
    def cost(self) -> int:
        """Both networks."""
        return self.conditional.cost + self.unconditional.cost

    @property
    def noisy(self) -> bool:
        """Whether the kernel draws noise."""
        return self.conditional.noisy

    def noise(self, stream: Stream, ids: Sequence[Id]) -> Tensor:
        """Standard normal noise of the candidates."""
        return self.conditional.noise(stream, ids)

    def decode(self, x0: Tensor) -> Any:
        """Clean latents to objects."""
        return self.conditional.decode(x0)

    def grid(self, steps: int) -> Tensor:
        """The times of the conditional prior."""
        return self.conditional.grid(steps)

    def start(self, z: Tensor) -> Tensor:
        """Noise at the first time."""
        return self.conditional.start(z)

    def denoise(self, x: Tensor, t: Tensor, z: Tensor | None = None) -> Tensor:
        """The guided clean guess."""
        u = self.unconditional.denoise(x, t, z)
        return u + self.scale * (self.conditional.denoise(x, t, z) - u)

    def move(self, x: Tensor, x0: Tensor, t: Tensor, s: Tensor, z: Tensor | None = None) -> Tensor:
        """The transition of the conditional prior."""
        return self.conditional.move(x, x0, t, s, z)

    def weights(self) -> dict[str, Tensor]:
        """Those of the conditional prior; the other one stays."""
        return trainable(self.conditional).weights()

    def with_weights(self, weights: Mapping[str, Tensor]) -> CFG:
        """The same guidance with other weights in the conditional prior."""
        return replace(self, conditional=trainable(self.conditional).with_weights(weights))

    def module(self) -> nn.Module:
        """That of the conditional prior."""
        return trainable(self.conditional).module()

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the conditional prior."""
        trainable(self.conditional).save_pretrained(folder)
