"""Networks whose weights can be taken out and put back, which is what fine-tuning needs of a prior."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.func import functional_call

from ..types import InputError

__all__ = ["Network", "Tunable", "lora", "network", "write"]

WEIGHTS = "weights.safetensors"
RANDOM = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)  # they change, or draw, while they train


class Network(ABC):
    """A function (x, t) with weights."""

    @abstractmethod
    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        """The prediction `(B, *shape)` at x `(B, *shape)` and t `(B,)`."""

    @abstractmethod
    def weights(self) -> dict[str, Tensor]:
        """The weights to train, by name."""

    @abstractmethod
    def with_weights(self, weights: Mapping[str, Tensor]) -> Network:
        """The same network with these weights; gradients go through to them."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the network to a folder."""


def write(module: nn.Module, folder: Path) -> None:
    """A network of diffusers or transformers in its own format, any other as `weights.safetensors`."""
    if callable(getattr(module, "save_pretrained", None)):
        module.save_pretrained(folder)  # type: ignore[operator]
    else:
        folder.mkdir(parents=True, exist_ok=True)
        save_file({name: v.contiguous().clone() for name, v in module.state_dict().items()}, folder / WEIGHTS)


@dataclass(frozen=True, eq=False)
class Tunable(Network):
    """A function and the torch module inside it, so that its weights can be trained.

        net = el.priors.Tunable(lambda x, t: unet(x, 1000 * t).sample, unet)

    The module itself is not changed: other weights are put into it for a call. Weights to train are those that require
    gradients, all of them if none does.

    Arguments:
        call: `(x, t)` to the prediction, which calls `module`.
        module: whose weights they are.
        save_as: how a module is written to a folder.
    """

    call: Callable[[Tensor, Tensor], Tensor]
    module: nn.Module
    save_as: Callable[[nn.Module, Path], None] = write
    _own: Mapping[str, Tensor] = field(default_factory=dict)

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        if not self._own:
            return self.call(x, t)
        own = {f"module.{name}": v for name, v in self._own.items()}
        host = nn.Module()  # lets torch put the weights into the module while the function runs
        host.module, host.forward = self.module, lambda x, t: self.call(x, t)
        return functional_call(host, own, (x, t))

    def weights(self) -> dict[str, Tensor]:
        """By name, as the module calls them."""
        every = dict(self.module.named_parameters())
        some = {name: v for name, v in every.items() if v.requires_grad}
        return {name: self._own.get(name, v).detach() for name, v in (some or every).items()}

    def with_weights(self, weights: Mapping[str, Tensor]) -> Tunable:
        """The same function with these weights, in the precision and place of its own."""
        _check(self.module)
        every = dict(self.module.named_parameters())
        check_weights(weights, every)
        # a copy: weights from a file may lie where kernels take another path
        own = {name: (v if v.requires_grad else v.clone()).to(every[name]) for name, v in weights.items()}
        return replace(self, _own={**self._own, **own})

    def save(self, folder: Path) -> None:
        """The module with these weights, adapters merged into it."""
        self.save_as(self.merged(), folder)

    def merged(self) -> nn.Module:
        """A copy of the module with these weights, and no adapters."""
        module = copy.deepcopy(self.module)
        module.load_state_dict(self._own, strict=False)
        _merge(module)
        return module


def check_weights(weights: Mapping[str, Tensor], every: Mapping[str, Tensor]) -> None:
    """Refuse weights that are not those of a network, by name or shape."""
    wrong = [name for name, v in weights.items() if name not in every or v.shape != every[name].shape]
    if wrong:
        raise InputError(
            f"The network has no weights {sorted(wrong)[:3]} of that shape: give weights that came from it."
        )


def _check(module: nn.Module) -> None:
    """Refuse what other weights, which are in the module for the time of a call alone, do not go with."""
    for part in module.modules():
        if getattr(part, "gradient_checkpointing", False):
            raise InputError(
                "The network recomputes in its backward pass: call disable_gradient_checkpointing() first."
            )
        if part.training and isinstance(part, RANDOM):
            raise InputError(f"The network trains, and its {type(part).__name__} with it: call eval() first.")


def network(net: Callable[[Tensor, Tensor], Tensor]) -> Network:
    """The network with weights behind a prior's function.

    Raises:
        InputError: if it is a plain function.
    """
    if isinstance(net, Network):
        return net
    if isinstance(net, nn.Module):
        return Tunable(net, net)
    raise InputError(
        f"The network is a {type(net).__name__}, whose weights are not known: give the prior net=Tunable(it, module)."
    )


def lora(prior: Any, rank: int = 8, layers: tuple[str, ...] = ("to_q", "to_k", "to_v", "to_out.0")) -> Any:
    """The prior with low-rank adapters in its network, which are then all that is trained; needs the lora extra.

    The adapters are put into the module of the prior in place, so that weights which were taken from it before no
    longer fit. They change nothing until they are trained.

    Arguments:
        prior: one that can be trained.
        rank: of the adapters.
        layers: ends of the names of the linear or convolution layers that get one; attention, by default.

    Raises:
        InputError: if the network is no torch module, has other weights than its module already, or no such layers.
        ImportError: if peft is not installed.

    References:
        LoRA: Low-Rank Adaptation of Large Language Models (Hu et al., 2021), arXiv:2106.09685.
    """
    try:
        import peft
    except ImportError as error:
        raise ImportError("Adapters need peft: pip install 'elites[lora]'.") from error
    if not callable(getattr(prior, "module", None)):
        raise InputError(f"{type(prior).__name__} has no network: give a prior that has one.")
    module = prior.module()
    held = dict(module.named_parameters())
    if any(not torch.equal(v, held[name].detach()) for name, v in prior.weights().items()):
        raise InputError(
            "The prior was tuned already: put adapters into one that was not, or save it and open it again."
        )
    config = peft.LoraConfig(r=rank, lora_alpha=rank, target_modules=list(layers))
    try:
        with torch.random.fork_rng(devices=[]):  # adapters begin at draws of the global generator
            torch.manual_seed(0)
            peft.inject_adapter_in_model(config, module)
    except ValueError as error:
        raise InputError(f"The network has no layers {layers}: give the ends of their names.") from error
    return prior


def _merge(module: nn.Module) -> None:
    """Adapters of peft, merged into the layers that they are on."""
    for name, child in list(module.named_children()):
        if callable(getattr(child, "get_base_layer", None)):
            child.merge()  # type: ignore[operator]
            setattr(module, name, child.get_base_layer())  # type: ignore[operator]
        else:
            _merge(child)
