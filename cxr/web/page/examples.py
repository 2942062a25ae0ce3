"""The shipped pictures in ``examples/``: each PNG holds the recipe that made it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cxr.request.errors import DataError
from cxr.request.recipe import Recipe

EXAMPLES_FOLDER = Path(__file__).parents[3] / "examples"
MAX_EXAMPLES = 24


@dataclass(frozen=True)
class Example:
    """One shipped picture and how to make it again."""

    path: Path
    recipe: Recipe


def find_examples(folder: Path = EXAMPLES_FOLDER) -> tuple[Example, ...]:
    """Read the pictures that carry a recipe, by file name; others, such as screenshots, are passed over."""
    from cxr.images.png import read_recipe

    examples = []
    for path in sorted(folder.glob("*.png")):
        try:
            examples.append(Example(path, read_recipe(path)))
        except DataError:
            continue
    return tuple(examples[:MAX_EXAMPLES])
