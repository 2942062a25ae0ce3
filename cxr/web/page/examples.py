"""The shipped pictures in ``examples/``: each PNG holds the recipe that made it."""

from __future__ import annotations

import contextlib
from pathlib import Path

from cxr.request.errors import DataError
from cxr.request.recipe import Recipe

EXAMPLES_FOLDER = Path(__file__).parents[3] / "examples"
MAX_EXAMPLES = 24


def find_examples(folder: Path = EXAMPLES_FOLDER) -> dict[Path, Recipe]:
    """Read the pictures that hold a recipe, by file name; others, such as screenshots, are passed over."""
    from cxr.images.png import read_recipe

    examples: dict[Path, Recipe] = {}
    for path in sorted(folder.glob("*.png")):
        with contextlib.suppress(DataError):
            examples[path] = read_recipe(path)
    return dict([*examples.items()][:MAX_EXAMPLES])
