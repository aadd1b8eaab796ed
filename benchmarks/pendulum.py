"""Swinging up a pendulum for little torque: plans from a prior, at 256 simulated plans each.

The prior saw plans made for the return of Pendulum-v1, which hardly counts torque; the reward is that return minus the
sum of the squared torques, in a simulator of the true dynamics. Each seed has twelve starts of its own, with angles
within 0.6 rad of hanging and velocities within 1 rad/s of rest. Searches over raw actions have no prior. Gains and
wins are over the best of N samples of the prior, from the same start with the same seed; `raw` counts the pairs in
which no search over raw actions was better.

    python -m benchmarks.pendulum                    # three minutes on one core
    python -m benchmarks.pendulum --seeds 100 103    # other starts and seeds, for tuning
"""

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from examples.plan_pendulum import HORIZON, PRICE, mbd, raw_actions, raw_cem, roomy

import elites as el

STARTS = 12
BASE = "best of N"
Start = tuple[float, float]
Planner = Callable[[Start, int, int], float]


def starts(seed: int) -> list[Start]:
    """Angles and velocities."""
    draws = np.random.Generator(np.random.Philox(seed)).uniform(-1, 1, (STARTS, 2))
    return [(float(np.pi + 0.6 * a), float(v)) for a, v in draws]


def search(method: el.Search, steps: int, start: Start, evaluations: int, seed: int) -> float:
    """The best reward of a search over the noise of the prior."""
    target = el.Target(el.priors.pendulum(start), el.rewards.SwingUp(start, PRICE), walk=el.Plain(steps=steps))
    return float(el.run(method, target, el.Budget(rewards=evaluations), seed).best.reward)


def raw(method: el.Search, start: Start, evaluations: int, seed: int) -> float:
    """The best reward of a search over actions."""
    target = el.Target(raw_actions(), el.rewards.SwingUp(start, PRICE))
    return float(el.run(method, target, el.Budget(rewards=evaluations), seed).best.reward)


def diffused(start: Start, evaluations: int, seed: int) -> float:
    """The reward of the plan that model-based diffusion ends with, or of the best that it tried."""
    reward, best = el.rewards.SwingUp(start, PRICE), [-np.inf]

    def returns(actions: torch.Tensor) -> torch.Tensor:
        found = reward(actions[..., None])
        best.append(float(found.max()))
        return found

    begin = torch.zeros(HORIZON, dtype=torch.float64)
    returns(mbd(returns, begin, evaluations, torch.Generator().manual_seed(seed))[None])
    return max(best)


def planners(steps: int) -> dict[str, Planner]:
    """What is compared."""
    ours = {
        BASE: el.RandomSearch(),
        "Elites": el.Elites(),
        "Elites, 12": el.Elites(12),
        "Elites, 16": roomy(),
        "Elites, shell 32 + 8": el.Elites(32, el.search.Shell(), keep=8),
        "published loop": el.Elites.published(),
        "zero order": el.ZeroOrder(population=4),
        "Evolve": el.Evolve(),
        "Evolve, 32": el.Evolve(32, keep=8),
        "CMA": el.CMA(),
    }
    none = {"random shooting": partial(raw, el.RandomSearch()), "raw CEM": partial(raw, raw_cem()), "MBD": diffused}
    return {name: partial(search, method, steps) for name, method in ours.items()} | none


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs=2, default=(0, 3), help="from, to")
    parser.add_argument("--evaluations", type=int, default=256)
    parser.add_argument("--steps", type=int, default=10, help="of DDIM")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    pairs = [(start, seed) for seed in range(*args.seeds) for start in starts(seed)]
    found, seconds = {}, {}
    for name, planner in planners(args.steps).items():
        began = time.perf_counter()
        found[name] = np.array([planner(start, args.evaluations, seed) for start, seed in pairs])
        seconds[name] = (time.perf_counter() - began) / len(pairs)
    without = np.max([found[name] for name in ("random shooting", "raw CEM", "MBD")], axis=0)
    rows = []
    for name, reward in found.items():
        gain = reward - found[BASE]
        row = {
            "method": name,
            "pairs": len(pairs),
            "reward": float(reward.mean()),
            "gain": float(gain.mean()),
            "error": float(gain.std(ddof=1) / len(gain) ** 0.5),
            "least": float(gain.min()),
            "wins": int((gain > 0).sum()),
            "raw": int((reward >= without).sum()),
            "seconds": seconds[name],
        }
        rows.append(row)
        print(
            f"{name:22s} {row['reward']:8.2f}   gain {row['gain']:7.2f} +- {row['error']:.2f} (least "
            f"{row['least']:7.2f})   wins {row['wins']:2d}   raw {row['raw']:2d}   {row['seconds']:.2f} s a run"
        )
    if args.out:
        about = {"seeds": list(args.seeds), "evaluations": args.evaluations, "steps": args.steps}
        args.out.write_text(json.dumps(about | {"rows": rows}))


if __name__ == "__main__":
    main()
