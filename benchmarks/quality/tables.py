"""What the cells say: who is first where, and how real it is."""

import statistics
from collections import defaultdict
from typing import Any

from benchmarks.quality.contenders import contenders
from benchmarks.quality.tasks import HELD_OUT, TASKS

Cell = dict[str, Any]
Key = tuple[str, int]
TIE = 1e-3  # of the way from best of N at the least budget to the best of all, in a task


def typical(cells: list[Cell]) -> bool:
    """Whether every winner of a method's seeds has a norm that the prior has, too, or |z|^2/d within 0.9 to 1.1."""
    d = TASKS[cells[0]["task"]].prior().shape
    n = 1
    for size in d:
        n *= size
    reach = max(0.1, 2.6 * (2 / n) ** 0.5)
    return all(-reach <= c["shell"] - 1 <= reach or (n < 50 and c["shell"] < 1 + 2 * reach) for c in cells)


def grouped(cells: list[Cell]) -> dict[Key, dict[str, list[Cell]]]:
    """(task, budget) to method to its cells."""
    found: dict[Key, dict[str, list[Cell]]] = defaultdict(lambda: defaultdict(list))
    for c in cells:
        found[c["task"], c["budget"]][c["method"]].append(c)
    return found


def middle(cells: list[Cell], column: str) -> float:
    values = [c[column] for c in cells if c[column] is not None]
    return statistics.median(values) if values else float("nan")


def scales(found: dict[Key, dict[str, list[Cell]]]) -> dict[str, float]:
    """What a task's rewards range over; 0, so that nothing ties, where best of N has not run."""
    ranges: dict[str, float] = {}
    for task in {t for t, _ in found}:
        here = {b: ms for (t, b), ms in found.items() if t == task}
        top = [middle(c, "best") for ms in here.values() for c in ms.values() if typical(c)]
        base = here[min(here)].get("best of N")  # samples of the prior, whatever the norm of the winner
        ranges[task] = max(0.0, max(top) - middle(base, "best")) if top and base else 0.0
    return ranges


def winners(cells: list[Cell]) -> dict[Key, dict[str, Any]]:
    """Of each cell: the best on the shell among ours and among the rest, and whether ours are first."""
    found = grouped(cells)
    ranges, ours = scales(found), {name: c for name, c in contenders().items() if c.ours}
    out = {}
    for key, methods in sorted(found.items(), key=lambda item: (list(TASKS).index(item[0][0]), item[0][1])):
        on = {m: middle(c, "best") for m, c in methods.items() if typical(c)}
        theirs = {m: v for m, v in on.items() if m not in ours}
        mine = {m: v for m, v in on.items() if m in ours}
        if not theirs or not mine:
            continue
        rival, leader = max(theirs, key=theirs.__getitem__), max(mine, key=mine.__getitem__)
        free = max((v for m, v in mine.items() if not ours[m].gradients), default=float("-inf"))
        slack = TIE * ranges[key[0]]
        out[key] = {
            "rival": (rival, theirs[rival]),
            "leader": (leader, mine[leader]),
            "Elites": on.get("Elites", float("-inf")),
            "ours first": mine[leader] >= theirs[rival] - slack,
            "ours without gradients first": free >= theirs[rival] - slack,
            "Elites first": on.get("Elites", float("-inf")) >= theirs[rival] - slack,
            "strict": on.get("Elites", float("-inf")) > theirs[rival],
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
    n = len(won)
    print("\nFirst or tied; nobody else has gradients. Strict: Elites alone, without ties.")
    for label in ("ours first", "ours without gradients first", "Elites first", "strict"):
        count = sum(w[label] for w in won.values())
        print(f"\n{label}: {count} of {n} cells, {100 * count / max(n, 1):.0f} %")
    print("\n| method | mean rank | |z|^2/d | white | distance | diversity |\n|---|---|---|---|---|---|")
    for name, row in sorted(ranks(found).items(), key=lambda item: item[1]):
        mine = [c for c in cells if c["method"] == name]
        shells = sorted(c["shell"] for c in mine)
        white = sum(c["white"] > 0.01 for c in mine) / len(mine)
        print(
            f"| {name} | {row:.2f} | {shells[0]:.2f} to {shells[-1]:.2f} | {100 * white:.0f} % | "
            f"{middle(mine, 'distance'):.2f} | {middle(mine, 'diversity'):.2f} |"
        )


def ranks(found: dict[Key, dict[str, list[Cell]]]) -> dict[str, float]:
    """Mean over cells of the share of other methods on the shell that a method's median is behind."""
    behind: dict[str, list[float]] = defaultdict(list)
    for methods in found.values():
        on = {m: middle(c, "best") for m, c in methods.items() if typical(c)}
        for m, c in methods.items():
            value = middle(c, "best")
            others = [v for other, v in on.items() if other != m]
            if others:
                behind[m].append(sum(v > value for v in others) / len(others))
    return {m: statistics.mean(v) for m, v in behind.items()}
