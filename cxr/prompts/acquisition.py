"""View and position of the patient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cxr.prompts.phrases import Tag

POSITIONS = ("erect", "semi-erect", "supine", "decubitus")
ENDS = {"comma", "sentence", "is", "break"}


@dataclass(frozen=True)
class Acquisition:
    """How the image was taken; more than one view or position contradict each other."""

    views: tuple[str, ...]
    positions: tuple[str, ...]
    portable: bool


def read_acquisition(tags: Sequence[Tag]) -> Acquisition:
    """Read view and position; images taken at the bedside or lying are AP unless another view is named."""
    denied = {index + 1 for index, tag in enumerate(tags) if tag.kind == "negation"}
    views = {tag.kind for index, tag in enumerate(tags) if tag.kind in ("AP", "PA") and index not in denied}
    if any(is_lateral_view(tags, index) for index in range(len(tags))):
        views.add("lateral")
    positions = {tag.kind for tag in tags if tag.kind in POSITIONS}
    portable = any(tag.kind == "portable" for tag in tags)
    if not views and (portable or "supine" in positions):
        views.add("AP")
    return Acquisition(tuple(sorted(views)), tuple(sorted(positions)), portable)


def is_lateral_view(tags: Sequence[Tag], index: int) -> bool:
    """Whether "lateral" at this place names a view rather than a part of the lung."""
    if tags[index].kind != "lateral":
        return False
    nearby = (
        tags[index - 1].kind if index else "sentence",
        tags[index + 1].kind if index + 1 < len(tags) else "sentence",
    )
    if nearby[1] in ("view", *POSITIONS) or nearby[0] in ("AP", "PA", "view", "is"):
        return True
    linked = nearby[0] in ("and", "or") and index > 1 and tags[index - 2].kind in ("AP", "PA", "filler", "view")
    return linked or (nearby[0] in ENDS and nearby[1] in ENDS)
