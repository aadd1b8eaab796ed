"""Search over noise, measured against everyone, at equal network evaluations.

    python -m benchmarks.quality --workers 2                       # hours on two cores; stop it and start it again
    python -m benchmarks.quality --tasks "needle, 64" --methods Elites "EvoTorch SNES, held" --most 10000
    python -m benchmarks.quality --show                            # the tables of what is there

Every run draws no sample outside its budget, walks ten steps a candidate, and is the same wherever it is run.
"""

import argparse
import json
import os
import warnings
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

from benchmarks.quality import cells
from benchmarks.quality.contenders import contenders
from benchmarks.quality.tables import show
from benchmarks.quality.tasks import TASKS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS), metavar="TASK")
    parser.add_argument("--methods", nargs="+", default=list(contenders()), choices=list(contenders()), metavar="NAME")
    parser.add_argument("--seeds", type=int, nargs=2, default=(0, 5), help="from, to")
    parser.add_argument("--most", type=int, default=50_000, help="network evaluations of the largest budget")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/quality.jsonl"))
    parser.add_argument("--show", action="store_true", help="print the tables of the file and stop")
    args = parser.parse_args()
    if args.show:
        show(cells.load(args.out))
        return
    os.environ["OMP_NUM_THREADS"] = "1"
    warnings.simplefilter("ignore")
    jobs = cells.missing(cells.load(args.out), args.tasks, args.methods, range(*args.seeds), args.most)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(args.workers, mp_context=get_context("spawn")) as pool, args.out.open("a") as out:
        waiting = {pool.submit(cells.group, job): job for job in jobs}
        for i, done in enumerate(as_completed(waiting), 1):
            name, who = waiting[done][:2]
            error = done.exception()
            if error is not None:
                print(f"{i}/{len(jobs)} {name}: {who} FAILED: {error!r}", flush=True)
                continue
            found = done.result()
            out.writelines(json.dumps(cell) + "\n" for cell in found)
            out.flush()
            last = [c["best"] for c in found if c["budget"] == max(c["budget"] for c in found)]
            print(
                f"{i}/{len(jobs)} {name}: {who} {sum(last) / len(last):.5g}, {found[0]['seconds']} s a run", flush=True
            )
    show(cells.load(args.out))


if __name__ == "__main__":
    main()
