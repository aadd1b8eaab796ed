"""The pages of the API, made from `__all__`, and a check that they hold every exported name."""

from __future__ import annotations

import inspect
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

PAGES = {  # page: title, and the modules whose `__all__` it holds; a name is on the first page that has it
    "core": (
        "Targets, budgets and runs",
        ["elites.target", "elites.run", "elites.types", "elites.templates", "elites.planning"],
    ),
    "search": ("Searches over noise", ["elites.search"]),
    "steer": ("Steering along the way", ["elites.steer"]),
    "train": ("Fine-tuning", ["elites.train"]),
    "priors": ("Priors", ["elites.priors"]),
    "rewards": ("Rewards", ["elites.rewards", "elites.rewards.digits"]),
    "schedules": ("Schedules, kernels and resampling", ["elites.schedule", "elites.kernel", "elites.resample"]),
    "diagnose": ("Evidence", ["elites.diagnose"]),
    "plot": ("Figures", ["elites.plot"]),
    "events": ("Subscribers and run folders", ["elites.events", "elites.store", "elites.ledger", "elites.web"]),
    "parallel": (
        "Workers, failures and randomness",
        ["elites.parallel", "elites.scoring", "elites.probe", "elites.stream"],
    ),
}


@cache
def exported() -> dict[str, tuple[str, str, Any]]:
    """Every exported name once, by the name it is documented under: its page, its module and the object."""
    found: dict[str, tuple[str, str, Any]] = {}
    seen: set[int] = set()
    for page, (_, modules) in PAGES.items():
        for name in modules:
            module = import_module(name)
            for attribute in module.__all__:
                thing = getattr(module, attribute)
                if documentable(thing) and id(thing) not in seen:
                    seen.add(id(thing))
                    found[f"{name}.{attribute}"] = (page, getattr(thing, "__module__", name), thing)
    return found


@cache
def links(home: str) -> dict[str, str]:
    """What a name in a docstring of the module `home` stands for: what is nearest to it, where two have the name."""
    known: dict[str, str] = {}
    near = home.split(".")[:2]
    for full in sorted(exported(), key=lambda full: full.split(".")[:2] == near):
        known[full.rpartition(".")[2]] = known[full.removeprefix("elites.")] = known[full] = full
    return known


def documentable(thing: Any) -> bool:
    """Whether it is a class or a function of the package: what is neither has no docstring."""
    return (inspect.isclass(thing) or inspect.isroutine(thing)) and thing.__module__.startswith("elites")


def missing() -> list[str]:
    """What is wrong: exported names that are on no page, or have no docstring of their own."""
    names = exported()
    shown = {id(thing) for _, _, thing in names.values()}
    wrong = [f"{name} has no docstring" for name, (_, _, thing) in names.items() if not own_docstring(thing)]
    for module in packages():
        for attribute in getattr(module, "__all__", ()):
            thing = getattr(module, attribute)
            if documentable(thing) and id(thing) not in shown:
                wrong.append(f"{module.__name__}.{attribute} is on no page of the API: add its module to PAGES")
    return wrong


def packages() -> list[ModuleType]:
    """`elites` and its subpackages: what they export is public."""
    import elites

    folders = sorted(p.parent for p in Path(elites.__path__[0]).glob("*/__init__.py"))
    return [elites, *(import_module(f"elites.{p.name}") for p in folders)]


def own_docstring(thing: Any) -> bool:
    """Whether there is a docstring that was written: a dataclass without one gets its signature."""
    text = thing.__doc__ or ""
    return bool(text) and not text.startswith(f"{thing.__name__}(")


def write(folder: Path) -> None:
    """One page for each entry of PAGES and an index of the everyday names; files that are right stay as they are."""
    folder.mkdir(exist_ok=True)
    names = exported()
    pages = {"index": _index(names)}
    for page, (title, _) in PAGES.items():
        pages[page] = _page(title, [(name, home) for name, (on, home, _) in names.items() if on == page])
    for old in folder.glob("*.rst"):
        if old.stem not in pages:
            old.unlink()
    for page, text in pages.items():
        keep(folder / f"{page}.rst", text)


def keep(path: Path, text: str) -> None:
    """Write a file unless it says so already: what did not change is not built again."""
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def _page(title: str, names: list[tuple[str, str]]) -> str:
    """Objects by the module that they are written in, with what its docstring teaches."""
    text = [title, "=" * len(title), ""]
    homes = list(dict.fromkeys(home for _, home in names))
    for home in homes:
        mine = [name for name, of in names if of == home]
        heading = ", ".join(name.rpartition(".")[2] for name in mine)
        if len(homes) > 1:
            text += [heading, "-" * len(heading), ""]
        text += [f".. automodule:: {home}", "   :no-members:", "   :no-index:", ""]
        for name in mine:
            thing = _object(name)
            kind = "autoclass" if inspect.isclass(thing) else "autofunction"
            if inspect.isclass(thing) and issubclass(thing, BaseException):
                kind = "autoexception"
            text += [f".. {kind}:: {name}", "", ""]
    return "\n".join(text)


def _index(names: dict[str, tuple[str, str, Any]]) -> str:
    import elites

    where = {id(thing): name for name, (_, _, thing) in names.items()}
    lines = [
        "API",
        "===",
        "",
        "The names of everyday use, as in ``import elites as el``; the others are on the pages.",
        "",
    ]
    lines += [".. toctree::", "   :maxdepth: 1", ""] + [f"   {page}" for page in PAGES] + [""]
    for page, (title, _) in PAGES.items():
        rows = []
        for attribute in sorted(elites.__all__, key=str.lower):
            thing = getattr(elites, attribute)
            name = where.get(id(thing))
            if name and names[name][0] == page:
                rows += [f"   * - :py:obj:`el.{attribute} <{name}>`", f"     - {_first(thing)}"]
        if rows:
            lines += [title, "-" * len(title), "", ".. list-table::", "   :widths: 30 70", "", *rows, ""]
    return "\n".join(lines)


def _first(thing: Any) -> str:
    """The first sentence of a docstring, on one line."""
    from docstrings import escaped

    lines = inspect.cleandoc(thing.__doc__ or "").split("\n\n")[0]
    return escaped(" ".join(lines.split()), {})


def _object(name: str) -> Any:
    module, _, attribute = name.rpartition(".")
    return getattr(import_module(module), attribute)
