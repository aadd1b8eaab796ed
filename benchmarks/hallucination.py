"""Can the late movement of the clean guess tell samples between the modes from true ones? Aithal et al. say so.

Small networks learn mixtures with empty space between the modes, in one and in two dimensions. A sample further than
4 (or 6) standard deviations from every mode is a hallucination. `TrajectoryVariance` is read along each walk. The
threshold keeps 96.3 % of one half of the samples, without labels, and is judged on the other half.

    python -m benchmarks.hallucination                 # seeds 0, 1, 2: about 10 minutes of one core
    python -m benchmarks.hallucination --seeds 1000    # where windows and training were chosen

It writes `benchmarks/results/hallucination.jsonl`.
"""

import argparse
import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

import elites as el
from elites.diagnose import Last, LogSNR, Window, quantile, threshold
from elites.diagnose.hallucination import moved
from elites.priors import GaussianPrior

RESULTS = Path(__file__).parent / "results" / "hallucination.jsonl"
STEPS, FINE, WIDTH, WAVES = 300, 60, 128, 32
STD, BATCH, ROWS = 0.05, 512, 1024  # rows of an update, and of a call
KEEP = 0.963  # by chance of the halves up to 0.3 per cent less of the true samples are kept, and 0.96 is wanted
LATE, LOW, SCALE = 0.7, 40, 8.0  # share of the updates at the lowest levels, how many these are; of the first weights


@dataclass(frozen=True, eq=False)
class Case:
    """A mixture of equal weights: means `(k, d)`, standard deviation, distance of neighbouring modes, and sizes."""

    name: str
    means: Tensor
    std: float
    gap: float
    points: int  # to learn from
    samples: int  # to judge
    iterations: int
    stride: int = 1

    @property
    def steps(self) -> int:
        """Of a walk."""
        return len(schedule(self.stride).times(STEPS)) - 1

    def windows(self) -> dict[str, Window]:
        """From where the noise is a share of the gap between modes, and those of the last n guesses."""
        from_gap = {f"gap / {k}": LogSNR(2 * math.log(k / self.gap)) for k in (6, 7, 7.5, 8, 10)}
        return from_gap | {f"last {n}": Last(n / self.steps) for n in (10, 20, 50)}


def line(name: str, *modes: float, points: int) -> Case:
    return Case(name, torch.tensor(modes)[:, None], STD, 1.0, points, 200_000, 5000)


def grid() -> Case:
    """5 x 5 modes at a distance of 2, scaled to unit variance."""
    at, scale = torch.arange(-4.0, 5.0, 2.0), math.sqrt(STD**2 + 8)
    return Case("5 x 5", torch.cartesian_prod(at, at) / scale, STD / scale, 2 / scale, 100_000, 100_000, 10_000, 4)


CASES = (line("1, 2, 3", 1, 2, 3, points=20_000), line("1, 2, 4, 5", 1, 2, 4, 5, points=50_000), grid())


class Net(nn.Module):
    """Noise of x `(B, d)` at t `(B,)`: one layer used three times, told the time by waves."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.enter, self.leave = nn.Linear(d, WIDTH), nn.Linear(WIDTH, d)
        self.layer, self.norm, self.time = nn.Linear(WIDTH, WIDTH), nn.LayerNorm(WIDTH), nn.Linear(2 * WAVES, WIDTH)

        with torch.no_grad():  # a network of small first weights is blind to narrow modes for long
            self.enter.weight *= SCALE
            self.enter.bias *= SCALE

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        if (t == t[0]).all():
            t = t[:1]  # the same for all rows of a walk
        angle = t[:, None] * torch.exp(torch.arange(WAVES) * (-math.log(1e4) / (WAVES - 1)))
        at, h = self.time(torch.cat([angle.sin(), angle.cos()], 1)), self.enter(x)
        for _ in range(3):
            h = functional.leaky_relu(self.norm(self.layer(h) + at), 0.02)
        return self.leave(h)


class Tabulated:
    """A network of one number, read off at `SIZE` points of each level, and linear between them."""

    SIZE = 1 << 14

    def __init__(self, net: Net, low: float, high: float) -> None:
        self.net, self.low, self.step = net, low, (high - low) / (self.SIZE - 1)
        points = torch.linspace(low, high, self.SIZE)[:, None]
        with torch.no_grad():
            self.rows = [self._ask(points, torch.tensor(float(t))) for t in range(STEPS)]

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        row, at = self.rows[int(t[0])], (x[:, 0] - self.low) / self.step
        left = at.long().clamp(0, self.SIZE - 2)
        return torch.lerp(row[left], row[left + 1], at - left)[:, None]

    def error(self, draws: torch.Generator) -> float:
        """The largest difference from the network at random points."""
        x = self.low + (self.high - self.low) * torch.rand(2048, 1, generator=draws)
        levels = [torch.tensor(float(t)) for t in range(0, STEPS, 7)]
        with torch.no_grad():
            return max(float((self._ask(x, t) - self(x, t[None])[:, 0]).abs().max()) for t in levels)

    @property
    def high(self) -> float:
        return self.low + self.step * (self.SIZE - 1)

    def _ask(self, x: Tensor, t: Tensor) -> Tensor:
        return torch.cat([self.net(part, t.expand(len(part)))[:, 0] for part in x.split(ROWS)])


@dataclass(frozen=True)
class Chunked:
    """Noise as of a `Stream`, but from one generator for a batch: a key for each of 60 million draws takes long."""

    seed: int
    purpose: int = 0
    step: int = 0
    draw: int = 0

    def at(self, *, purpose: int | None = None, step: int | None = None, draw: int | None = None) -> "Chunked":
        keys = {"purpose": purpose, "step": step, "draw": draw}
        return replace(self, **{name: v for name, v in keys.items() if v is not None})

    def normal(self, ids: Sequence[int], shape: Sequence[int]) -> Tensor:
        key = (int(self.purpose), self.step, ids[0], self.draw)
        draws = np.random.Generator(np.random.Philox(np.random.SeedSequence(self.seed, spawn_key=key)))
        return torch.from_numpy(draws.standard_normal((len(ids), *shape), dtype=np.float32))


def schedule(stride: int) -> el.Table:
    """300 levels, of which a walk takes each of the last 60, and every so many before."""
    times = torch.cat([torch.arange(STEPS - 1, FINE - 1, -stride), torch.arange(FINE - 1, -2, -1)]).double()
    return el.Table((1 - torch.linspace(0.001, 0.06, STEPS, dtype=torch.float64)).cumprod(0), spacing=lambda _: times)


def learned(case: Case, seed: int) -> GaussianPrior:
    """A network that has learnt to tell the noise, with more of its lessons at little noise, where it is hard."""
    draws = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = Net(case.means.shape[1])
    which = torch.randint(len(case.means), (case.points,), generator=draws)
    data = case.means[which] + case.std * torch.randn(case.points, case.means.shape[1], generator=draws)
    table = schedule(case.stride)
    alpha, sigma = (v.float()[:, None] for v in table(torch.arange(STEPS).double()))
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, case.iterations)
    for _ in range(case.iterations):
        x0 = data[torch.randint(case.points, (BATCH,), generator=draws)]
        late = torch.rand(BATCH, generator=draws) < LATE
        any_, low = (torch.randint(most, (BATCH,), generator=draws) for most in (STEPS, LOW))
        t, z = torch.where(late, low, any_), torch.randn(x0.shape, generator=draws)
        loss = (net(alpha[t] * x0 + sigma[t] * z, t.float()) - z).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        decay.step()
    guess: Any = net.eval()
    if case.means.shape[1] == 1:
        guess = Tabulated(net, -7.0, 9.0)
    return GaussianPrior(guess, (case.means.shape[1],), table, kernel=el.DDIM(1.0))


def area(scores: Tensor, hallucinated: Tensor) -> float:
    """The chance that a hallucination has a higher score than a true sample (AUC)."""
    return float(quantile(scores[hallucinated], scores[~hallucinated], higher=True).mean())


def judged(case: Case, seed: int, x: Tensor, values: Tensor, window: str) -> list[dict[str, Any]]:
    """What a threshold from the first half of the values does to the second half."""
    half = len(x) // 2
    limit = threshold(values[:half], KEEP, higher=False)
    away = torch.cdist(x, case.means.to(x)).amin(1)[half:] / case.std
    kept, rows = values[half:] <= limit, []
    for far in (4, 6):
        bad = away > far
        row = {"case": case.name, "seed": seed, "window": window, "std": far, "hallucinations": int(bad.sum())}
        row |= {"share": float(bad.double().mean()), "limit": limit, "kept": float(kept[~bad].double().mean())}
        row |= {"removed": float((~kept[bad]).double().mean()), "auc": area(values[half:], bad)} if bad.any() else {}
        rows.append(row)
    return rows


def measure(case: Case, seed: int) -> list[dict[str, Any]]:
    """Train, walk, judge."""
    began = time.process_time()
    prior = learned(case, seed)
    trained = time.process_time()
    rows = 16 * ROWS if isinstance(prior.net, Tabulated) else ROWS
    target = el.Target(prior, lambda x: x[:, 0], walk=el.Plain(steps=case.steps), batch=rows)
    stream: Any = Chunked(seed)
    windows, parts = case.windows(), []
    for start in range(0, case.samples, rows):
        ids = range(start, min(start + rows, case.samples))
        z = stream.normal(ids, prior.shape)
        parts.append(moved(target, z, stream, ids, list(windows.values())))
    x = torch.cat([part for part, _ in parts])
    seconds = {"train": round(trained - began, 1), "sample": round(time.process_time() - trained, 1)}
    told, off = [], prior.net.error(torch.Generator().manual_seed(seed)) if isinstance(prior.net, Tabulated) else 0.0
    for i, name in enumerate(windows):
        told += judged(case, seed, x, torch.cat([values[i] for _, values in parts]), name)
    return [row | {"samples": case.samples, "nfe": target.meter.nfe, "table": off, "seconds": seconds} for row in told]


def table(rows: list[dict[str, Any]]) -> None:
    """Means over seeds, and the least and the most, as the page has them."""
    print("| case | window | beyond | share | removed | kept | AUC |\n|---|---|---|---|---|---|---|")
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["case"], row["window"], row["std"]), []).append(row)

    def of(some: list[dict[str, Any]], name: str, digits: int) -> str:
        values = [100 * row[name] for row in some if name in row]
        return f"{sum(values) / len(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"

    for (case, window, std), some in groups.items():
        cells = [of(some, "share", 3), of(some, "removed", 1), of(some, "kept", 2), of(some, "auc", 1)]
        print(f"| {case} | {window} | {std} std | " + " | ".join(cells) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description="Hallucinations by trajectory variance.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--cases", nargs="+", default=[case.name for case in CASES])
    parser.add_argument("--samples", type=int, help="fewer than of the case, for a quick look")
    parser.add_argument("--iterations", type=int)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="print what is in the file")
    args = parser.parse_args()
    done = [json.loads(row) for row in args.out.read_text().splitlines()] if args.out.exists() else []
    if args.table:
        table(done)
        return
    torch.set_num_threads(1)
    for case in CASES:
        for seed in args.seeds if case.name in args.cases else ():
            size = min(args.samples or case.samples, case.samples)
            rows = measure(replace(case, samples=size, iterations=args.iterations or case.iterations), seed)
            done = [row for row in done if (row["case"], row["seed"]) != (case.name, seed)] + rows
            args.out.write_text("".join(json.dumps(row) + "\n" for row in done))
            table(rows)


if __name__ == "__main__":
    main()
