"""The report of a run of 10,000 candidates: its size, the time to write it, and the time to open it.

Two runs of a search whose network costs nothing: pictures of 128 x 128 pixels, and paths. Both have a judge, twenty
further columns, a failure in fifty, and evidence. A page is opened in headless Chromium, if there is one: the wall
time of a screenshot less that of an empty page.

    python -m benchmarks.report
"""

import argparse
import json
import math
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

import elites as el
from elites.types import Event, Reading

CANDIDATES, POPULATION = 10_000, 16


def pictures(z: Tensor) -> Tensor:
    """Smooth colours `(n, 3, 128, 128)` of noise `(n, 48)`."""
    small = z.reshape(-1, 3, 4, 4).sigmoid()
    return torch.nn.functional.interpolate(small, (128, 128), mode="bicubic").clamp(0, 1)


def paths(z: Tensor) -> Tensor:
    """Walks `(n, 24, 2)` of noise `(n, 48)`."""
    return z.reshape(-1, 24, 2).cumsum(1)


def columns(event: Event) -> None:
    """Twenty columns, and readings at the end."""
    if event.result is None:
        event.row.update({f"column {k}": math.sin(event.step * k) for k in range(20)})
        return
    says = "more typical than some prior samples"
    event.result.evidence.extend(Reading(f"reading {k}", 0.98, k / 8, says, k < 2) for k in range(8))


def rewarded(objects: Tensor) -> list[float]:
    """The mean, and a failure in fifty or so."""
    means = objects.flatten(1).double().mean(1).tolist()
    return [math.nan if int(1e7 * abs(mean)) % 50 == 0 else mean for mean in means]


def made(folder: Path, decoder: Callable[[Tensor], Tensor], candidates: int, seed: int) -> None:
    """A run folder."""
    prior = el.priors.OneStep(lambda z: z, (48,), decoder=decoder)
    on = [el.Typicality(), el.Watch({"judge": lambda o: o.flatten(1).std(1)}), columns, el.Checkpoint(folder)]
    target = el.Target(prior, rewarded, batch=POPULATION, on_error=el.Worst(1.0))
    el.run(el.Elites(POPULATION, restart=None), target, el.Budget(rewards=candidates), seed, on=on)


def opened(page: Path | None) -> float:
    """Seconds that Chromium takes for a screenshot of a page, or of an empty one; NaN without Chromium."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        return math.nan
    with tempfile.TemporaryDirectory() as folder:
        flags = ("--headless", "--no-sandbox", "--disable-gpu", "--window-size=1280,900")
        began = time.perf_counter()
        address = "about:blank" if page is None else page.as_uri()
        subprocess.run(
            [browser, *flags, f"--screenshot={folder}/a.png", address], check=True, capture_output=True, timeout=120
        )
        return time.perf_counter() - began


def measured(folder: Path, repeats: int) -> dict[str, float]:
    """Sizes in bytes and times in seconds: of the first writing, since later ones find the pictures encoded."""
    began = time.perf_counter()
    page = el.events.write_report(folder).resolve()
    written = time.perf_counter() - began
    opening = [opened(page) - opened(None) for _ in range(repeats)]
    drawings = sum(f.stat().st_size for name in ("steps", "lineage", "best") for f in (folder / name).iterdir())
    return {
        "page_bytes": page.stat().st_size,
        "write_seconds": written,
        "open_seconds": statistics.median(opening),
        "drawings_bytes": drawings,
        "folder_bytes": sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()),
        "rows": len((folder / "history.jsonl").read_text().splitlines()),
    }


def main(candidates: int = CANDIDATES, repeats: int = 5, seed: int = 0) -> dict[str, dict[str, float]]:
    torch.set_num_threads(1)
    out = {}
    with tempfile.TemporaryDirectory() as where:
        for name, decoder in (("pictures", pictures), ("paths", paths)):
            made(Path(where) / name, decoder, candidates, seed)
            out[name] = measured(Path(where) / name, repeats)
            print(name, json.dumps({k: round(v, 3) for k, v in out[name].items()}))
    return out


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--candidates", type=int, default=CANDIDATES)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/report.json"))
    args = parser.parse_args()
    args.out.write_text(json.dumps(main(args.candidates, args.repeats, args.seed), indent=1) + "\n")
