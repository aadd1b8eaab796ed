"""What the cells say: who is first where, and how real it is."""

import math
import statistics
from collections import defaultdict
from math import prod
from typing import Any

import torch

from benchmarks.quality.contenders import contenders
from benchmarks.quality.tasks import HELD_OUT, TASKS
from elites.search import Typical

Cell = dict[str, Any]
Key = tuple[str, int]
BASE = "best of N"
SINGLE = ("Elites", "noise ascent", "EvoTorch SNES, held", "pycma, held")  # that `Auto` is held against
TIE = 1e-3  # of the way from best of N at the least budget to the best of all, in a task


def typical(cells: list[Cell]) -> bool:
    """Whether all winners of a method have |z|^2/d within 0.9 to 1.1, or in few dimensions lie in the 99 % ball.

    From there on best of N, which has nothing but samples of the prior, counts whatever their norm is.
    """
    n = prod(TASKS[cells[0]["task"]].prior().shape)
    if n < Typical().shell_from:
        far = (float(Typical().scale(torch.tensor(c["shell"] * n), n)) < 0.999 for c in cells)
        return not any(far)
    return cells[0]["method"] == BASE or all(0.9 <= c["shell"] <= 1.1 for c in cells)


def grouped(cells: list[Cell]) -> dict[Key, dict[str, list[Cell]]]:
    """(task, budget) to method to its cells."""
    found: dict[Key, dict[str, list[Cell]]] = defaultdict(lambda: defaultdict(list))
    for c in cells:
        found[c["task"], c["budget"]][c["method"]].append(c)
    return found


def middle(cells: list[Cell], column: str) -> float:
    values = [c[column] for c in cells if c[column] is not None]
    return statistics.median(values) if values else float("nan")


def gap(one: list[Cell], other: list[Cell]) -> float:
    """How far the median of one method is above that of another, over the seeds that both have; NaN for none."""
    seeds = {c["seed"] for c in one} & {c["seed"] for c in other}
    return _best(one, seeds) - _best(other, seeds) if seeds else float("nan")


def gaps(one: list[Cell], others: dict[str, list[Cell]]) -> dict[str, float]:
    """The gaps to those that have run on a seed that it has, by name."""
    found = {m: gap(one, c) for m, c in others.items()}
    return {m: g for m, g in found.items() if not math.isnan(g)}


def _best(cells: list[Cell], seeds: set[int]) -> float:
    return statistics.median(c["best"] for c in cells if c["seed"] in seeds)


def scales(found: dict[Key, dict[str, list[Cell]]]) -> dict[str, float]:
    """What a task's rewards range over; 0, so that nothing ties, where best of N has not run."""
    ranges: dict[str, float] = {}
    for task in {t for t, _ in found}:
        here = {b: ms for (t, b), ms in found.items() if t == task}
        base = here[min(here)].get(BASE)  # samples of the prior, whatever the norm of the winner
        risen = [gap(c, base) for ms in here.values() for c in ms.values() if typical(c)] if base else []
        ranges[task] = max((g for g in risen if g > 0), default=0.0)
    return ranges


def winners(cells: list[Cell]) -> dict[Key, dict[str, Any]]:
    """Of each cell: the best on the shell among ours and among the rest, and whether ours are first.

    Two methods are compared on the seeds that both have, since rewards depend on the seed.
    """
    found = grouped(cells)
    ranges, ours = scales(found), {name: c for name, c in contenders().items() if c.ours}
    out = {}
    for key, methods in sorted(found.items(), key=lambda item: (list(TASKS).index(item[0][0]), item[0][1])):
        on = {m: c for m, c in methods.items() if typical(c)}
        theirs = {m: c for m, c in on.items() if m not in ours}
        mine = {m: c for m, c in on.items() if m in ours}
        if not theirs or not mine:
            continue
        slack = TIE * ranges[key[0]]
        lead = {m: min(gaps(c, theirs).values(), default=math.nan) for m, c in mine.items()}
        leader = max((m for m, g in lead.items() if not math.isnan(g)), key=lead.__getitem__)
        before = gaps(mine[leader], theirs)
        rival = min(before, key=before.__getitem__)
        out[key] = {
            "rival": (rival, middle(theirs[rival], "best")),
            "leader": (leader, middle(mine[leader], "best")),
            "Elites": middle(mine["Elites"], "best") if "Elites" in mine else float("-inf"),
            "ours first": lead[leader] >= -slack,
            "ours without gradients first": any(g >= -slack for m, g in lead.items() if not ours[m].gradients),
            "Elites first": lead.get("Elites", float("-inf")) >= -slack,
            "strict": lead.get("Elites", float("-inf")) > 0,
        }
    return out


def show(cells: list[Cell]) -> None:
    """Tables in Markdown."""
    found, won = grouped(cells), winners(cells)
    print("| task | evaluations | Elites | best of ours | best of the others, on the shell | first |")
    print("|---|---|---|---|---|---|")
    for (task, budget), w in won.items():
        first = "Elites" if w["Elites first"] else ("ours" if w["ours first"] else "**theirs**")
        star = " (held out)" if task in HELD_OUT else ""
        print(
            f"| {task}{star} | {budget:,} | {w['Elites']:.4g} | {w['leader'][1]:.4g} {w['leader'][0]} | "
            f"{w['rival'][1]:.4g} {w['rival'][0]} | {first} |"
        )
    print("\n| first or tied in | all cells | from 2,000 evaluations | held-out tasks |\n|---|---|---|---|")
    sets = [won, {k: w for k, w in won.items() if k[1] >= 2000}, {k: w for k, w in won.items() if k[0] in HELD_OUT}]
    for label in ("ours first", "ours without gradients first", "Elites first", "strict"):
        counts = [f"{sum(w[label] for w in part.values())} of {len(part)}" for part in sets]
        print(f"| {label} | {' | '.join(counts)} |")
    near = lagging(found, "Auto")
    print(f"\nAuto is at most 5 % below the best of all, on the shell, in {sum(near.values())} of {len(near)} cells.")
    far = [f"{sum(g < -0.05 for g in apart(found, 'Auto', m).values())} cells below {m}" for m in SINGLE]
    print(f"It is more than 5 % of a task's range below a single method in: {', '.join(far)}.")
    print("\n| method | short of the best | others ahead | \\|z\\|^2/d | white | judge | distance | diversity |")
    print("|---|---|---|---|---|---|---|---|")
    short = shortfalls(found)
    for name, row in sorted(ranks(found).items(), key=lambda item: item[1]):
        mine = [c for c in cells if c["method"] == name]
        shells = sorted(c["shell"] for c in mine)
        white = sum(c["white"] > 0.01 for c in mine) / len(mine)
        top = [c for c in mine if c["task"] == "digits margin" and c["budget"] == 10_000]
        judged = f"{middle(top, 'judge') / middle(top, 'best'):.2f}" if top else ""
        print(
            f"| {name} | {short.get(name, '')} | {100 * row:.0f} % | {shells[0]:.2f} to {shells[-1]:.3g} | "
            f"{100 * white:.0f} % | {judged} | {middle(mine, 'distance'):.2f} | {middle(mine, 'diversity'):.2f} |"
        )
    print("\n`judge` is that of the digits margin at 10,000 evaluations, over the reward.")


def lagging(found: dict[Key, dict[str, list[Cell]]], name: str) -> dict[Key, bool]:
    """Whether a method is within a twentieth of a task's range of every other on the shell."""
    ranges, near = scales(found), {}
    for key, methods in found.items():
        if name in methods and key[0] in ranges:
            others = {m: c for m, c in methods.items() if typical(c)}
            near[key] = not any(g < -0.05 * ranges[key[0]] for g in gaps(methods[name], others).values())
    return near


def apart(found: dict[Key, dict[str, list[Cell]]], name: str, other: str) -> dict[Key, float]:
    """How far a method is above another that is on the shell, in a task's range, where both have run on a seed."""
    ranges, both = scales(found), {}
    for key, methods in found.items():
        if name in methods and other in methods and typical(methods[other]) and ranges.get(key[0]):
            both[key] = gap(methods[name], methods[other]) / ranges[key[0]]
    return {k: g for k, g in both.items() if not math.isnan(g)}


def shortfalls(found: dict[Key, dict[str, list[Cell]]]) -> dict[str, str]:
    """Mean over cells of what a method lacks of the best, in a task's range; of those that have run on most cells."""
    ranges, short = scales(found), defaultdict(list)
    for key, methods in found.items():
        on = {m: c for m, c in methods.items() if typical(c)}
        for m, c in on.items():
            ahead = gaps(c, on)
            if ahead and ranges.get(key[0]):
                short[m].append(max(0.0, -min(ahead.values()) / ranges[key[0]]))
    most = len(found) / 2
    return {m: f"{100 * statistics.mean(v):.0f} %" for m, v in short.items() if len(v) > most}


def ranks(found: dict[Key, dict[str, list[Cell]]]) -> dict[str, float]:
    """Mean over cells of the share of other methods on the shell that a method's median is behind."""
    behind: dict[str, list[float]] = defaultdict(list)
    for methods in found.values():
        on = {m: c for m, c in methods.items() if typical(c)}
        for m, c in methods.items():
            ahead = gaps(c, {name: other for name, other in on.items() if name != m}).values()
            if ahead:
                behind[m].append(sum(g < 0 for g in ahead) / len(ahead))
    return {m: statistics.mean(v) for m, v in behind.items()}
