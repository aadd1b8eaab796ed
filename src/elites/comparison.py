"""Runs beside one another: what each reached, over its prior and over best of n, and methods over their seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from .diagnose import Interval, improvement, interval, paired, share
from .matched import BASELINE, Opened, each, opened, places
from .types import InputError

__all__ = ["Against", "Comparison", "Group", "Line", "compared"]

ALMOST = 0.9  # of the prior samples that a budget pays for: with as many, the best of those there are is compared with
NONE = Interval(math.nan, math.nan, math.nan, 0, "")


@dataclass(frozen=True)
class Line:
    """What is said of one run.

    Attributes:
        run, method, seed, budget, status: of it; the status is "ended", or why it is not.
        nfe: network evaluations spent.
        reward: of the winner.
        equal: best reward at the evaluations that all runs on the target have spent.
        judge, distance, shell, white: of the winner; |z|^2/d, and the p-value that its noise is a prior draw.
        alarm: the step at which the hacking alarm rang; NaN if it did not.
        failures: candidates without a reward.
        over_prior: the winner over the mean of the prior.
        over_best: the winner over the expected best of n prior samples at its own network evaluations.
        n: of those.
    """

    run: str
    method: str
    seed: int
    budget: dict[str, float | None]
    status: str
    nfe: float
    reward: float
    equal: float
    judge: float
    distance: float
    shell: float
    white: float
    alarm: float
    failures: int
    over_prior: Interval
    over_best: Interval
    n: int


@dataclass(frozen=True)
class Group:
    """A method on a target with a budget, over seeds: mean and spread of its winners, and an interval."""

    method: str
    seeds: list[int]
    mean: float
    spread: float
    level: Interval
    equal: Interval


@dataclass(frozen=True)
class Against:
    """A method against another one at equal network evaluations, over the seeds of both."""

    method: str
    other: str
    gain: Interval
    wins: Interval


@dataclass
class Comparison:
    """Runs compared.

    Attributes:
        runs: in the order they were given.
        groups: methods with their seeds.
        against: each method against the baseline.
        evaluations: network evaluations at which `equal` is taken, if the runs have spent unequal ones.
        notes: what a reader has to know.
    """

    runs: list[Line] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    against: list[Against] = field(default_factory=list)
    evaluations: list[float] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def plain(self) -> dict[str, object]:
        """All of it as JSON can hold it; NaN is null."""
        return {name: _plain(value) for name, value in asdict(self).items()}


def compared(folders: Sequence[str | Path], level: float = 0.95) -> Comparison:
    """Compare the runs in folders, finished or not.

    Runs on one target share their prior samples: those of all probes and of every `RandomSearch`. Only runs that have
    ended count for a method; where budgets are unequal, methods are held against each other at the least that any of
    them has spent.

    Arguments:
        folders: of the runs.
        level: share of such intervals that hold the truth.

    Raises:
        InputError: if there is no folder, or one of them holds no run.
        StoreError: if a ledger is damaged.
    """
    paths = list(dict.fromkeys(Path(f).resolve() for f in folders))
    if not paths:
        raise InputError("There is nothing to compare: give the folders of some runs.")
    names = [p.name for p in paths]
    names = names if len(set(names)) == len(names) else [str(Path(p.parent.name) / p.name) for p in paths]
    runs = [opened(path, name) for path, name in zip(paths, names, strict=True)]
    out = Comparison()
    lines: dict[str, Line] = {}
    for place in places(runs, out.notes):
        ended = [r for r in place if r.record.finished] or place
        spent = [r.nfe for r in ended if math.isfinite(r.nfe)]
        cut = min(spent, default=math.nan)
        if spent and max(spent) > cut:
            out.evaluations.append(cut)
            out.notes.append(
                f"Unequal budgets: {cut:,.0f} to {max(spent):,.0f} network evaluations were spent, so methods are "
                f"held against each other at {cut:,.0f}."
            )
        lines |= _lines(place, cut, level, out.notes)
        done = [r for r in place if r.record.finished]
        out.groups += [_group(name, g, cut, level) for name, g in _groups(done, out.notes).items()]
        out.against += _against(done, cut, level)
    out.runs = [lines[name] for name in names]
    _warn(runs, out)
    return out


def _lines(place: list[Opened], cut: float, level: float, notes: list[str]) -> dict[str, Line]:
    pool = {key: value for run in place for key, value in run.prior.items()}
    rewards = list(pool.values())
    some = any(math.isfinite(v) for v in rewards)
    unit = min((e for run in place if (e := each(run.record)) > 0), default=math.nan)
    held: dict[int, Interval] = {}

    def over(winner: float, n: int) -> Interval:
        if n not in held:
            held[n] = improvement(0.0, rewards, n, level=level, times=1000)
        e = held[n]
        return Interval(winner + e.estimate, winner + e.low, winner + e.high, e.n, e.how)

    out, short = {}, 0
    for run in place:
        record, n = run.record, 0
        first, best = NONE, NONE
        if some and math.isfinite(record.best):
            first = over(record.best, 1)
            paid = int(run.nfe / unit) if run.nfe > 0 and unit > 0 else 0
            if record.method != BASELINE and paid:
                short = max(short, paid) if len(rewards) < paid else short
                n = paid if paid <= len(rewards) else len(rewards) if len(rewards) >= ALMOST * paid else 0
                best = over(record.best, n) if n else NONE
        out[run.name] = Line(
            run.name,
            record.method,
            run.seed,
            dict(record.about.get("budget") or {}),
            "ended" if record.finished else str(record.result.get("stopped") or "not ended"),
            run.nfe,
            record.best,
            run.at(cut),
            record.of_best("judge"),
            record.of_best("distance"),
            record.of_best("shell"),
            record.of_best("white"),
            record.alarm,
            int(record.failed),
            first,
            best,
            n,
        )
    if short:
        notes.append(
            f"The budgets pay for up to {short:,} prior samples and {len(rewards):,} were scored: for best of n at "
            f"equal evaluations, add the folders of {BASELINE} runs of that size, eight for an interval."
        )
    return out


def _groups(runs: list[Opened], notes: list[str]) -> dict[str, list[Opened]]:
    """Runs of the same method and budget, one for each seed, by a name that tells them apart."""
    found: dict[tuple[str, str], list[Opened]] = {}
    for run in runs:
        group = found.setdefault((run.method, repr(run.record.about.get("budget"))), [])
        if run.seed in {r.seed for r in group}:
            notes.append(f"{run.name} repeats seed {run.seed} of {group[0].record.method}: it counts once.")
        else:
            group.append(run)
    names = _names(list(dict.fromkeys(method for method, _ in found)))
    out: dict[str, list[Opened]] = {}
    for (method, budget), group in found.items():
        limits = group[0].record.about.get("budget") or {}
        said = " with " + ", ".join(f"{k}={v:,.6g}" for k, v in limits.items() if v is not None)
        out[names[method] + said * any(m == method and b != budget for m, b in found)] = group
    return out


def _names(methods: list[str]) -> dict[str, str]:
    """The class of each method, or all of it where that tells no two apart."""
    short = [m.partition("(")[0] for m in methods]
    return {m: m if short.count(name) > 1 else name for m, name in zip(methods, short, strict=True)}


def _group(name: str, runs: list[Opened], cut: float, level: float) -> Group:
    best = [r.record.best for r in runs]
    good = [v for v in best if math.isfinite(v)]
    mean = sum(good) / len(good) if good else math.nan
    spread = math.sqrt(sum((v - mean) ** 2 for v in good) / (len(good) - 1)) if len(good) > 1 else math.nan
    equal = interval([r.at(cut) for r in runs], level)
    return Group(name, [r.seed for r in runs], mean, spread, interval(best, level), equal)


def _against(runs: list[Opened], cut: float, level: float) -> list[Against]:
    """Each method against `RandomSearch`, or the first one, at equal evaluations, whatever the budgets were."""
    names = _names(list(dict.fromkeys(r.method for r in runs)))
    at: dict[str, dict[int, float]] = {}
    for run in runs:
        if math.isfinite(value := run.at(cut)):
            at.setdefault(names[run.method], {}).setdefault(run.seed, value)
    base = next((names[r.method] for r in runs if r.record.method == BASELINE), next(iter(at), ""))
    out = []
    for name, ours in at.items():
        both = [s for s in ours if s in at.get(base, {})]
        if name != base and both:
            wins = sum(ours[s] > at[base][s] for s in both)
            out.append(Against(name, base, paired(ours, at[base], level), share(wins, len(both), level)))
    return out


def _warn(runs: list[Opened], out: Comparison) -> None:
    """What holds of several runs at once."""
    told = out.notes
    if open_ := [r.name for r in runs if not r.record.finished]:
        told.append(f"Not ended, and left out of what is said of methods: {', '.join(open_)}.")
    if missing := [r.name for r in runs if not r.prior]:
        told.append(f"Without prior samples in a ledger: {', '.join(missing)}.")
    noise = max((v for r in runs if math.isfinite(v := r.record.probe.get("repeat", math.nan))), default=0.0)
    scale = max((v for r in runs if math.isfinite(v := r.record.probe.get("sd", math.nan))), default=0.0)
    if noise > 1e-3 * scale:
        told.append(
            f"The reward is noisy (up to {noise:.3g} off on a second call), so the rewards of winners are too high: "
            "score them afresh with elites.diagnose.reevaluated."
        )
    if any(r.record.spent("grads") > 0 for r in runs):
        told.append("Backward passes are not counted as network evaluations.")
    versions = {repr(sorted((r.record.about.get("versions") or {}).items())) for r in runs}
    if len(versions) > 1:
        told.append("The runs were made by different versions of Python, elites, torch or NumPy, or other machines.")


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
