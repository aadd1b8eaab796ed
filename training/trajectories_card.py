"""Measure the bundled priors over motions and write their card.

python -m training.trajectories_card
"""

import argparse
import math
from pathlib import Path

import torch
from torch import Generator, Tensor

import elites as el
from training.trajectories import HORIZON, PLANS, SEED, WIDTH, paths, plans, starts

FOLDER = Path("src/elites/data/trajectories")
SAMPLES, STARTS, DRAWS = 1024, 32, 7

CARD = """# trajectories: two small priors over motions

Residual perceptrons ({parameters} parameters, {width} wide, four blocks) that predict the clean object on the cosine
schedule, stored in half precision. All data are simulated. Made by `training/trajectories.py` from one seed in
{seconds} seconds on one core (pendulum, unicycle); this card is written by `training/trajectories_card.py`.

## pendulum

{plans} plans `(60, 4)` = (action, cos, sin, velocity / 8) for swinging up the pendulum of Gymnasium (Pendulum-v1),
each made by model-based diffusion (30 levels of 64 simulated plans) from a random start: angles within 0.6 rad of
hanging, velocities within 1 rad/s of rest. It begins with a constant random push, so that both ways to swing up are in
the data, left first and right first; begun with none, nearly all plans of a start go the same way. The start is shown
to the network without noise and written into every step of a walk. Figures below are for {starts} other starts, {each}
samples each.

| DDIM steps | return | standard deviation | state error, cos and sin | state error, rad/s |
|---|---|---|---|---|
{pendulum}

The return is that of the actions in the simulator; the plans made by model-based diffusion for the same starts have
{made:.1f}, and a pendulum that is left alone {still:.1f}. The state error is the root mean square difference between
the states of a plan and those that its actions lead to.

## unicycle

40,000 paths `(32, 2)` from the origin: speed uniform in 0.8 to 1.2 times 4 / 32 a step, first-order autoregressive
turn rate.

| DDIM steps | speed | its deviation between paths | within a path | turn rate | distance of the ends |
|---|---|---|---|---|---|
{unicycle}
| data | {data} |

{samples:,} samples each. Speeds are in units of 4 / 32 a step, turn rates the standard deviation in rad a step. The
distance of the ends is the energy distance between the last points of the samples and
those of as many new paths; two sets of new paths have {floor:.4f}.

References: Planning with Diffusion for Flexible Behavior Synthesis (Janner, Du, Tenenbaum and Levine, 2022),
arXiv:2205.09991; Model-Based Diffusion for Trajectory Optimization (Pan, Yi, Shi and Qu, 2024), arXiv:2407.01573.
"""


def sample(prior: el.priors.Fixed | el.priors.GaussianPrior, n: int, steps: int, seed: int) -> Tensor:
    """Objects of n prior samples."""
    target = el.Target(prior, lambda x: x.flatten(1)[:, 0], walk=el.Plain(steps=steps), batch=n)
    ids, stream = range(n), el.Stream(seed)
    return target.decode(target.generate(prior.noise(stream, ids), stream, ids))


def swung(theta: Tensor, speed: Tensor, steps: int) -> str:
    """A row of figures."""
    each = SAMPLES // STARTS
    found = torch.stack(
        [
            sample(el.priors.pendulum((float(a), float(v))), each, steps, DRAWS + i)
            for i, (a, v) in enumerate(zip(theta, speed, strict=True))
        ]
    ).double()
    angle, velocity, rewards = el.rewards.pendulum(theta[:, None], speed[:, None], found[..., 0])
    angle, velocity, returns = angle[..., :-1], velocity[..., :-1], rewards.sum(-1)
    round_ = torch.stack([found[..., 1] - angle.cos(), found[..., 2] - angle.sin()]).square().mean().sqrt()
    fast = (8 * found[..., 3] - velocity).square().mean().sqrt()
    return f"| {steps} | {returns.mean():.1f} | {returns.std(1).mean():.1f} | {round_:.3f} | {fast:.3f} |"


def energy(a: Tensor, b: Tensor) -> float:
    """Energy distance of two sets of points."""
    ab, aa, bb = (torch.cdist(p, q).mean() for p, q in ((a, b), (a, a), (b, b)))
    return float(2 * ab - aa - bb)


def shape_of(path: Tensor, ends: Tensor) -> str:
    """Figures of paths `(n, 32, 2)`."""
    steps = torch.cat([path[:, :1], path.diff(dim=1)], 1)
    speed = steps.norm(dim=2) * 32 / 4
    heading = torch.atan2(steps[..., 1], steps[..., 0])
    turn = (heading.diff(dim=1) + math.pi) % (2 * math.pi) - math.pi
    means = speed.mean(1)
    return (
        f"{means.mean():.3f} | {means.std():.3f} | {speed.std(1).mean():.3f} | {turn.std():.3f} | "
        f"{energy(path[:, -1], ends):.4f}"
    )


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("seconds", help="of training, such as '60 and 240'")
    seconds = parser.parse_args().seconds
    torch.set_num_threads(1)
    theta, speed = starts(STARTS, Generator().manual_seed(SEED + 1))
    made = plans(STARTS, Generator().manual_seed(SEED + 1))[..., 0]
    fresh, others = (paths(SAMPLES, Generator().manual_seed(SEED + k)).reshape(-1, 32, 2) for k in (1, 2))
    swing = "\n".join(swung(theta, speed, steps) for steps in (20, 10, 5))
    rows = [
        f"| {steps} | {shape_of(sample(el.priors.unicycle(), SAMPLES, steps, DRAWS), fresh[:, -1])} |"
        for steps in (20, 15, 10, 5)
    ]
    sizes = [
        sum(v.numel() for v in getattr(p, "net").weights.values())  # noqa: B009 (a call of unknown kind)
        for p in (el.priors.pendulum().prior, el.priors.unicycle())
    ]
    text = CARD.format(
        parameters=" and ".join(f"{n:,}" for n in sizes),
        width=WIDTH,
        seconds=seconds,
        plans=PLANS,
        starts=STARTS,
        each=SAMPLES // STARTS,
        pendulum=swing,
        made=float(el.rewards.pendulum(theta, speed, made)[2].sum(-1).mean()),
        still=float(el.rewards.pendulum(theta, speed, torch.zeros(STARTS, HORIZON))[2].sum(-1).mean()),
        unicycle="\n".join(rows),
        data=shape_of(others, fresh[:, -1]),
        samples=SAMPLES,
        floor=energy(others[:, -1], fresh[:, -1]),
    )
    (FOLDER / "README.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
