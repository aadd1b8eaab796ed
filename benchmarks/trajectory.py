"""Diffusion Elites for planning: reach a goal around an obstacle with a learned prior over motions.

The prior is the bundled one over paths of a unicycle. The reward of a path is minus the distance of its last point to
the goal, minus a half for each point inside the obstacle; a reward above -0.1 is a success. Four tasks, 320 decodes of
15 DDIM steps each, equal for all methods.

    python -m benchmarks.trajectory
"""

import argparse
import json
import time
from pathlib import Path

import torch

import elites as el

TASKS = [
    el.rewards.Reach(goal=(3.0, 1.0), centre=(1.5, 0.5), radius=0.5),
    el.rewards.Reach(goal=(2.0, -2.0), centre=(1.0, -0.8), radius=0.5),
    el.rewards.Reach(goal=(-1.5, 2.5), centre=(-0.6, 1.2), radius=0.4),
    el.rewards.Reach(goal=(0.5, 2.0), centre=(0.2, 1.0), radius=0.5),
]


def methods() -> dict[str, el.Search]:
    """What is compared."""
    return {
        "best of N": el.RandomSearch(),
        "zero order": el.ZeroOrder(population=4),
        "published loop": el.Elites.published(),
        "Elites": el.Elites(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs=2, default=(0, 10), help="from, to")
    parser.add_argument("--evaluations", type=int, default=320)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    prior, rows = el.priors.unicycle(), []
    for name, method in methods().items():
        began = time.perf_counter()
        found = []
        for seed in range(*args.seeds):
            for task in TASKS:
                target = el.Target(prior, task, walk=el.Plain(steps=15))
                result = el.run(method, target, el.Budget(rewards=args.evaluations), seed)
                found.append((float(result.best.reward), result.history[-1]["shell"]))
        reward, shell = torch.tensor(found).T
        row = {
            "method": name,
            "runs": len(reward),
            "reward": float(reward.mean()),
            "sd": float(reward.std()),
            "success": float((reward > -0.1).float().mean()),
            "shell": float(shell.mean()),
            "seconds": (time.perf_counter() - began) / len(reward),
        }
        rows.append(row)
        print(
            f"{name:15s} {row['reward']:7.3f} +- {row['sd']:.3f}   success {row['success']:.2f}   "
            f"|z|^2/d {row['shell']:.2f}   {row['seconds']:.2f} s a run"
        )
    if args.out:
        args.out.write_text(json.dumps({"seeds": list(args.seeds), "evaluations": args.evaluations, "rows": rows}))


if __name__ == "__main__":
    main()
