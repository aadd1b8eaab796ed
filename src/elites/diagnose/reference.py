"""Prior samples that evidence is compared with: drawn, scored and measured once for a target, and kept in a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..account import described
from ..copies import Copies
from ..stream import Purpose, Stream
from ..types import InputError, Meter, Samples, ranked
from .density import DenoisingLoss
from .hallucination import TrajectoryVariance
from .support import Subspace

if TYPE_CHECKING:
    from ..target import Target

__all__ = ["Reference"]

MOVEMENT, LOSS = TrajectoryVariance(), DenoisingLoss()
LEAST = 8  # prior samples below which no law is fitted
WIDEST = 250_000  # numbers of a latent above which their subspace and their distances take too much memory


@dataclass(frozen=True, eq=False)
class Reference:
    """Prior samples of a target.

    Attributes:
        target: that made them, on a meter of its own.
        samples: their latents, noise, keys and rewards; NaN rewards if they were not scored.
        movement: `TrajectoryVariance` of each; `None` where a walk makes fewer than two guesses.
        loss: `DenoisingLoss` of each; `None` where the prior is not Gaussian.
        reward: the name of the one that scored them; empty if none did.
    """

    target: Target
    samples: Samples
    movement: Tensor | None = None
    loss: Tensor | None = None
    reward: str = ""

    @staticmethod
    def of(target: Target, n: int = 128, seed: int = 0, *, scored: bool = True) -> Reference:
        """Draw n prior samples by the walk of the target, on a meter of their own.

        Arguments:
            target: whose prior, walk and reward.
            n: how many.
            seed: of their noise, which no run draws.
            scored: whether to ask the reward of them; without, evidence is compared with all of them rather than with
                those of the highest reward.

        Raises:
            InputError: if there are fewer than 16.
        """
        if n < 2 * LEAST:
            raise InputError(f"{n} prior samples say too little of the prior: give at least {2 * LEAST}.")
        own, stream, ids = target.apart(), Stream(seed).at(purpose=Purpose.CHECK), range(n)
        z = own.prior.noise(stream, ids)
        try:
            x, movement = MOVEMENT.walked(own, z, stream, ids)
        except InputError:
            x, movement = own.generate(z, stream, ids), None
        reward = own.score(x, stream, ids) if scored else torch.full((n,), torch.nan)
        keys = torch.tensor([stream.key(i) for i in ids], dtype=torch.int64)
        loss = None
        with suppress(InputError, TypeError):
            loss = LOSS(own, x, stream, ids)
        samples = Samples(x=x.cpu(), reward=reward, keys=keys, z=z.cpu())
        return Reference(own, samples, movement, loss, described(target.scorer) if scored else "")

    @staticmethod
    def load(target: Target, path: str | Path) -> Reference:
        """What `save` wrote.

        Raises:
            InputError: if there is none, it is of a prior of another shape, or another reward scored it.
        """
        try:
            kept = load_file(path)
            with safe_open(path, "pt") as file:
                reward = (file.metadata() or {}).get("reward", "")
            samples = Samples(x=kept["x"], reward=kept["reward"], keys=kept["keys"], z=kept["z"])
        except (OSError, SafetensorError, KeyError) as error:
            raise InputError(f"{path} holds no prior samples ({error}): write them with Reference.save.") from None
        found = Reference(target.apart(), samples, kept.get("movement"), kept.get("loss"), reward)
        found.check(target, str(path))
        _refuse_another(reward, target, str(path))
        return found

    def save(self, path: str | Path) -> None:
        """Keep them in a file, for further runs of the same target; its folder is made if it is not there.

        Raises:
            InputError: if the file cannot be written.
        """
        s = self.samples
        assert s.z is not None
        kept = {"x": s.x, "reward": s.reward, "keys": s.keys, "z": s.z, "movement": self.movement, "loss": self.loss}
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            tensors = {name: v.contiguous() for name, v in kept.items() if v is not None}
            save_file(tensors, path, {"reward": self.reward})
        except (OSError, SafetensorError) as error:
            raise InputError(f"Cannot write {path} ({error}): choose another file.") from None

    def check(self, target: Target, name: str = "The reference") -> None:
        """Refuse a target whose noise has another shape, or whose reward is another, by its name, than the one that
        scored.

        Raises:
            InputError: that says so.
        """
        z, want = self.samples.z, tuple(target.prior.shape)
        if z is not None and tuple(z.shape[1:]) != want:
            raise InputError(f"{name} holds prior samples of shape {tuple(z.shape[1:])}: this prior needs {want}.")
        if self.target.reward is not target.reward:
            _refuse_another(self.reward, target, name)

    @cached_property
    def support(self) -> tuple[Subspace, Tensor] | None:
        """The subspace that holds half of the latents, and how far off it each of the others is.

        It holds 95 % of their variance, or what so few can tell; `None` if they are all the same, or very large.
        """
        if self.samples.x[0].numel() > WIDEST:
            return None
        x = self.samples.x.flatten(1).double()
        with suppress(InputError, RuntimeError):  # latents that are all the same, or not finite
            space = Subspace.holding(x[::2])
            return space, space.off(x[1::2])
        return None

    @property
    def meter(self) -> Meter:
        """What they cost."""
        return self.target.meter

    def measured(self, functions: Mapping[str, Callable[[Any], Any]]) -> dict[str, Tensor]:
        """Functions of objects, `(n,)` float64 on the CPU each; NaN for a batch on which it or the decoder fails.

        Raises:
            InputError: if one has a finite number for none, or does not return one number for each object.
        """
        parts: dict[str, list[Tensor]] = {name: [] for name in functions}
        why = dict.fromkeys(functions, "no number of it is finite")
        for x in self.samples.x.split(self.target.decode_batch) if functions else ():
            objects = Copies(partial(self.target.decode, x))
            for name, f in functions.items():
                try:
                    with torch.no_grad():
                        value = torch.as_tensor(f(objects())).detach().double().cpu().reshape(-1)
                except Exception as error:  # a user's code may raise anything
                    why[name], value = f"{type(error).__name__}: {error}", torch.full((len(x),), torch.nan).double()
                if len(value) != len(x):
                    raise InputError(f"{name} returns {len(value)} numbers for {len(x)} objects: return one for each.")
                parts[name].append(value)
        values = {name: torch.cat(each) for name, each in parts.items()}
        for name, each in values.items():
            if not bool(each.isfinite().any()):
                raise InputError(
                    f"{name} fails on all {len(each)} prior samples ({why[name]}): mend it before the run begins."
                )
        return values

    def best(self) -> Tensor:
        """Indices of the sixteenth with the highest rewards, at least eight; of all, if they were not scored."""
        order = ranked(self.samples.reward)
        return order[: max(len(self.samples) // 16, LEAST)] if len(order) >= LEAST else torch.arange(len(self.samples))


def _refuse_another(reward: str, target: Target, name: str) -> None:
    """Refuse a target whose reward has another name than this one."""
    if reward and reward != (now := described(target.scorer)):
        raise InputError(
            f"{name} holds prior samples that {reward} has scored, and this run has {now}: draw others with "
            "Reference.of, with scored=False to use them for several rewards."
        )
