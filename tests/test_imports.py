"""The layers of cxr/ as a picture that tests itself: who may import whom, and what nobody may use."""

import ast
import functools
import graphlib
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "cxr"

# Bottom first: a part may import parts named before it, never after. Folders count as one part.
LAYERS = [
    "libraries",
    "memory",
    "request",
    "labels",
    "prompts",
    "images",
    "folders",
    "provenance",
    "metrics",
    "models",
    "lora",
    "generate",
    "judges",
    "evaluate",
    "train",
    "dataset",
    "bench",
    "deploy",
    "commands",
    "__main__",
    "web",
    # The names that programs of before 0.7 import; nothing here does.
    "compiler",
    "vocabulary",
]
# Libraries that only some parts may touch.
ALLOWED = {
    "gradio": {"web"},
    "gradio_client": set(),
    "pydicom": {"folders", "images"},
    "pyarrow": {"folders"},
    "peft": {"lora", "train"},
    "argparse": {"commands", "web"},
}
# Ways to run code that came as data.
BANNED_MODULES = {"pickle", "cPickle", "dill", "joblib", "marshal", "shelve", "cloudpickle"}
BANNED_CALLS = {"eval", "exec", "compile", "__import__"}
BANNED_ATTRIBUTES = {("torch", "load"), ("os", "system"), ("numpy", "load"), ("np", "load")}
PICKLES = "lora/pickled_weights.py"  # runs in a limited process of its own, and may call torch.load(weights_only=True)
BANNED_METHODS = {"extractall", "from_pickle"}
MAY_PRINT = {"commands", "train"}  # progress of the command line, on its own output

MODULES = sorted(path for path in PACKAGE.rglob("*.py") if "embedded" not in path.parts)


def part_of(path: Path) -> str:
    """The layer that a file belongs to."""
    inside = path.relative_to(PACKAGE).parts
    return inside[0] if len(inside) > 1 else path.stem


@functools.cache
def tree_of(path: Path) -> ast.Module:
    """A module as syntax, read once."""
    return ast.parse(path.read_text(encoding="utf-8"))


def imports_of(tree: ast.Module) -> list[str]:
    """Every imported module's full name, also inside functions."""
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "write imports in full"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down_and_nothing_runs_foreign_code(path: Path) -> None:
    tree, part = tree_of(path), part_of(path)
    for name in imports_of(tree):
        top, *rest = name.split(".")
        assert top not in BANNED_MODULES, f"{name} can run code from a file"
        assert part in ALLOWED.get(top, {part}), f"only {ALLOWED.get(top)} may import {top}"
        if top == "cxr" and rest[0] not in {"__version__", part} and part != "__init__":
            assert part in LAYERS, f"give {part} a place in LAYERS"
            assert LAYERS.index(rest[0]) < LAYERS.index(part), f"{part} must not import {rest[0]}: it lies above"
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        check_call(call, part, may_load=path == PACKAGE / PICKLES)


def check_call(call: ast.Call, part: str, *, may_load: bool) -> None:
    """Fail on a call that runs data as code, unpacks paths unseen, or prints."""
    if isinstance(call.func, ast.Name):
        assert call.func.id not in BANNED_CALLS, f"line {call.lineno}: {call.func.id}()"
        assert call.func.id != "print" or part in MAY_PRINT, f"line {call.lineno}: print()"
    if isinstance(call.func, ast.Attribute):
        assert call.func.attr not in BANNED_METHODS, f"line {call.lineno}: {call.func.attr}()"
        if isinstance(call.func.value, ast.Name):
            dotted = (call.func.value.id, call.func.attr)
            is_safe_load = may_load and dotted == ("torch", "load") and is_weights_only(call)
            assert is_safe_load or dotted not in BANNED_ATTRIBUTES, f"line {call.lineno}: {'.'.join(dotted)}()"
    for keyword in call.keywords:
        enabled = isinstance(keyword.value, ast.Constant) and keyword.value.value is True
        assert not (keyword.arg in {"trust_remote_code", "shell", "allow_pickle"} and enabled), f"line {call.lineno}"
        assert keyword.arg != "custom_pipeline", f"line {call.lineno}"


def is_weights_only(call: ast.Call) -> bool:
    """Whether a call of torch.load says so itself, rather than trusting the version's default."""
    values = [keyword.value for keyword in call.keywords if keyword.arg == "weights_only"]
    return [value.value for value in values if isinstance(value, ast.Constant)] == [True]


def test_the_reader_of_pickles_is_imported_by_nobody() -> None:
    """It runs in a process of its own: its name is given to `run_limited` as text."""
    name = "cxr." + PICKLES.removesuffix(".py").replace("/", ".")
    for path in MODULES:
        assert name not in imports_of(tree_of(path)), path


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Inside a room too: whoever reads a module first must be able to."""
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in MODULES}
    graph = {name: modules_imported_at_the_top(path, names) for name, path in names.items()}
    sorter = graphlib.TopologicalSorter(graph)
    sorter.prepare()  # raises CycleError, which names the circle


def modules_imported_at_the_top(path: Path, names: dict[str, Path]) -> set[str]:
    """Which of these modules a file imports, at its top, in functions, or for types alone."""
    imported = imports_of(tree_of(path))
    return {name for full in imported for name in (full, full.rpartition(".")[0]) if name in names}


# A command and what it runs; a figure and how it is measured; an old name.
ONE_SUBJECT = {"verify", "sweep", "sheet", "restore", "diversity", "detail", "vocabulary"}


def test_modules_of_one_name_are_about_one_subject() -> None:
    names = Counter(path.stem for path in MODULES if path.stem != "__init__")
    assert len(names) > 300
    assert {name for name, count in names.items() if count > 1} <= ONE_SUBJECT


def test_the_lowest_layers_are_light() -> None:
    heavy = {"torch", "diffusers", "transformers", "PIL", "gradio", "safetensors"}
    for name in (
        "request/errors",
        "request/generation_request",
        "request/recipe",
        "models/presets",
        "models/preset_table",
        "prompts/inspection",
        "lora/lora_file",
        "lora/find",
        "commands/main",
    ):
        top_level = ast.parse((PACKAGE / f"{name}.py").read_text(encoding="utf-8")).body
        imported = imports_of(ast.Module([node for node in top_level if not isinstance(node, ast.If)], []))
        # Imports inside functions are found too, except in the command line, which loads torch after checking.
        if name == "commands/main":
            direct = [node for node in top_level if isinstance(node, (ast.Import, ast.ImportFrom))]
            imported = imports_of(ast.Module(list(direct), []))
        assert not heavy & {name.split(".")[0] for name in imported}, f"{name} imports a heavy library"


def test_app_is_short() -> None:
    assert len((ROOT / "app.py").read_text(encoding="utf-8").splitlines()) < 40
