"""Prompts that differ from the truth in one word, which show whether a model obeys that word."""

from __future__ import annotations

from collections.abc import Sequence

from cxr.labels.radiograph import Radiograph
from cxr.labels.vocabulary import FINDING_PHRASES


def opposites(records: Sequence[Radiograph], *, findings: bool) -> dict[str, list[tuple[Radiograph, str, str]]]:
    """Attribute -> (record, prompt that names it truly, the same prompt with the opposite)."""
    pairs: dict[str, list[tuple[Radiograph, str, str]]] = {}
    for record in records:
        if record.age is None or record.sex is None or record.view is None:
            continue
        truth = (record.view, record.age, record.sex, record.findings)
        others = {
            "view": ("AP" if record.view == "PA" else "PA", *truth[1:]),
            "sex": (*truth[:2], "F" if record.sex == "M" else "M", truth[3]),
            "age": (record.view, 80 if record.age < 50 else 20, *truth[2:]),
        }
        if findings and record.findings is not None:
            others["finding"] = (*truth[:3], () if record.findings else ("Effusion",))
        for name, other in others.items():
            pairs.setdefault(name, []).append((record, _plain_prompt(truth, findings), _plain_prompt(other, findings)))
    return pairs


def _plain_prompt(attributes: tuple[str, int, str, tuple[str, ...] | None], findings: bool) -> str:
    view, age, sex, found = attributes
    text = f"Chest X-ray, {view} view, {age}-year-old {'man' if sex == 'M' else 'woman'}"
    if not findings or found is None:
        return text
    return f"{text}, {', '.join(FINDING_PHRASES[name][0] for name in found) or 'no findings'}"
