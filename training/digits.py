"""Train the bundled digits prior, its reward classifier and its judge.

The 1,797 handwritten digits of scikit-learn (8x8, from the UCI set of Alpaydin and Kaynak) are split by a
fixed permutation into three disjoint parts:

    prior      1,000 images train the U-Net and nothing else
    reward       400 images train the classifier that rewards are made of
    held out     397 images train the judge and serve as the reference for distances

Run it from the root of the repository (about five minutes on one core):

    python training/digits.py

It writes `src/elites/data/digits` in the folder format of diffusers; `training/digits_card.py` then measures
the result and writes its card.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DDIMScheduler, UNet2DModel
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

SEED = 20_261_121
NO_CLASS = 10  # the label that stands for "any digit"
SCHEDULE = {
    "num_train_timesteps": 1000,
    "beta_schedule": "squaredcos_cap_v2",
    "prediction_type": "v_prediction",
    "timestep_spacing": "trailing",
    "clip_sample": False,
}


def split() -> dict[str, tuple[Tensor, Tensor]]:
    """Images in [-1, 1], shape (n, 1, 8, 8), and labels (n,) of the three disjoint parts."""
    data = load_digits()
    images = torch.tensor(data.images / 8.0 - 1.0, dtype=torch.float32)[:, None]
    labels = torch.tensor(data.target)
    order = torch.tensor(np.random.default_rng(SEED).permutation(len(images)))
    parts = {"prior": order[:1000], "reward": order[1000:1400], "held_out": order[1400:]}
    return {name: (images[index], labels[index]) for name, index in parts.items()}


def train_unet(
    images: Tensor, labels: Tensor, channels: tuple[int, int], iterations: int, dropout: float
) -> UNet2DModel:
    """v-prediction on the cosine schedule; the class label is dropped 15 % of the time; returns the average."""
    torch.manual_seed(SEED)
    net = UNet2DModel(
        sample_size=8,
        in_channels=1,
        out_channels=1,
        layers_per_block=1,
        block_out_channels=channels,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=8,
        attention_head_dim=8,
        num_class_embeds=NO_CLASS + 1,
        dropout=dropout,
    )
    alphas = DDIMScheduler(**SCHEDULE).alphas_cumprod
    optimiser = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=1e-2)
    decay = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, iterations, pct_start=0.05)
    average = torch.optim.swa_utils.AveragedModel(
        net, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.995), use_buffers=True
    )
    began = time.monotonic()
    for i in range(iterations):
        pick = torch.randint(len(images), (128,))
        x0, label = images[pick], labels[pick].clone()
        label[torch.rand(128) < 0.15] = NO_CLASS
        # one draw in each of 128 equal slices of time: less variance than independent draws
        t = ((torch.arange(128) + torch.rand(128)) / 128 * 1000).long().clamp(max=999)
        alpha, sigma = (a[:, None, None, None] for a in (alphas[t].sqrt(), (1 - alphas[t]).sqrt()))
        eps = torch.randn_like(x0)
        v = net(alpha * x0 + sigma * eps, t, class_labels=label).sample
        loss = functional.mse_loss(v, alpha * eps - sigma * x0)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        decay.step()
        average.update_parameters(net)
        if (i + 1) % 250 == 0:
            print(f"unet {i + 1}/{iterations} loss {loss:.4f} {time.monotonic() - began:.0f} s", flush=True)
    return average.module.eval()


def warped(x: Tensor) -> Tensor:
    """Images moved, turned and scaled a little: up to half a pixel, 0.15 rad and 8 %."""
    spin, zoom, shift = (2 * torch.rand(len(x), k) - 1 for k in (1, 1, 2))
    angle, scale = 0.15 * spin[:, 0], 1 + 0.08 * zoom[:, 0]
    cos, sin = scale * angle.cos(), scale * angle.sin()
    matrix = torch.stack([torch.stack([cos, -sin], 1), torch.stack([sin, cos], 1)], 1)
    grid = functional.affine_grid(torch.cat([matrix, shift[..., None] / 8], 2), list(x.shape), align_corners=False)
    return functional.grid_sample(x + 1, grid, align_corners=False) - 1  # black outside


def train_classifier(images: Tensor, labels: Tensor, hidden: int, seed: int) -> nn.Sequential:
    """A perceptron with one hidden layer, on warped copies with noise of up to 0.8 so that it is not brittle."""
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, 10))
    optimiser = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=5e-2)
    for _ in range(3000):
        pick = torch.randint(len(images), (128,))
        x = warped(images[pick])
        x = x + 0.8 * torch.rand(128, 1, 1, 1) * torch.randn(128, 1, 8, 8)
        loss = functional.cross_entropy(net(x), labels[pick])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return net.eval()


@torch.no_grad()
def averaged(nets: list[Any]) -> Any:
    """One perceptron whose logits are the mean of those of the nets."""
    first = [net[1] for net in nets]
    last = [net[3] for net in nets]
    wide = sum(len(layer.bias) for layer in first)
    net: Any = nn.Sequential(nn.Flatten(), nn.Linear(64, wide), nn.ReLU(), nn.Linear(wide, 10))
    net[1].weight.copy_(torch.cat([layer.weight for layer in first]))
    net[1].bias.copy_(torch.cat([layer.bias for layer in first]))
    net[3].weight.copy_(torch.cat([layer.weight for layer in last], 1) / len(nets))
    net[3].bias.copy_(torch.stack([layer.bias for layer in last]).mean(0))
    return net


@torch.no_grad()
def calibrate(net: nn.Sequential, images: Tensor, labels: Tensor) -> float:
    """Scale the logits to the best likelihood on images the net never saw, so that margins are in nats."""
    logits = net(images)
    scales = torch.logspace(-1, 1, 401)
    losses = torch.stack([functional.cross_entropy(s * logits, labels) for s in scales])
    scale = float(scales[losses.argmin()])
    for parameter in net[-1].parameters():
        parameter.mul_(scale)
    return float(losses.min())


def train_classifiers(parts: dict[str, tuple[Tensor, Tensor]], out: Path) -> None:
    """Four perceptrons each for rewards and for the judge, averaged, and scaled on the images of the prior."""
    weights: dict[str, Tensor] = {}
    for name, part, seed in (("reward", "reward", 1), ("judge", "held_out", 2)):
        net = averaged([train_classifier(*parts[part], 128, SEED + seed + 100 * i) for i in range(4)])
        loss = calibrate(net, *parts["prior"])
        weights |= {f"{name}.{key}": value for key, value in net.state_dict().items()}
        x, y = parts["prior"]
        right = (net(x).argmax(1) == y).float().mean()
        print(f"{name}: {right:.1%} right and {loss:.3f} nats on the 1,000 images of the prior")
    save_file(weights, out / "classifiers.safetensors")


def main() -> None:
    """Train the three networks and write the bundle."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("src/elites/data/digits"))
    parser.add_argument("--iterations", type=int, default=2500)
    parser.add_argument("--channels", type=int, nargs=2, default=(24, 48))
    parser.add_argument("--dropout", type=float, default=0.05)
    parser.add_argument("--classifiers", action="store_true", help="leave the U-Net as it is")
    args = parser.parse_args()

    parts = split()
    if not args.classifiers:
        unet = train_unet(*parts["prior"], tuple(args.channels), args.iterations, args.dropout)
        unet.save_pretrained(args.out / "unet")
        DDIMScheduler(**SCHEDULE).save_pretrained(args.out / "scheduler")
    train_classifiers(parts, args.out)
    # sixteen grey levels: whole numbers lose nothing
    save_file(
        {f"{name}.images": ((x + 1) * 8).round().to(torch.uint8) for name, (x, _) in parts.items()}
        | {f"{name}.labels": y.to(torch.uint8) for name, (_, y) in parts.items()},
        args.out / "images.safetensors",
    )


if __name__ == "__main__":
    main()
