"""What goes with the bundled digits prior: two classifiers that share no data, and the images of each part.

The prior was trained on 1,000 images (`prior`), the classifier for rewards on 400 others (`reward`), and the judge on
the remaining 397 (`held_out`), so the judge and the distance to the data are evidence that a search never saw.
"""

from __future__ import annotations

from importlib.resources import files

from safetensors.torch import load_file
from torch import Tensor, nn

from ..types import InputError

__all__ = ["classifier", "images"]


class _Net(nn.Module):
    """Images `(B, 1, 8, 8)` in [0, 1] to logits `(B, 10)`."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        super().__init__()
        hidden = len(weights["1.bias"])
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, 10))
        self.layers.load_state_dict({name: value.clone() for name, value in weights.items()})
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(2 * images - 1)


def classifier(part: str) -> nn.Module:
    """The net `reward`, for rewards, or `judge`, for judging: images `(B, 1, 8, 8)` in [0, 1] to logits `(B, 10)`."""
    if part not in ("reward", "judge"):
        raise InputError(f"There is no classifier {part!r}: ask for 'reward' or 'judge'.")
    weights = load_file(str(files("elites") / "data" / "digits" / "classifiers.safetensors"))
    return _Net({name.removeprefix(f"{part}."): v for name, v in weights.items() if name.startswith(part)})


def images(part: str) -> tuple[Tensor, Tensor]:
    """Images `(n, 1, 8, 8)` in [0, 1] and labels `(n,)` of the part `prior`, `reward` or `held_out`."""
    if part not in ("prior", "reward", "held_out"):
        raise InputError(f"There is no part {part!r}: ask for 'prior', 'reward' or 'held_out'.")
    data = load_file(str(files("elites") / "data" / "digits" / "images.safetensors"))
    return data[f"{part}.images"].float() / 16, data[f"{part}.labels"].long()
