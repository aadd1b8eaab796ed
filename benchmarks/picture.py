"""The picture of the README: the best of some steps of a run, and its curves.

elites demo --out runs/demo && python -m benchmarks.picture runs/demo docs/images/run.png
"""

import argparse
import io
import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from PIL import Image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    rows = [json.loads(line) for line in (args.run / "history.jsonl").read_text().splitlines()]
    strips = {int(path.stem): Image.open(path) for path in sorted((args.run / "steps").glob("*.png"))}
    wanted = [0, 1, 5, 20, 50, 100]
    shown = [min(strips, key=lambda step: abs(step - want)) for want in wanted]

    plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    figure = plt.figure(figsize=(9, 3.9), dpi=150, layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=[1.25, 1])
    for axis, step in zip(left.subplots(len(shown), 1), shown, strict=True):
        axis.imshow(strips[step], cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axis.set_ylabel("prior" if step == 0 else f"step {step}", rotation=0, ha="right", va="center")
        axis.set_xticks([])
        axis.set_yticks([])
        axis.spines[:].set_visible(False)
    left.suptitle("the eight best of a step", fontsize=9)

    top, bottom = right.subplots(2, 1, sharex=True, height_ratios=[1.6, 1])
    spent = [row["nfe"] for row in rows]
    top.fill_between(spent, *([row[q] for row in rows] for q in ("q10", "q90")), color="#9db8d9", lw=0)
    top.plot(spent, [row["best"] for row in rows], color="#174a7c", label="best so far")
    top.plot(spent, [row["judge"] for row in rows], color="#b3541e", label="held-out judge of it")
    top.fill_between([], [], color="#9db8d9", label="population, 10 to 90 %")
    top.set_ylabel("margin of class 3 (nats)")
    top.legend(frameon=False, fontsize=8)
    bottom.axhline(1, color="#999999", lw=0.8)
    bottom.plot(spent, [row["shell"] for row in rows], color="#174a7c", label="|z|$^2$/d")
    bottom.plot(spent, [row["distance"] for row in rows], color="#b3541e", label="distance to data")
    bottom.set_ylim(0, 2)
    bottom.set_xlabel("network evaluations")
    bottom.legend(frameon=False, fontsize=8, ncols=2)

    buffer = io.BytesIO()
    figure.savefig(buffer)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_bytes(buffer.getvalue())


if __name__ == "__main__":
    main()
