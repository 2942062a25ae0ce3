"""Prompts that differ from the truth in one word, which show whether a model obeys that word."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cxr.labels.radiograph import Radiograph
from cxr.labels.vocabulary import FINDING_PHRASES, PromptLabels


def opposites(records: Sequence[Radiograph], *, findings: bool) -> dict[str, list[tuple[Radiograph, str, str]]]:
    """Attribute -> (record, prompt that names it truly, the same prompt with the opposite)."""
    pairs: dict[str, list[tuple[Radiograph, str, str]]] = {}
    for record in records:
        if record.age is None or record.sex is None or record.view is None:
            continue
        others = {
            "view": replace(record, view="AP" if record.view == "PA" else "PA"),
            "sex": replace(record, sex="F" if record.sex == "M" else "M"),
            "age": replace(record, age=80 if record.age < 50 else 20),
        }
        if findings and record.findings is not None:
            others["finding"] = replace(record, findings=() if record.findings else ("Effusion",))
        for name, other in others.items():
            pairs.setdefault(name, []).append((record, _plain_prompt(record, findings), _plain_prompt(other, findings)))
    return pairs


def _plain_prompt(labels: PromptLabels, findings: bool) -> str:
    text = f"Chest X-ray, {labels.view} view, {labels.age}-year-old {'man' if labels.sex == 'M' else 'woman'}"
    if not findings or labels.findings is None:
        return text
    return f"{text}, {', '.join(FINDING_PHRASES[name][0] for name in labels.findings) or 'no findings'}"
