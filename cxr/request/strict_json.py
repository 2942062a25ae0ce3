"""JSON that may come from anywhere, read so that it means one thing only."""

from __future__ import annotations


def unique_names(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """A table in JSON whose names are all different; of two values, readers would take different ones.

    To be given to ``json.loads`` as ``object_pairs_hook``.

    Raises:
        ValueError: a name appears twice.
    """
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("a name appears twice")
    return values
