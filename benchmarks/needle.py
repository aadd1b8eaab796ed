"""One coordinate among 1,024: reward z_1 on a prior that is the noise itself, 640 evaluations.

A search that learns one spread per coordinate from few elites freezes here, and one that may leave the shell wins by
growing |z|. The best of N is the largest of N normals, about 3.1.

    python -m benchmarks.needle
"""

import argparse
import json
from pathlib import Path

import torch

import elites as el

D = 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs=2, default=(0, 10), help="from, to")
    parser.add_argument("--evaluations", type=int, default=640)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    s = el.search
    methods = {
        "best of N": el.RandomSearch(),
        "zero order": el.ZeroOrder(population=4),
        "published loop": el.Elites.published(),
        "Elites without its guard": el.Elites(guard=s.Anywhere()),
        "shell refit": el.Elites(population=32, refit=s.Shell(), keep=8),
        "Elites": el.Elites(),
    }
    target = el.Target(el.priors.OneStep(lambda z: z, (D,)), lambda z: z[:, 0], batch=64)
    rows = []
    for name, method in methods.items():
        results = [el.run(method, target, el.Budget(rewards=args.evaluations), i) for i in range(*args.seeds)]
        reward = torch.tensor([float(r.best.reward) for r in results])
        shell = torch.tensor([r.history[-1]["shell"] for r in results])
        row = {"method": name, "reward": float(reward.mean()), "sd": float(reward.std()), "shell": float(shell.mean())}
        row |= {"shell_min": float(shell.min()), "shell_max": float(shell.max())}
        rows.append(row)
        print(
            f"{name:25s} {row['reward']:6.2f} +- {row['sd']:.2f}   |z|^2/d {row['shell']:.3f} "
            f"({row['shell_min']:.3f} to {row['shell_max']:.3f})"
        )
    if args.out:
        args.out.write_text(json.dumps({"seeds": list(args.seeds), "evaluations": args.evaluations, "rows": rows}))


if __name__ == "__main__":
    main()
