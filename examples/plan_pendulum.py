"""Swing up a pendulum for little torque: plans from a learned prior, scored by a simulator, at equal simulated plans.

    python examples/plan_pendulum.py --out pendulum.png

The prior has seen plans that were made without minding torque. The reward is what the simulator of the true dynamics
returns for the actions of a plan, minus the sum of its squared torques. For your own system, put a prior trained on
your plans, the state you are in and your simulator in the place of these three.
"""

import argparse
import math

import torch

import elites as el

HORIZON, PRICE = 60, 1.0


def mbd(returns, plan, evaluations, draws, levels=25, temperature=0.3):
    """Model-based diffusion: averages of noisy plans, weighted by their returns, while the noise goes down.

    `returns` maps plans `(..., n, H)` to `(..., n)`; `plan` is `(..., H)`, where to begin. `evaluations` are
    those of one plan, with one set aside for the plan that comes out; levels and temperature suit a few hundred.

    References: Model-Based Diffusion for Trajectory Optimization (Pan, Yi, Shi and Qu, 2024), arXiv:2407.01573; its
    update is this average when written out.
    """
    sigma = (1 - (1 - torch.linspace(1e-4, 1e-2, 100, dtype=plan.dtype)).cumprod(0)).sqrt()
    levels = min(levels, evaluations // 8)
    samples = (evaluations - 1) // levels
    for s in sigma[torch.linspace(99, 1, levels).long()]:
        noise = torch.randn(*plan.shape[:-1], samples, plan.shape[-1], generator=draws, dtype=plan.dtype)
        tried = (plan[..., None, :] + s * noise).clamp(-1, 1)
        r = returns(tried)
        weight = ((r - r.mean(-1, keepdim=True)) / (r.std(-1, keepdim=True) + 1e-9) / temperature).softmax(-1)
        plan = (weight[..., None] * tried).sum(-2)
    return plan


def raw_actions():
    """No prior at all: every action is noise, clipped to its range; objects are `(B, 60, 1)`."""
    return el.priors.OneStep(lambda z: (z / 2).clamp(-1, 1)[..., None], (HORIZON,), name="raw actions")


def raw_cem():
    """The cross-entropy method for raw actions: 32 candidates a round, 8 elites, a floor under the spread."""
    return el.Elites(32, el.search.Diagonal(floor=0.05), guard=el.search.Anywhere(), restart=None)


def roomy():
    """Elites with room for two ways to swing up: with eight candidates a step, the first good one takes all."""
    return el.Elites(16)


def best(method, prior, reward, evaluations, seed):
    """The actions `(60,)` of the best plan that a search finds; the look at the reward before it counts too."""
    target = el.Target(prior, reward, walk=el.Plain(steps=10))
    result = el.run(method, target, el.Budget(rewards=evaluations), seed)
    return prior.decode(result.best.x)[0, :, 0]


def planned(start, evaluations, seed):
    """Actions `(60,)` by planner; each may simulate `evaluations` plans."""
    reward = el.rewards.SwingUp(start, PRICE)
    prior = el.priors.pendulum(start)
    return {
        "Elites": best(el.Elites(), prior, reward, evaluations, seed),
        "Elites, 16": best(roomy(), prior, reward, evaluations, seed),
        "best of N": best(el.RandomSearch(), prior, reward, evaluations, seed),
        "raw CEM": best(raw_cem(), raw_actions(), reward, evaluations, seed),
        "MBD": mbd(
            lambda actions: reward(actions[..., None]),
            torch.zeros(HORIZON, dtype=torch.float64),
            evaluations,
            torch.Generator().manual_seed(seed),
        ),
    }


def draw(start, plans, out):
    """Angle and torque over time."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise SystemExit("The picture needs matplotlib: pip install 'elites[bench]', or leave out --out.") from None
    figure = Figure((7, 5), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    for name, actions in plans.items():
        angle = el.rewards.pendulum(*start, actions)[0]
        time = 0.05 * torch.arange(len(angle))
        above.plot(time, angle, label=name)
        below.step(time[:-1], 2 * actions.clamp(-1, 1), where="post")
    for turn in (0, 2 * math.pi):
        above.axhline(turn, color="grey", linewidth=0.5)  # upright
    above.set_ylabel("angle, rad")
    above.legend()
    below.set(xlabel="time, s", ylabel="torque, N m")
    figure.savefig(out, dpi=120)


def main(start=(2.8, 0.5), evaluations=256, seed=0, out=None):
    torch.set_num_threads(1)
    plans = planned(start, evaluations, seed)
    print(f"{evaluations} simulated plans each, from angle {start[0]} rad and {start[1]} rad/s")
    print(f"{'':12s}{'reward':>10s}{'return':>10s}{'torque^2':>10s}{'last angle':>12s}")
    for name, actions in plans.items():
        angle, _, rewards = el.rewards.pendulum(*start, actions)
        energy = float((2 * actions.clamp(-1, 1)).square().sum())
        last = math.remainder(float(angle[-1]), 2 * math.pi)
        total = float(rewards.sum())
        print(f"{name:12s}{total - PRICE * energy:10.1f}{total:10.1f}{energy:10.1f}{last:12.2f}")
    if out:
        draw(start, plans, out)
        print(f"written to {out}")
    return plans


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--start", type=float, nargs=2, default=(2.8, 0.5), metavar=("ANGLE", "VELOCITY"))
    parser.add_argument("--evaluations", type=int, default=256, help="simulated plans of each planner")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", help="a picture, such as pendulum.png")
    args = parser.parse_args()
    main(tuple(args.start), args.evaluations, args.seed, args.out)
