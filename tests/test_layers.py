"""What can be read off the source: laws 7, 10, 12 and 13, and the size of files."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import SOURCE

ROOT = SOURCE.parents[1]
MODULES = sorted(SOURCE.rglob("*.py"))
TREES = {path.relative_to(SOURCE).with_suffix("").as_posix(): ast.parse(path.read_text()) for path in MODULES}
EXCEPTIONS = {  # imports inside a function that point up, and why
    ("target", "templates"): "templates build on targets, and a target has a walk by default",
    ("run", "__init__"): "the version is defined in __init__",
}
INSIDE_A_PIPELINE = {
    "priors/components",
    "priors/opened",
    "priors/records",
    "priors/standins",
}  # bind the calls of diffusers
OPTIONAL = {
    "ImageReward",
    "cma",
    "diffusers",
    "gymnasium",
    "hpsv2",
    "httpx2",
    "hypothesis",
    "matplotlib",
    "mlflow",
    "onnx",
    "onnxruntime",
    "open_clip",
    "peft",
    "pyarrow",
    "ray",
    "rdkit",
    "sklearn",
    "tensorboard",
    "transformers",
    "wandb",
}
TOP = {  # may import everything, and nothing imports them
    "__init__",
    "__main__",
    "cli",
    "compare",
    "comparison",
    "demo",
    "foresee",
    "launch",
    "matched",
    "study",
    "upkeep",
    "web",
}
MATHS = {"types", "stream", "schedule", "kernel", "levels", "resample"}
LOOP = {"scoring", "target", "templates", "probe", "run"}
ALLOWED = {
    "copies": set(),
    "samples": set(),
    "types": {"copies", "samples"},
    "stream": {"types"},
    "schedule": {"types"},
    "kernel": {"types", "schedule"},
    "levels": {"types"},
    "resample": {"types"},
    "answers": set(),
    "account": {"types", "stream"},
    "ledger": {"types", "account"},
    "salvage": {"types", "ledger"},
    "lines": {"ledger"},
    "lock": {"types", "ledger"},
    "packing": set(),
    "parallel": {"types"},
    "scoring": {"types", "account", "answers"},
    "evaluation": {"types", "stream", "account", "answers", "scoring"},
    "workplace": {"types", "stream", "account", "answers", "evaluation", "packing", "scoring"},
    "population": {"types", "stream", "account", "evaluation", "parallel", "workplace"},
    "target": MATHS - {"resample"} | {"account", "answers", "evaluation", "population", "scoring"},
    "templates": {"types", "stream", "schedule", "kernel", "scoring", "target"},
    "probe": {"types", "stream", "scoring", "target", "templates"},
    "between": set(),
    "run": MATHS | {"account", "between", "scoring", "target", "templates", "probe"},
    "planning": MATHS | LOOP | {"answers"},
    "store": MATHS | {"run", "packing", "account", "ledger", "lines", "lock"},
    "events": MATHS | LOOP | {"store", "packing", "account"},
    "plot": {"types", "events"},
    "priors": MATHS,
    "rewards": MATHS | {"answers", "parallel", "ledger"},
    "search": {"types", "stream", "target", "templates", "kernel"},
    "steer": {"types", "stream", "target", "templates", "kernel", "levels", "resample"},
    "train": {"types", "stream", "target", "templates", "kernel", "levels", "resample"},
    "diagnose": {"types", "copies", "stream", "schedule", "levels", "account"},
}


def home(module):
    """The layer of a module: its folder, or its own name."""
    return module.split("/")[0]


def imported(module, tree):
    """(layer, inside a function) of what a module imports of the package when it runs."""

    def walk(node, inside):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
                continue
            if isinstance(child, ast.Import):
                names = [a.name.split(".")[1:] for a in child.names if a.name.split(".")[0] == "elites"]
                yield from ((".".join(n) or "__init__", inside) for n in names)
            elif isinstance(child, ast.ImportFrom):
                yield from ((name, inside) for name in absolute(module, child))
            yield from walk(child, inside or isinstance(child, ast.FunctionDef))

    return [(home(name.replace(".", "/")), inside) for name, inside in walk(tree, False)]


def absolute(module, node):
    """Names of the modules of the package that a `from` import names."""
    if node.level == 0:
        parts = (node.module or "").split(".")
        base = parts[1:] if parts[0] == "elites" else None
    else:
        folder = module.split("/")[:-1]
        base = folder[: len(folder) - node.level + 1] + ((node.module or "").split(".") if node.module else [])
    if base is None:
        return []
    if base:
        return [".".join(base)]
    names = [a.name for a in node.names]  # from . import x: a module, or a name of the package itself
    return [n if any(home(m) == n for m in TREES) else "__init__" for n in names]


@pytest.mark.parametrize("module", [m for m in TREES if home(m) not in TOP])
def test_law_13_layers_point_one_way(module):
    layer = home(module)
    assert layer in ALLOWED, f"{module} is in no layer"
    for name, inside in imported(module, TREES[module]):
        if inside and (layer, name) in EXCEPTIONS:
            continue
        assert name in ALLOWED[layer] | ({layer} if "/" in module else set()), f"{module} imports {name}"


def test_law_13_known_exceptions_are_still_needed():
    for layer, name in EXCEPTIONS:
        assert (name, True) in imported(layer, TREES[layer])


@pytest.mark.parametrize("module", TREES)
def test_law_13_optional_dependencies_are_imported_where_they_are_needed(module):
    def top(node):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from (a.name for a in child.names)
            elif isinstance(child, ast.ImportFrom) and child.level == 0:
                yield child.module
            elif not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                yield from top(child)

    assert not {n.split(".")[0] for n in top(TREES[module])} & OPTIONAL


def test_law_13_importing_the_package_imports_no_optional_dependency():
    code = "import elites, sys; print(*sorted({m.split('.')[0] for m in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "elites" in loaded
    assert not set(loaded) & (OPTIONAL | {"typer"})


def test_law_07_methods_call_no_network_no_decoder_and_no_reward():
    free = {"shape", "noise", "grid", "start", "move", "schedule", "kernel", "cost", "noisy"}
    for module, tree in TREES.items():
        if home(module) in ("search", "steer", "train", "templates"):
            for node in ast.walk(tree):
                if isinstance(node, ast.Attribute):
                    on_prior = isinstance(node.value, ast.Attribute) and node.value.attr == "prior"
                    assert not on_prior or node.attr in free, f"{module} uses prior.{node.attr}"
                    assert node.attr not in ("reward", "net") or ast.unparse(node.value) != "target", module


def classes(tree):
    return [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]


def frozen(node):
    return any("dataclass" in ast.unparse(d) and "frozen=True" in ast.unparse(d) for d in node.decorator_list)


def test_law_10_no_string_selects_behaviour():
    for module, tree in TREES.items():
        if home(module) in ("search", "steer", "train", "kernel", "schedule", "resample", "templates", "scoring"):
            for node in filter(frozen, classes(tree)):
                for item in node.body:
                    if isinstance(item, ast.AnnAssign) and item.target.id != "name":
                        kinds = re.findall(r"\w+", ast.unparse(item.annotation))
                        assert not {"str", "Literal"} & set(kinds), f"{module}: {node.name}.{item.target.id}"


def test_law_10_no_public_signature_takes_any_keyword_but_a_pipelines_own():
    for module, tree in TREES.items():
        for node in ast.walk(tree) if module not in {"priors/diffusers", *INSIDE_A_PIPELINE} else ():
            if isinstance(node, ast.FunctionDef) and (not node.name.startswith("_") or node.name == "__init__"):
                assert node.args.kwarg is None, f"{module}: {node.name}(**{node.args.kwarg and node.args.kwarg.arg})"


def test_law_12_a_class_is_abstract_or_final():
    bases = {node.name: [ast.unparse(b) for b in node.bases] for tree in TREES.values() for node in classes(tree)}

    def open_to_subclasses(name):
        marks = {"ABC", "Protocol", "Exception", "ValueError", "RuntimeError"}
        return any(b in marks or (b in bases and open_to_subclasses(b)) for b in bases[name])

    for name, above in bases.items():
        for base in above:
            assert base not in bases or open_to_subclasses(base), f"{name} subclasses {base}"


def test_law_12_what_is_abstract_is_never_made():
    marks = {"ABC", "Protocol"}
    abstract = {n.name for t in TREES.values() for n in classes(t) if marks & {ast.unparse(b) for b in n.bases}}
    concrete = {n.name for t in TREES.values() for n in classes(t)} - abstract
    assert {"Search", "Walk", "Prior"} <= abstract
    assert {"Elites", "Plain", "GaussianPrior"} <= concrete
    for module, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in abstract, f"{module} makes a {node.func.id}"


def test_law_12_methods_kernels_priors_and_schedules_are_frozen():
    for module, tree in TREES.items():
        if (
            home(module) in ("search", "steer", "train", "kernel", "schedule", "resample", "priors", "templates")
            and module not in INSIDE_A_PIPELINE
        ):
            for node in classes(tree):
                plain = any(ast.unparse(b) in ("Protocol", "ABC") for b in node.bases)
                state = node.name.endswith("State") or node.name == "Law"
                assert plain or state or frozen(node), f"{module}: {node.name}"


def test_nothing_is_pickled():
    for module, tree in TREES.items():
        for node in ast.walk(tree):
            names = [a.name for a in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            assert not {"pickle", "dill", "cloudpickle", "joblib"} & set(names), module
            assert not (isinstance(node, ast.Attribute) and ast.unparse(node) in ("torch.load", "torch.save")), module


def test_files_are_short():
    folders = [SOURCE, *(ROOT / name for name in ("tests", "benchmarks", "examples", "training"))]
    sizes = {path: len(path.read_text().splitlines()) for folder in folders for path in Path(folder).rglob("*.py")}
    assert len(sizes) > 30
    assert not {path.relative_to(ROOT).as_posix(): n for path, n in sizes.items() if n > 300}
