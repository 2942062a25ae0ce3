"""The clinical prompt compiler: reading, the forms of prompts, chips, token limit, extremes and its command."""

from __future__ import annotations

import dataclasses
import json
import random
import time
from itertools import pairwise

import pytest
from transformers import CLIPTokenizer

from cxr.commands.main import main
from cxr.labels.captions import caption
from cxr.labels.vocabulary import FINDINGS, PromptLabels, labels_of
from cxr.models.preset_table import EMBEDDED_FOLDER
from cxr.prompts import (
    FORMS,
    Chip,
    Finding,
    asked_labels,
    compile_prompt,
    estimate_tokens,
    misread_findings,
    parse_prompt,
)
from cxr.prompts.halves import without_sides
from cxr.prompts.lexicon import phrases_of, reading_reasons
from cxr.request.errors import RequestError

ISSUE = "72 yo F with large right effusion, no pneumothorax, AP portable"
LONGEST_S = 0.25  # of the processor, for 2,000 characters; a busy machine takes a fifth of it


def chips_of(text: str, form: str, kind: str) -> dict[str, str]:
    """Label and reason of the chips of one kind."""
    return {chip.label: chip.reason for chip in compile_prompt(text, form).chips if chip.kind == kind}


# -- forms


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("caption", "A 72-year-old woman with right pleural effusion, portable AP view"),
        ("key_value", "chest xray view=pa age=72 gender=female demonstrating pleural effusion"),
        ("chexpert", "Pleural Effusion"),
        ("report", "72 year old female. Large right-sided pleural effusion. No pneumothorax."),
        ("plain", ISSUE),
    ],
)
def test_each_form_has_its_own_words(form: str, text: str) -> None:
    assert compile_prompt(ISSUE, form).text == text


@pytest.mark.parametrize(
    ("prompt", "form", "text"),
    [
        ("normal 55 yo woman PA", "key_value", "chest xray view=pa age=55 gender=female demonstrating no finding"),
        ("normal 55 yo woman PA", "caption", "A 55-year-old woman with no findings, PA view"),
        ("normal 55 yo woman PA", "chexpert", "No Finding"),
        ("50F normal", "report", "50 year old female. Normal chest radiograph."),
        ("normal cxr", "caption", "normal chest x-ray"),
        ("8M, RUL mass + LLL collapse", "caption", "An 8-year-old boy with a right lung mass and left atelectasis"),
        ("woman in her 60s, nodule", "caption", "A 65-year-old woman with a lung nodule"),
        ("elderly man, CHF", "caption", "An elderly man with pulmonary edema"),
        ("pneumonia, AP", "caption", "chest x-ray, AP view, pneumonia"),
        ("no effusion", "caption", "chest x-ray"),
        ("mass and nodule", "chexpert", "Lung Lesion"),
        ("RML pneumonia", "report", "Right middle lobe pneumonia."),
        ("left tension pneumothorax", "report", "Left-sided tension pneumothorax."),
        ("no effusion, pneumothorax or mass", "report", "No pleural effusion, pneumothorax or lung mass."),
        ("possible small left effusion", "report", "Possible small left-sided pleural effusion."),
        ("mildly enlarged heart in a neonate", "report", "Neonate. Mild cardiomegaly."),
    ],
)
def test_forms_put_findings_and_patients_into_words(prompt: str, form: str, text: str) -> None:
    assert compile_prompt(prompt, form).text == text


def test_captions_are_read_back_as_what_they_were_made_from() -> None:
    labels = labels_of(compile_prompt("61M PA: small L effusion, RUL mass, no PTX", "caption").text)
    assert (labels.findings, labels.age, labels.sex, labels.view) == (("Effusion", "Mass"), 61, "M", "PA")


def test_captions_hold_only_words_of_the_embedded_model() -> None:
    tokenizer = CLIPTokenizer.from_pretrained(EMBEDDED_FOLDER / "tokenizer")
    everything = "elderly woman, portable, " + ", ".join(name.replace("_", " ") for name in FORMS["caption"].names)
    for prompt in (everything, ISSUE, "normal 7 yo boy", "teenage girl, PA", "neonate, AP"):
        sent = without_sides(compile_prompt(prompt, "caption", max_tokens=200).text)
        for token in tokenizer.tokenize(sent):
            assert token.endswith("</w>"), f"{token!r} is part of a word that the model does not know"


@pytest.mark.parametrize("form", FORMS)
def test_marks_of_deidentification_never_reach_the_model(form: str) -> None:
    text = compile_prompt("___ year old man seen at ___ with\n\n pneumonia [**2014-3-1**]", form).text
    assert "_" not in text
    assert "  " not in text
    assert "2014" not in text


def test_unknown_form_is_refused_with_the_list() -> None:
    with pytest.raises(RequestError, match="form is 'sdxl'; use one of caption, key_value, chexpert, report, plain"):
        compile_prompt("pneumonia", "sdxl")


# -- chips


def test_chips_say_what_the_model_is_told_and_what_not() -> None:
    ignored = chips_of(f"{ISSUE}, COPD, SOB, zebra, h/o pneumonia, erect", "caption", "ignored")
    assert ignored.keys() == {
        *("large (pleural effusion)", "no pneumothorax", "COPD", "“SOB”", "“zebra”", "pneumonia in the past"),
        "erect",
    }
    assert ignored["large (pleural effusion)"] == "this model has no words for severity"
    assert "vocabulary" in ignored["COPD"]
    assert "symptom" in ignored["“SOB”"]
    understood = chips_of(ISSUE, "caption", "understood")
    assert list(understood) == ["72 years", "female", "AP view", "portable", "right pleural effusion"]
    assert not chips_of(ISSUE, "plain", "ignored")


def test_lateral_view_is_named_as_ignored() -> None:
    assert "AP and PA only" in chips_of("lateral view, effusion", "caption", "ignored")["lateral view"]
    assert chips_of("possible pneumonia", "caption", "understood") == {"pneumonia": "possible, written as present"}


@pytest.mark.parametrize(
    ("prompt", "label"),
    [
        ("effusion. No effusion.", "pleural effusion"),
        ("72 year old, 45 year old", "age"),
        ("male female", "sex"),
        ("AP and PA", "view"),
        ("erect supine", "position"),
        ("normal chest with pneumothorax", "normal"),
        ("lungs are clear. RLL consolidation", "normal"),
    ],
)
def test_contradictions_are_named(prompt: str, label: str) -> None:
    assert list(chips_of(prompt, "caption", "conflicting")) == [label]


@pytest.mark.parametrize(
    "prompt",
    [
        "right effusion, no left effusion",
        "small effusion, no large effusion",
        "normal chest with pacemaker",
        "normal except for a nodule",
        "lungs are clear. Cardiomegaly",
    ],
)
def test_what_only_looks_like_a_contradiction_is_none(prompt: str) -> None:
    assert not parse_prompt(prompt).conflicts


@pytest.mark.parametrize(
    ("prompt", "label", "reason"),
    [
        ("hyperinflated lungs", "“hyperinflated lungs”, read as emphysema", "a radiograph shows emphysema"),
        ("scarring", "“scarring”, read as pulmonary fibrosis", "fibrous tissue"),
        ("CHF", "“CHF”, read as pulmonary edema", "labellers of reports"),
        ("pnuemonia", "“pnuemonia”, read as pneumonia", ""),
        ("nodule on the letf", "“letf”", "read as “left”"),
        ("45-50 year old man", "“45-50 year old”", "the middle of these years"),
    ],
)
def test_chips_show_the_users_own_word_and_why_it_is_read_so(prompt: str, label: str, reason: str) -> None:
    assert reason in chips_of(prompt, "caption", "understood")[label]


@pytest.mark.parametrize(
    ("prompt", "label", "reason"),
    [
        ("no hyperinflation", "no “hyperinflation”, read as emphysema", "no words for what is absent"),
        ("h/o mass, now normal", "a lung mass in the past", "history"),
        ("at risk of pneumonia", "pneumonia", "not said to be there"),
        ("left ankle edema", "“left ankle edema”", "another part of the body"),
        ("Kein pneumothorax", "“Kein”", "only English is read"),
        ("左侧 effusion", "“左侧”", "only English is read"),
        ("effusion, <lora:a:1>", "“<lora:a:1>”", "another program"),
        ("effusion --no mass, text", "“--no mass, text”", "a field of its own"),
        ("multiple 3 cm nodules", "multiple 3 cm (pulmonary nodule)", "no words for this description"),
        ("no effusion. Low lung volumes.", "“Low lung volumes”", "no words for it"),
        ("effusions, left greater than right", "bilateral left greater than right (pleural effusion)", "side and this"),
    ],
)
def test_chips_name_what_no_picture_is_made_of(prompt: str, label: str, reason: str) -> None:
    assert reason in chips_of(prompt, "caption", "ignored")[label]


def test_chips_of_both_sides_say_how_they_differ() -> None:
    chips = chips_of("moderate right effusion, small left effusion, no left mass, no right mass", "caption", "ignored")
    assert list(chips) == [
        *(
            "moderate right (pleural effusion)",
            "small left (pleural effusion)",
            "no left lung mass",
            "no right lung mass",
        )
    ]


def test_every_decision_on_a_word_has_a_reason() -> None:
    reasons = reading_reasons()
    for phrase in ("hyperinflation", "scarring", "congestion", "heart failure", "cancer", "infection", "volume loss"):
        (finding,) = parse_prompt(phrase).findings
        assert finding.reasons == (reasons[phrase],)


def test_a_form_tells_the_sides_that_its_model_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FORMS, "caption", dataclasses.replace(FORMS["caption"], sided=frozenset({"Mass"})))
    compiled = compile_prompt("left effusion, right mass", "caption")
    assert compiled.text == "chest x-ray, pleural effusion, a right lung mass"
    assert chips_of("left effusion, right mass", "caption", "ignored").keys() == {"left (pleural effusion)"}


def test_a_normal_image_with_a_finding_is_told_by_its_finding() -> None:
    assert compile_prompt("normal chest, large pneumothorax", "caption").text == "chest x-ray, pneumothorax"


def test_left_and_right_stand_apart() -> None:
    effusion = Finding("Effusion", "present", "right", "moderate", "moderate")
    assert effusion in parse_prompt("effusions, moderate on the right and small on the left").findings
    assert effusion.label == "moderate right pleural effusion"


# -- token limit


def test_too_long_a_prompt_loses_its_least_important_parts_and_says_so() -> None:
    prompt = "72F, AP: mass, nodule, possible pneumonia, no hernia, no edema"
    dropped = [compile_prompt(prompt, "caption", max_tokens=limit).dropped for limit in (75, 20, 15, 10, 4, 0)]
    assert dropped[0] == ()
    assert dropped[-1] == ("AP view", "72 years", "female", "pneumonia", "pulmonary nodule")
    assert all(len(less) <= len(more) for less, more in pairwise(dropped))
    report = compile_prompt(prompt, "report", max_tokens=20, count_tokens=lambda text: len(text.split()))
    assert (
        report.text
        == "72 year old female. Lung mass. Pulmonary nodule. Possible pneumonia. No hiatal hernia or pulmonary edema."
    )
    report = compile_prompt(prompt, "report", max_tokens=9, count_tokens=lambda text: len(text.split()))
    assert report.dropped == ("no pulmonary edema", "no hiatal hernia", "possible pneumonia")
    assert Chip("no pulmonary edema", "ignored", "beyond the model's token limit") in report.chips
    assert "no pulmonary edema" not in [chip.label for chip in report.chips if chip.kind == "understood"]


def test_plain_text_is_cut_between_words() -> None:
    words = [f"word{number}" for number in range(100)]
    compiled = compile_prompt(" ".join(words), "plain", max_tokens=7, count_tokens=lambda text: len(text.split()))
    assert compiled.text == " ".join(words[:7])
    assert compiled.dropped == (f"“{' '.join(words[7:])}”",)
    assert compiled.chips[-1].label == "“word7 word8 word9 …”"


def test_the_estimate_of_tokens_is_not_below_what_the_embedded_tokenizer_counts() -> None:
    tokenizer = CLIPTokenizer.from_pretrained(EMBEDDED_FOLDER / "tokenizer")
    for prompt in (ISSUE, "A 55-year-old man with pneumonia and atelectasis, PA view", "normal chest x-ray"):
        text = compile_prompt(prompt, "caption").text
        assert estimate_tokens(text) >= len(tokenizer.tokenize(text))


# -- extremes


@pytest.mark.parametrize(
    "text", ["", " ", "\n", "___", "cat", "!?.,;", "\0", "x" * 3000, "🫁" * 9, "שלום רב", "\ud800"]
)
@pytest.mark.parametrize("form", FORMS)
def test_text_that_says_nothing_is_passed_on(text: str, form: str) -> None:
    parsed, compiled = parse_prompt(text), compile_prompt(text, form, max_tokens=10**6)
    assert (parsed.findings, parsed.age, parsed.normal) == ((), None, False)
    assert compiled.text == " ".join(parsed.text.split())


@pytest.mark.parametrize(
    "piece",
    [
        *(
            "no ",
            ", ",
            "- ",
            "? ",
            "?",
            "_",
            "1",
            "a",
            "\n",
            "\0",
            "🫁",
            "שלום ",
            "n't",
            "rib #",
            "12 years ",
            "in the late ",
        ),
        *(
            "effusion, ",
            "no effusion, ",
            "effusion and ",
            "left large, ",
            "acute ",
            "no acute change in ",
            "eff and left, ",
        ),
        *(
            "pneumothoraxys ",
            "blunting of the right ",
            "heart normal and ",
            "big eff, both small, ",
            "mid to late ",
            "(((",
            "/ ",
            "Absent: ; ",
            "(eff:1.2) ",
            "low risk of eff ",
            "prior ",
            "eff not large ",
            "negative prompt: ",
            "--no ",
            "无eff ",
            "left > right ",
            "leg eff ",
        ),
    ],
)
def test_time_grows_with_the_length_only(piece: str) -> None:
    text = (piece * 2000)[:2000]
    durations = []
    for _ in range(3):  # the machine may be busy with something else
        parse_prompt.cache_clear()
        start = time.process_time()
        compile_prompt(text, "report")
        durations.append(time.process_time() - start)
    assert min(durations) < LONGEST_S, f"{min(durations):.3f} s"


# -- command


def test_command_prints_the_prompt_and_its_chips(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prompt", ISSUE, "--form", "report"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "72 year old female. Large right-sided pleural effusion. No pneumothorax."
    assert "+ understood: large right pleural effusion" in lines
    assert any(line.startswith("- ignored: AP view (") for line in lines)
    assert main(["prompt", "x", "--form", "nonsense"]) == 2
    assert "--form is 'nonsense'" in capsys.readouterr().err


def test_command_prints_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prompt", ISSUE, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["compiled"]["form"] == "caption"
    assert record["parsed"]["findings"][0]["side"] == "right"


@pytest.mark.parametrize(
    ("prompt", "labels"),
    [
        (
            "72F large R effusion, no pneumothorax, AP portable",
            PromptLabels(("Effusion",), 72, "F", "AP", (("Effusion", "right"),)),
        ),
        ("possible pneumonia, lateral view", PromptLabels(("Pneumonia",), None, None, None)),
        ("no pneumothorax", PromptLabels()),
        ("60F, no effusion, pneumothorax, mass", PromptLabels(None, 60, "F", None)),
        ("Negative for effusion, pneumothorax. Small nodule.", PromptLabels(("Nodule",), None, None, None)),
        ("at risk of pneumonia, s/p hernia repair", PromptLabels()),
        ("clear lungs, no effusion or pneumothorax, 30M PA", PromptLabels((), 30, "M", "PA")),
        ("history of pneumonia, now a nodule", PromptLabels(("Nodule",), None, None, None)),
        ("", PromptLabels()),
    ],
)
def test_labels_are_what_is_asked_for(prompt: str, labels: PromptLabels) -> None:
    assert asked_labels(prompt) == labels


def test_labels_of_captions_are_those_that_they_were_written_from() -> None:
    rng = random.Random(3)
    for number in range(600):
        findings = tuple(sorted(rng.sample(FINDINGS, number % 4)))
        labels = PromptLabels(findings, rng.randint(1, 95), rng.choice("FM"), rng.choice(["AP", "PA"]))
        text = caption(labels, rng, findings=True, empty_share=0.0)
        asked, read = asked_labels(text), labels_of(text)
        assert dataclasses.replace(asked, view=None) == dataclasses.replace(read, view=None), text
        assert asked.view in (read.view, labels.view), text


@pytest.mark.parametrize(
    ("prompt", "misread"),
    [
        ("effusion, no pneumothorax", ("Pneumothorax",)),
        ("effusion, no PTX", ()),
        ("no findings", ()),
        ("pneumothorax", ()),
        ("previous pneumonia, no effusion", ("Effusion", "Pneumonia")),
    ],
)
def test_denied_findings_are_named_that_a_reader_of_words_would_see(prompt: str, misread: tuple[str, ...]) -> None:
    assert misread_findings(prompt) == misread


def test_patterns_of_the_word_lists_stand_for_several_phrases() -> None:
    assert phrases_of("{not|no longer} {|clearly} seen") == [
        *("not seen", "not clearly seen", "no longer seen", "no longer clearly seen"),
    ]
    assert phrases_of("effusion") == ["effusion"]


def test_a_denial_beside_what_is_asked_for_is_no_contradiction_and_not_sent() -> None:
    for form in FORMS:
        compiled = compile_prompt("Stable left nodule, no new nodule.", form)
        assert not [chip for chip in compiled.chips if chip.kind == "conflicting"]
        assert form == "plain" or "no " not in compiled.text.lower()
    ignored = chips_of("Stable left nodule, no new nodule.", "caption", "ignored")
    assert ignored["no new pulmonary nodule"] == "denied next to one that is asked for"


def test_a_report_denies_graded_findings_one_by_one() -> None:
    """What follows a side or grade in a list of denials would be read as stated."""
    text = "No large right effusion. No mass. No hiatal hernia."
    assert compile_prompt(text, "report").text == (
        "No lung mass or hiatal hernia. No large right-sided pleural effusion."
    )
    assert compile_prompt(compile_prompt(text, "report").text, "report").text == compile_prompt(text, "report").text


def test_a_finding_that_is_sure_and_possible_has_two_chips_that_differ() -> None:
    labels = [chip.label for chip in compile_prompt("possible left nodule. Right nodule.", "caption").chips]
    assert len(set(labels)) == len(labels) == 4
    assert "possible pulmonary nodule" in labels
