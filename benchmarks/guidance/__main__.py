"""Gradient guidance as regularised optimisation, panel by panel.

    python -m benchmarks.guidance                  # all that is missing, two to three hours on one core
    python -m benchmarks.guidance learned sphere   # some of it
    python -m benchmarks.guidance --show           # the tables of what is there, and the plots

A cell that the file has is not made again: a run that was stopped goes on.
"""

import argparse
import json
import time
import warnings
from pathlib import Path

import torch

from benchmarks.guidance import adaptive, clock, digits, learned, linear, objectives, sphere, tilt, tuned, tuning
from benchmarks.guidance.panel import load, missing

PANELS = {
    "linear": linear.PANEL,
    "objectives": objectives.PANEL,
    "learned": learned.PANEL,
    "sphere": sphere.PANEL,
    "adaptive": adaptive.PANEL,
    "tilt": tilt.PANEL,
    "tuned": tuned.PANEL,
    "time": clock.PANEL,
    "digits-tuning": tuning.PANEL,
    "digits": digits.PANEL,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("panels", nargs="*", default=list(PANELS), metavar="PANEL", help=", ".join(PANELS))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/guidance.jsonl"))
    parser.add_argument("--pictures", type=Path, default=Path("docs/images"))
    parser.add_argument("--show", action="store_true", help="measure nothing: print the tables and draw the plots")
    args = parser.parse_args()
    unknown = [p for p in args.panels if p not in PANELS]
    if unknown:
        parser.error(f"no panel {', '.join(unknown)}: choose from {', '.join(PANELS)}")
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    for name in args.panels:
        panel = PANELS[name]
        for job in [] if args.show else missing(load(args.out, name), panel.jobs()):
            began = time.perf_counter()
            found = {"panel": name, **job, **panel.measure(**job)}
            with args.out.open("a") as out:
                out.write(json.dumps(found) + "\n")
            print(f"{name} {job}: {time.perf_counter() - began:.0f} s", flush=True)
        print(f"\n## {name}")
        panel.show(load(args.out, name))
        if panel.draw:
            args.pictures.mkdir(parents=True, exist_ok=True)
            panel.draw(load(args.out, name), args.pictures)


if __name__ == "__main__":
    main()
