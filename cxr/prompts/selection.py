"""What of a prompt a form can say; the rest becomes chips that give the reason."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

from cxr.prompts.forms import CAPTION_GROUPS, PromptForm
from cxr.prompts.lexicon import FINDING_WORDS
from cxr.prompts.records import SHOWN, Chip, Finding, ParsedPrompt
from cxr.prompts.remarks import NO_WORDS
from cxr.prompts.writers import SEXES, join

NOT_UNDERSTOOD = "not understood; only English is read"
CONFLICTS = {
    "normal": "normal and not normal in one prompt; the findings go to the model",
    "age": "two different values; left out",
    "sex": "two different values; left out",
    "view": "one image has one view; left out",
    "position": "two different values; left out",
}
ATTRIBUTES = ("severity", "side", "location")
NOT_ASKED = {"past": "history, which this image need not show", "supposed": "spoken of, but not said to be there"}
BESIDE = "denied next to one that is asked for"
POSSIBLE = "possible, written as present"
BOTH = "both present and absent; taken as present"


@dataclass
class Selection:
    """The part of a prompt that goes to the model, and the chips for all of it.

    Args:
        possible: of the understood chips those of findings that are only possible, and are written as present.
    """

    prompt: ParsedPrompt
    understood: list[Chip] = field(default_factory=list)
    ignored: list[Chip] = field(default_factory=list)
    conflicting: list[Chip] = field(default_factory=list)
    possible: list[Chip] = field(default_factory=list)

    @property
    def chips(self) -> tuple[Chip, ...]:
        """All chips: understood, ignored, conflicting."""
        return (*self.understood, *self.ignored, *self.conflicting)


def select(prompt: ParsedPrompt, form: PromptForm) -> Selection:
    """Keep what a form can say.

    Args:
        prompt: everything that was read.
        form: of the model.
    """
    selection = Selection(prompt)
    _select_patient(selection, form)
    _select_view(selection, form)
    _select_findings(selection, form)
    selection.conflicting = [
        Chip(FINDING_WORDS.get(name, name), "conflicting", CONFLICTS.get(name, BOTH)) for name in prompt.conflicts
    ]
    if form.name != "plain":
        for note in prompt.notes:
            _add(selection, f"“{note.words}”", note.understood, note.reason)
        selection.ignored += [Chip(f"“{word}”", "ignored", NOT_UNDERSTOOD) for word in prompt.unread]
    understood = list(dict.fromkeys(selection.understood))
    count = Counter(chip.label for chip in understood)
    selection.understood = [
        replace(chip, label=f"possible {chip.label}") if count[chip.label] > 1 and chip in selection.possible else chip
        for chip in understood
    ]
    selection.ignored = list(dict.fromkeys(selection.ignored))
    return selection


def describe_age(prompt: ParsedPrompt) -> str:
    """The age as a chip shows it; "" where there is none."""
    if prompt.age_group:
        return f"in the {prompt.age_group}" if prompt.age_group[0].isdigit() else prompt.age_group
    return "" if prompt.age is None else f"{prompt.age} year{'s' * (prompt.age != 1)}"


def _add(selection: Selection, label: str, said: bool, reason: str = "") -> bool:
    if said:
        selection.understood.append(Chip(label, "understood", reason))
    else:
        selection.ignored.append(Chip(label, "ignored", reason or NO_WORDS))
    return said


def _select_patient(selection: Selection, form: PromptForm) -> None:
    prompt = selection.prompt
    plain = form.name == "plain"
    if label := describe_age(prompt):
        decade = bool(prompt.age_group) and label.startswith("in the")
        said, reason = plain or "age" in form.says, ""
        if decade and said and not plain:
            reason = "written as the middle of these years"
        elif prompt.age_group and not decade and not plain:
            said = "age group" in form.says and (form.name != "caption" or prompt.age_group in CAPTION_GROUPS)
            reason = 'written as "child"' if said and form.name == "caption" and prompt.age == 0 else ""
        if not _add(selection, label, said, reason):
            prompt = replace(prompt, age=None, age_group=None)
    if prompt.sex and not _add(selection, SEXES[prompt.sex], plain or "sex" in form.says):
        prompt = replace(prompt, sex=None)
    selection.prompt = prompt


def _select_view(selection: Selection, form: PromptForm) -> None:
    prompt = selection.prompt
    plain = form.name == "plain"
    if prompt.view:
        reason = f"this model knows {' and '.join(form.views)} only" if form.views else NO_WORDS
        said = plain or prompt.view in form.views
        if not _add(selection, f"{prompt.view} view", said, "" if said else reason):
            prompt = replace(prompt, view=None)
    if prompt.portable:
        _add(selection, "portable", plain or (form.name == "caption" and prompt.view == "AP"))
    if prompt.position:
        _add(selection, prompt.position, plain)
    selection.prompt = prompt


def _select_findings(selection: Selection, form: PromptForm) -> None:
    prompt = selection.prompt
    if form.name == "plain":
        selection.understood += [Chip("normal", "understood")] * prompt.normal
        selection.understood += [Chip(finding.label, "understood") for finding in prompt.findings]
        return
    normal = prompt.normal and "normal" not in prompt.conflicts
    if normal:
        _add(selection, "normal", True)
    said = []
    for finding in prompt.findings:
        if finding.certainty == "absent" and finding.name in prompt.conflicts:
            continue
        if finding.certainty == "absent" and any(_covers(finding, other) for other in prompt.findings):
            _add(selection, finding.label, False, BESIDE)
        elif kept := _select_finding(selection, finding, form):
            said.append(kept)
    selection.prompt = replace(prompt, findings=tuple(dict.fromkeys(said)), normal=normal)


def _covers(absent: Finding, other: Finding) -> bool:
    """Whether a denial, without its descriptions, would deny a finding that is asked for: "no new nodule"."""
    same = all(getattr(absent, name) in (None, getattr(other, name)) for name in ATTRIBUTES)
    return other.certainty in SHOWN and absent.name == other.name and same


def _select_finding(selection: Selection, finding: Finding, form: PromptForm) -> Finding | None:
    """The finding without what the form cannot say of it, or None."""
    if finding.certainty in NOT_ASKED:
        reason = NOT_ASKED[finding.certainty]
    elif finding.certainty == "absent" and "absent" not in form.says:
        reason = "this model has no words for what is absent"
    elif finding.name not in form.names:
        reason = "not in this model's vocabulary"
    else:
        return _keep_finding(selection, finding, form)
    _add(selection, finding.label, False, "; ".join((*finding.reasons, reason)))
    return None


def _can_say(attribute: str, finding: Finding, prompt: ParsedPrompt, form: PromptForm) -> bool:
    """Whether a form has words for it; one that only places findings has none for a finding on both sides."""
    if attribute != "side" or attribute in form.says:
        return form.can_say(attribute, finding.name)
    sides = {other.side for other in prompt.findings if other.name == finding.name and other.certainty in SHOWN}
    return form.can_say(attribute, finding.name) and len(sides) == 1 and finding.side != "bilateral"


def _keep_finding(selection: Selection, finding: Finding, form: PromptForm) -> Finding:
    lost = [
        name for name in ATTRIBUTES if getattr(finding, name) and not _can_say(name, finding, selection.prompt, form)
    ]
    values = {"severity": finding.severity_word, "side": finding.side, "location": finding.place}
    words = [str(values[name]) for name in lost] + list(finding.descriptors)
    kept = replace(
        finding,
        side=None if "side" in lost else finding.side,
        severity=None if "severity" in lost else finding.severity,
        severity_word="" if "severity" in lost else finding.severity_word,
        location=None if "location" in lost else finding.location,
        location_words="" if "location" in lost else finding.location_words,
        descriptors=(),
    )
    reasons = list(finding.reasons)
    only_possible = finding.certainty == "possible" and "possible" not in form.says
    if only_possible:
        kept = replace(kept, certainty="present")
        reasons.append(POSSIBLE)
    shown = form.names[finding.name]
    if form.name == "chexpert" and shown not in (finding.name, f"Pleural {finding.name}"):
        reasons.append(f'written as "{shown}"')
    _add(selection, kept.label, True, "; ".join(reasons))
    if only_possible:
        selection.possible.append(selection.understood[-1])
    if words:
        label = f"{' '.join(words)} ({FINDING_WORDS[finding.name]})"
        what = join([*lost, *(["this description"] if finding.descriptors else [])])
        _add(selection, label, False, f"this model has no words for {what}")
    return kept
