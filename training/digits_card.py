"""Measure the bundled digits prior and write its card.

The Frechet distance is taken in the first 16 principal components of the 797 digits that the prior never saw, against
those digits; the distance to the nearest training image is divided by that of those digits.

    python training/digits_card.py
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import elites as el

FOLDER = Path("src/elites/data/digits")
SAMPLES, SEED = 2000, 7
digits = el.rewards.digits

CARD = """# digits: a small prior of handwritten digits

A class-conditional U-Net (diffusers `UNet2DModel`, {parameters:,} parameters) on 8x8 images, v-prediction on the
cosine schedule, with an eleventh label for "any digit". Trained on 1,000 of the 1,797 digits of scikit-learn; the two
classifiers beside it, averages of four perceptrons, were trained on 400 (rewards) and 397 (judge) others. Made by
`training/digits.py` from one seed; trained twice, all came out the same to the bit. This card is written by
`training/digits_card.py`.

| DDIM steps | label | Frechet distance | distance to the nearest training image |
|---|---|---|---|
{rows}

{samples:,} samples each, seed {seed}. Frechet distance in 16 principal components of the 797 digits that were not
trained on, to those digits: the training digits have {real:.2f}, noise has {noise:.1f}. Distances to the nearest
training image are in units of what digits have that were not trained on: 1 is like new data, 0 is a copy.

With classes drawn uniformly, the judge sees each class in {low:.1f} to {high:.1f} % of {samples:,} samples at 20
steps, and agrees with the label in {agree:.1f} %. On the 1,000 images that neither saw, the classifier for rewards is
right in {reward:.1f} % and the judge in {judge:.1f} %; their logits are scaled to the best likelihood there.

Data: Optical Recognition of Handwritten Digits (E. Alpaydin and C. Kaynak, 1998, UCI Machine Learning Repository,
CC BY 4.0), as in scikit-learn.
"""


def sample(steps: int, uniform: bool) -> tuple[Tensor, Tensor]:
    """Images `(2000, 1, 8, 8)` in [0, 1] and the labels asked for `(2000,)`, 10 for any."""
    parts = []
    labels: list[int | None] = list(range(10)) if uniform else [None]
    each = SAMPLES // len(labels)
    for i, label in enumerate(labels):
        target = el.Target(el.priors.digits(label), lambda x: x[:, 0], walk=el.Plain(steps=steps), batch=100)
        ids = range(i * each, (i + 1) * each)
        z = target.prior.noise(el.Stream(SEED), ids)
        parts.append(target.prior.decode(target.generate(z, el.Stream(SEED), ids)))
    asked = torch.tensor([10 if v is None else v for v in labels]).repeat_interleave(each)
    return torch.cat(parts), asked


def frechet(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Frechet distance of the normal laws fitted to two sets of features."""
    ca, cb = np.cov(a.T), np.cov(b.T)
    values, vectors = np.linalg.eigh(ca)
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(root @ cb @ root).clip(min=0)).sum()
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(ca) + np.trace(cb) - 2 * cross)


def main() -> None:
    """Measure and write."""
    torch.set_num_threads(1)
    trained = digits.images("prior")[0]
    unseen = torch.cat([digits.images("reward")[0], digits.images("held_out")[0]])
    flat = (2 * unseen - 1).flatten(1).double().numpy()
    axes = np.linalg.svd(flat - flat.mean(0), full_matrices=False)[2][:16].T

    def distance(images: Tensor) -> float:
        return frechet((2 * images - 1).flatten(1).double().numpy() @ axes, flat @ axes)

    nearest = el.DistanceToData(trained, unseen)
    rows, seen, agree = [], torch.zeros(10), 0.0
    judge = digits.classifier("judge")
    for steps in (20, 10, 5):
        for uniform in (True, False):
            images, asked = sample(steps, uniform)
            name = "uniform" if uniform else "none"
            rows.append(f"| {steps} | {name} | {distance(images):.3f} | {float(nearest(images).mean()):.3f} |")
            print(rows[-1], flush=True)
            if uniform and steps == 20:
                found = judge(images).argmax(1)
                seen = torch.bincount(found, minlength=10) / len(found) * 100
                agree = float((found == asked).float().mean()) * 100
    x, y = digits.images("prior")
    right = {
        name: float((digits.classifier(name)(x).argmax(1) == y).float().mean()) * 100 for name in ("reward", "judge")
    }
    unet = getattr(el.priors.digits(), "net").unet  # noqa: B009 (a call of unknown kind)
    text = CARD.format(
        parameters=sum(p.numel() for p in unet.parameters()),
        rows="\n".join(rows),
        samples=SAMPLES,
        seed=SEED,
        real=distance(trained),
        noise=distance(torch.randn(SAMPLES, 1, 8, 8, generator=torch.Generator().manual_seed(SEED)) / 2 + 0.5),
        low=float(seen.min()),
        high=float(seen.max()),
        agree=agree,
        **right,
    )
    (FOLDER / "README.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
