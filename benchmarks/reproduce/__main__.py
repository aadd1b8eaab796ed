"""Published systems on laws that are known in closed form: one command for each page of `docs/reproductions`.

    python -m benchmarks.reproduce                 # all, half an hour on one core
    python -m benchmarks.reproduce feynman-kac

Papers measure on networks and judges that need an accelerator; the claims are tested here where the right answer is
known, and the pages say what a paper measured and what is different.
"""

import argparse
import time

import torch

from benchmarks.reproduce import flows, grid, noises, transitions

SYSTEMS = {
    "feynman-kac": grid.feynman_kac,
    "twisted": grid.twisted,
    "tempered": grid.tempered,
    "tree": grid.tree,
    "marginals": flows.marginals,
    "value-decoding": flows.value_decoding,
    "rollover": flows.rollover,
    "paths": flows.paths,
    "glass": transitions.glass,
    "trajectories": noises.trajectories,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("systems", nargs="*", default=list(SYSTEMS), metavar="SYSTEM", help=", ".join(SYSTEMS))
    args = parser.parse_args()
    unknown = [s for s in args.systems if s not in SYSTEMS]
    if unknown:
        parser.error(f"no system {', '.join(unknown)}: choose from {', '.join(SYSTEMS)}")
    torch.set_num_threads(1)
    for name in args.systems:
        began = time.perf_counter()
        print(f"\n## {name}\n")
        SYSTEMS[name]()
        print(f"\n{time.perf_counter() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
