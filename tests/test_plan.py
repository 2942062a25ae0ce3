"""Plans of data sets: what a file asks for, image by image."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from cxr.dataset.cohort import AgeRange, read_age, read_findings
from cxr.dataset.estimate import describe_plan
from cxr.dataset.plan import Plan, build_plan
from cxr.dataset.plan_file import read_plan
from cxr.dataset.shares import apportion
from cxr.labels.vocabulary import FINDINGS, labels_of
from cxr.request.errors import RequestError

BALANCED = """\
name: balanced
seed: 100
cohort:
  - findings: all
    sex: {F: 50, M: 50}
    age: NIH
    view: {PA: 60, AP: 40}
    count: 50
  - {findings: No Finding, sex: [F, M], age: [20-39, 40-80], count: 5}
split: {train: 0.8, test: 0.2}
"""


def plan_of(text: str, folder: Path) -> Plan:
    path = folder / "plan.yaml"
    path.write_text(text, encoding="utf-8")
    return read_plan(path)


def cohort(**entry: Any) -> Plan:
    return build_plan({"cohort": [{"findings": "Effusion", **entry}]}, "test")


def test_lists_are_crossed_and_shares_divided_exactly(tmp_path: Path) -> None:
    plan = plan_of(BALANCED, tmp_path)
    assert len(plan.images) == 14 * 50 + 2 * 2 * 5
    assert plan.counts("findings") == dict.fromkeys(FINDINGS, 50) | {"No Finding": 20}
    for name in FINDINGS:
        some = [image.labels for image in plan.images if image.labels.findings == (name,)]
        assert Counter(labels.sex for labels in some) == {"F": 25, "M": 25}
        assert Counter(labels.view for labels in some) == {"PA": 30, "AP": 20}
        assert len({(labels.sex, labels.view) for labels in some}) == 4, "sex and view go together"
    assert plan.counts("split") == {"train": 576, "test": 144}


def test_a_plan_says_on_how_many_images_its_negative_prompt_has_no_effect() -> None:
    grid = {"prompt": "pneumonia", "guidance_scale": [1, 2, 3]}
    settings = {"guidance_stop": 0.5}
    plans = [
        build_plan({"settings": settings | {"negative_prompt": text}, "grid": grid}, "test") for text in ("mass", "")
    ]
    assert [plan.notes for plan in plans] == [
        ("The negative prompt has no effect on 1 of 3 images, as guidance is off.",),
        (),
    ]
    assert [list(describe_plan(plan))[-1] in plan.notes for plan in plans] == [True, False]
    (faint,) = build_plan(
        {"settings": {"negative_prompt": "mass", "guidance_stop": 0.2}, "prompts": ["x"]}, "test"
    ).notes
    assert faint == "The negative prompt changes little in 1 of 1 image: guidance_stop is below 0.5."


def test_every_image_has_its_own_seed_patient_and_a_prompt_that_says_its_labels(tmp_path: Path) -> None:
    images = plan_of(BALANCED, tmp_path).images
    assert [image.request.seed for image in images] == list(range(100, 100 + len(images)))
    assert len({image.patient_id for image in images}) == len(images)
    assert all(labels_of(image.request.prompt) == image.labels for image in images)


def test_labels_are_what_the_template_names() -> None:
    """Nobody asks the model for the others."""
    entry = {"findings": "Effusion", "sex": "F", "age": 50, "view": "PA"}
    content = {"cohort": [entry], "pairs": [entry], "templates": ["{findings} in a {age}-year-old"]}
    for image in build_plan(content, "test").images:
        assert image.labels.findings in (("Effusion",), ())
        assert (image.labels.age, image.labels.sex, image.labels.view) == (50, None, None)


def test_the_same_file_is_the_same_plan_and_another_seed_another(tmp_path: Path) -> None:
    plan = plan_of(BALANCED, tmp_path)
    assert plan == plan_of(BALANCED, tmp_path)
    assert plan.sha256 == plan_of(BALANCED, tmp_path).sha256
    assert plan.sha256 != plan_of(BALANCED.replace("seed: 100", "seed: 101"), tmp_path).sha256


def test_a_plan_keeps_its_hash_in_every_version() -> None:
    # A folder that an older version has begun is gone on with only while this holds.
    content = {
        "seed": 5,
        "settings": {"guidance_scale": 2.0},
        "cohort": [{"findings": "Mass", "age": "40-60", "count": 2}],
        "prompts": ["pleural effusion", {"prompt": "normal", "count": 2, "seed": 70}],
        "split": {"train": 1, "test": 1},
    }
    assert build_plan(content, "kept").sha256 == "c59e332532de8c684700298d057965911e282bb8a19188b80fcad2104e78e277"
    content |= {"prompts": ["left pleural effusion", {"prompt": "normal", "count": 2, "seed": 70}]}
    # Versions before 1.4 drew no sides: what they began with such a prompt does not go on.
    assert build_plan(content, "kept").sha256 != "dff24ead5d7cfc201ee605e5b8794b2fb2661f0c55ccea5e4dacbbdc6cdf2c76"


def test_ages_like_the_data_set() -> None:
    ages = [image.labels.age for image in cohort(age="NIH", count=2_000).images]
    middle = sorted(age for age in ages if age is not None)
    assert (middle[500], middle[1_000], middle[1_500]) == pytest.approx((36, 49, 58), abs=2)


def test_written_prompts_follow_the_cohort_and_count_from_their_own_seeds() -> None:
    given = {
        "seed": 5,
        "settings": {"guidance_scale": 2.0},
        "cohort": [{"findings": "Mass", "count": 2}],
        "prompts": ["normal chest x-ray", {"prompt": "A 55-year-old man with pneumonia", "count": 2, "seed": 70}],
    }
    images = build_plan(given, "mixed").images
    assert [image.request.seed for image in images] == [5, 6, 7, 70, 71]
    assert [image.labels.findings for image in images[2:]] == [(), ("Pneumonia",), ("Pneumonia",)]
    assert {image.request.guidance_scale for image in images} == {2.0}


def test_a_grid_is_every_combination_the_last_changing_fastest() -> None:
    given = {
        "grid": {"prompt": "normal chest x-ray", "guidance_scale": [1, 3], "adapter_weight": [0, 1], "seed": [4, 9]}
    }
    plan = build_plan(given, "grid")
    asked = [(i.request.guidance_scale, i.request.adapter_weight, i.request.seed) for i in plan.images]
    assert asked == [(g, w, s) for g in (1, 3) for w in (0, 1) for s in (4, 9)]
    assert plan.grid["guidance_scale"] == (1, 3)


def test_a_csv_of_prompts_works_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "prompts.csv"
    path.write_text('prompt,count,seed\nnormal chest x-ray,2,\n"A man, effusion",1,30\n')
    images = read_plan(path).images
    assert [(image.request.prompt, image.request.seed) for image in images] == [
        *(("normal chest x-ray", 0), ("normal chest x-ray", 1)),
        ("A man, effusion", 30),
    ]


def test_a_csv_of_a_cohort_has_an_entry_in_each_row(tmp_path: Path) -> None:
    path = tmp_path / "cohort.csv"
    path.write_text('findings,sex,age,view,count\nEdema + Effusion,F,40-60,AP,3\nNo Finding,"{F: 1, M: 1}",,,2\n')
    images = read_plan(path).images
    assert [image.labels.findings for image in images] == [("Edema", "Effusion")] * 3 + [()] * 2
    assert sorted(image.labels.sex or "" for image in images[3:]) == ["F", "M"]
    assert all(40 <= (image.labels.age or 0) <= 60 for image in images[:3])


@pytest.mark.parametrize(
    ("shares", "count", "parts"),
    [([1, 1], 5, [3, 2]), ([0.5, 0.3, 0.2], 10, [5, 3, 2]), ([1, 1, 1], 2, [1, 1, 0]), ([0, 1], 3, [0, 3])],
)
def test_apportion(shares: list[float], count: int, parts: list[int]) -> None:
    assert apportion(shares, count) == parts


def test_values_are_read_as_people_write_them() -> None:
    assert read_findings("pleural thickening", "x") == ("Pleural_Thickening",)
    assert read_findings("effusion|Edema", "x") == ("Edema", "Effusion")
    assert read_age(55, "x") == AgeRange(55, 55)
    assert read_age("40–60", "x") == AgeRange(40, 60)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"findings": "Fracture"}, "cohort entry 1: findings is 'Fracture'; use Atelectasis"),
        ({"sex": "X"}, "cohort entry 1: sex is 'X'; use F, M, or shares"),
        ({"sex": {"F": -1, "M": 2}}, "the share of F is -1"),
        ({"sex": {"F": 0}}, "all shares are 0"),
        ({"age": "60-40"}, "age is '60-40'"),
        ({"age": 300}, "at most 120"),
        ({"age": {"NIH": 1}}, "NIH inside a table of shares"),
        ({"view": "lateral"}, "view is 'lateral'; use PA, AP"),
        ({"view": []}, "view is an empty list"),
        ({"count": 0}, "count is 0; use a whole number"),
        ({"count": 1_000_000, "sex": ["F", "M"]}, "asks for 2,000,000 images; use at most 1,000,000"),
        ({"colour": "red"}, "cohort entry 1 has colour; an entry holds findings"),
    ],
)
def test_a_wrong_entry_is_named(entry: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        cohort(**entry)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "asks for no image"),
        ({"seed": -1, "prompts": ["x"]}, "seed is -1"),
        ({"cohort": {"findings": "Mass"}}, "cohort must be a list of entries"),
        ({"settings": {"steps": 3}, "prompts": ["x"]}, "settings must be a table of negative_prompt"),
        ({"settings": {"guidance_scale": 0.2}, "prompts": ["x"]}, "guidance_scale is 0.2"),
        ({"prompts": [{"text": "x"}]}, "prompt 1 has text"),
        ({"prompts": [""]}, "prompt is empty"),
        ({"grid": {"seed": [1]}}, "grid must be a table with prompt"),
        ({"grid": {"prompt": "x"}, "prompts": ["x"]}, "no cohort, no prompts and no pairs"),
        ({"prompts": ["x"], "split": {"../a": 1}}, "no usable name"),
        ({"prompts": ["x"], "split": {"train": 0}}, "share 0"),
        ({"cohort": [{"findings": "Mass"}], "templates": ["{name}"]}, "a template names name"),
        ({"cohort": [{"findings": "Mass"}], "templates": ["{age"]}, "a template cannot be read"),
        ({"cohort": [{"findings": "Mass"}], "templates": ["{age.__class__}"]}, "a template names age.__class__"),
        ({"cohort": [{"findings": "Mass"}], "templates": ["{age:999999999}"]}, "a format behind a name"),
        ({"cohort": [{"findings": "Mass"}], "templates": ["{age!r}"]}, "a format behind a name"),
        ({"cohort": [{"findings": "Mass"}], "templates": ["no {findings}"]}, "something else of findings than its"),
        ({"pairs": [{"findings": "Mass"}], "templates": ["chest without {findings}"]}, "something else of findings"),
        ({"cohort": [{"findings": "Mass"}], "templates": ["{findings}, edema"]}, "something else of findings"),
        ({"cohort": [{"findings": "Mass", "age": 50}], "templates": ["{findings} in a 30-year-old"]}, "else of age"),
        ({"prompts": ["x"], "templates": ["{findings}"]}, "templates are for a cohort or for pairs"),
        ({"grid": {"prompt": "x"}, "templates": ["{findings}"]}, "templates are for a cohort or for pairs"),
    ],
)
def test_a_wrong_plan_is_told_in_one_sentence(given: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        build_plan(given, "test")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("plan.yaml", b"a: [", "is not YAML"),
        ("plan.yaml", b"- 1", "holds no table"),
        ("plan.yaml", b"colour: red", "has colour; a plan holds name"),
        ("plan.yaml", b"a: !!python/object/apply:os.system [ls]", "is not YAML"),
        ("plan.yaml", b"seed: 2026-13-45", "is not YAML"),
        ("plan.yaml", b"a: " + b"[" * 5_000, "is not YAML"),
        ("plan.yaml", b"seed: " + b"9" * 5_000, "is not YAML"),
        ("plan.yaml", b"name: &a [x]\nprompts: [*a, *a]", "no aliases"),
        (
            "plan.csv",
            b"findings,count\nMass," + b"1" * 200_000,
            "row 2 is not valid CSV: field larger than field limit",
        ),
        ("plan.csv", b"findings,sex\nMass,{F: 1\n", "the cell {F: 1 is not YAML"),
        ("plan.csv", b"age,sex\n1,F\n", "neither a column prompt nor findings"),
        ("plan.csv", b"\xff\xfe", "is not UTF-8"),
        ("plan.txt", b"", "is not a plan; use a .yaml"),
    ],
)
def test_a_file_that_is_no_plan(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RequestError, match=message):
        read_plan(tmp_path / name)


@pytest.mark.parametrize(
    "given",
    [
        {"cohort": [{"findings": "Mass", "count": 999_999}]},
        {"cohort": [{"findings": ["Mass"] * 3, "age": [20, 30], "sex": ["F", "M"]}]},
        {"cohort": [{"findings": "Mass", "count": 6}], "prompts": [{"prompt": "x", "count": 5}]},
        {"prompts": [{"prompt": "x", "count": 10**12}]},
        {"grid": {"prompt": "x", **{name: [1] * 1_000 for name in ("seed", "guidance_scale", "adapter_weight")}}},
    ],
)
def test_a_plan_beyond_its_limit_is_refused_before_it_is_spelled_out(given: dict[str, Any]) -> None:
    with pytest.raises(RequestError, match=r"the plan asks for .*10"):
        build_plan(given, "test", max_images=10)


def test_a_csv_of_prompts_has_a_limit(tmp_path: Path) -> None:
    path = tmp_path / "prompts.csv"
    path.write_text("prompt,count\nnormal,6\nnormal,6\n")
    with pytest.raises(RequestError, match="asks for 12 images; use at most 10"):
        read_plan(path, max_images=10)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    for name in ("plan.yaml", "plan.csv"):
        with pytest.raises(RequestError, match=r"cannot read .*no such file"):
            read_plan(tmp_path / name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prompts: [x]\nseed: 1\nseed: 2\n", r"plan\.yaml line 3: 'seed' appears a second time"),
        ("cohort:\n- findings: Mass\n  count: 5\n  count: 1\n", r"line 4: 'count' appears a second time"),
        ("prompts: [x]\nprompts: [y]\n", r"line 2: 'prompts' appears a second time"),
        ("prompts: [{prompt: x, prompt: y}]", r"line 1: 'prompt' appears a second time"),
        ("cohort: [{findings: Mass, sex: {F: 1, F: 2}}]", r"line 1: 'F' appears a second time"),
        ("cohort: [{findings: Mass, age: {40: 1, 40: 2}}]", r"line 1: 40 appears a second time"),
        ("prompts: [x]\nsplit:\n  train: 1\n  train: 2\n", r"line 4: 'train' appears a second time"),
        ("prompts: [x]\nseed: 0123\n", r"plan\.yaml line 2: '0123' is not a plain number"),
        ("cohort: [{findings: Mass, count: 010}]", r"line 1: '010' is not a plain number"),
        ("cohort: [{findings: Mass, count: 1:30}]", r"line 1: '1:30' is not a plain number"),
        ("cohort: [{findings: Mass, age: 20:40}]", r"line 1: '20:40' is not a plain number"),
        ("prompts: [x]\nsettings:\n  guidance_scale: 1:30.5\n", r"line 3: '1:30\.5' is not a plain number"),
        ("prompts: [x]\nseed: 0x10\n", r"line 2: '0x10' is not a plain number"),
        ("prompts: [x]\nseed: 0b11\n", r"line 2: '0b11' is not a plain number"),
        ("cohort: [{findings: Mass, count: 0x" + "f" * 6_000 + "}]", r"line 1: '0xf.* is not a plain number"),
        ("cohort: [{findings: Mass, count: " + "9" * 6_000 + "}]", r"a number of 6000 digits is too large"),
        ("cohort: [{findings: Mass, count: 1" + "0" * 38 + "}]", r"count is a very large number"),
        ("prompts: [x]\n<<: {seed: 3}\n", r"line 2: << takes keys over"),
        ("? [a]\n: 3\n", r"line 1: a list or table cannot be a name"),
        ("prompts: [x]\nname: 1.10\n", r"name is 1\.1; use text, between quotes"),
        ("prompts: [x]\nname: on\n", r"name is True; use text, between quotes"),
        ("prompts: [x]\nsplit: []\n", r"split must be a table of shares"),
        ("prompts: [x]\nsplit: {train: 0.5, Train: 0.5}\n", r"the splits train, Train differ in capitals alone"),
        ("prompts: [x]\nsplit: {nul: 1}\n", r"the split nul has the name of a device on Windows"),
        ("prompts: [x]\nsplit: {All: 1}\n", r"the split All has the name of all splits together"),
        ("prompts: [x]\nsplit: {plots: 1}\n", r"the split plots has the name of the folder of the card's pictures"),
        ("prompts: [x]\nsplit: {Pairs: 1}\n", r"the split Pairs has the name of the folder of what differs in pairs"),
        ("prompts: [x]\nsplit: {a·b: 1}\n", r"has no usable name"),
        ("prompts: [x]\nsplit: {e\u0301: 1}\n", r"has no usable name"),
        ("prompts: [x]\nsplit: {train: 08}\n", r"the share of the split train is '08'"),
        ("prompts: [x]\nseed: !!int '0123'\n", r"line 2: '0123' is not a plain number"),
        ("prompts: [x]\nseed: 0_7\n", r"line 2: '0_7' is not a plain number"),
        ("prompts: [x]\nseed: 2024-01-02\n", r"seed is datetime\.date\(2024, 1, 2\); use a whole number"),
        ("---\nprompts: [x]\n---\nprompts: [y]\n", r"is not YAML: expected a single document"),
        ("prompts: &a [x]\ncohort: *a\n", r"plan\.yaml line 2: a plan has no aliases"),
        ("prompts: [x]\nsettings: {seed: *a}\n", r"is not YAML|line 2: a plan has no aliases"),
        ("a: &a [*a]\n", r"line 1: a plan has no aliases"),
        ("prompts: [x]\nname: no\n", r"name is False; use text, between quotes"),
        ('prompts: [x]\nname: "a\\nb"\n', r"name is .a\\nb.; use one line"),
        ('prompts: [x]\nname: "\\ud800"\n', r"name is .*; use one line"),
        ("prompts: [x]\nname: " + "x" * 999, r"name is .*; use one line of at most 200 characters"),
        ("prompts: [x]\nsplit: {" + "x" * 300 + ": 1}", r"has no usable name"),
        ("prompts: [x]\nname: 0\n", r"name is 0; use text, between quotes"),
        ("prompts: [x]\nname: []\n", r"name is \[\]; use text, between quotes"),
        ("prompts: [x]\nname: !!bool 5\n", r"is not YAML: a value is not what its tag"),
        ("prompts: [x]\nname: !!timestamp x\n", r"is not YAML: a value is not what its tag"),
        ("prompts: [x]\nseed: !!int [1]\n", r"is not YAML: "),
        ("prompts: !!map [x]\n", r"is not YAML: a value is not what its tag"),
        ("prompts: !!set [x]\n", r"is not YAML: a value is not what its tag"),
        ("prompts: !!map xy\n", r"is not YAML: "),
        ("prompts: [!!binary x]\n", r"is not YAML: "),
        ("prompts: [!!binary eA==]\n", r"prompt is bytes; give text"),
        ("prompts: [no]\n", r"prompt is bool; give text"),
        ("prompts: [~]\n", r"prompt is NoneType; give text"),
        (
            "cohort: [{findings: Mass, sex: {F: 1.0e+308, M: 1.0e+308}}]",
            r"the share of F is 1e\+308; use a number of 0",
        ),
        ("cohort: [{findings: Mass, sex: {F: .inf}}]", r"the share of F is inf; use a number of 0"),
        ("cohort: [{findings: Mass, sex: {F: .nan}}]", r"the share of F is nan; use a number of 0"),
        ("prompts: [x]\nsplit: {train: 1" + "0" * 38 + "}", r"the share of the split train is a very large number"),
        ("prompts: [x]\nsplit: {train: 1.0e+308, test: 1.0e+308}", r"the share of the split train is 1e\+308"),
        ("grid: {prompt: x, seed: [1, 2, 1]}", r"seed has 1 twice; keep one"),
        ("grid: {prompt: [x, x]}", r"prompt has .x. twice; keep one"),
        ("pairs: [{findings: Mass}]\ntemplates: off\n", r"templates must be a list of texts"),
        ("pairs: [{findings: Mass}]\ntemplates: []\n", r"templates is an empty list"),
        ("\tprompts: [x]\n", r"is not YAML: "),
        ("prompts: [x]\nsplit: {yes: 1}\n", r"the split True has no usable name"),
        ("cohort: [{findings: Mass, count: 5.0}]", r"count is 5\.0; use a whole number"),
        ("cohort: [{findings: Mass, count: yes}]", r"count is True; use a whole number"),
        ("cohort: [{findings: ~}]", r"findings is None; use"),
        ("cohort: [{findings: 2024-01-01}]", r"findings is datetime\.date"),
        ("cohort: [{findings: Mass, age: 5_5}]\nsettings: {}\nseed: ~\n", r"seed is None; use a whole number"),
        (
            "templates: ['{findings}']\npairs: [{findings: Mass, sex: M, counterfactual: {sex: F}}]",
            r"images 0 and 1 have the same prompt and seed 0; name in the templates what changes",
        ),
        (
            "templates: ['film']\npairs: [{findings: Mass, region: true}]",
            r"a template has no \{findings\}; images would",
        ),
        ("templates: ['{findings}', 'A {sex}']\ncohort: [{findings: Mass}]", r"a template has no \{findings\}; images"),
        ('{"prompts": ["x"], "seed": 1, "seed": 2}', r"line 1: .seed. appears a second time"),
        ("[" * 5_000, r"plan\.yaml is not YAML: too many lists or tables inside one another"),
        ("prompts: [x]\nsplit: 0\n", r"split must be a table of shares"),
        ("prompts: [x]\nsettings: off\n", r"settings must be a table of"),
        ("prompts: [x]\ncohort: ''\n", r"cohort must be a list of entries"),
        ("cohort: [{findings: Mass}]\nprompts: {}\n", r"prompts must be a list of texts"),
        ("cohort: [{findings: Mass}]\ntemplates: []\n", r"templates is an empty list"),
        ("prompts: [x]\n" + "n" * 900 + ": 1\n", r"plan\.yaml has n{200}…; a plan holds"),
        ('prompts: [{prompt: x, "' + "n" * 900 + '": 1}]', r"prompt 1 has n{200}…; use prompt"),
        ("cohort: [{findings: Mass, sex: {" + "n" * 900 + ": x}}]", r"the share of n{200}… is 'x'"),
    ],
)
def test_yaml_that_means_something_else_than_it_says(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=message) as caught:
        plan_of(text, tmp_path)
    assert len(str(caught.value)) < 300
    assert "\n" not in str(caught.value)


def test_numbers_as_people_write_them(tmp_path: Path) -> None:
    plan = plan_of(
        "prompts: [x]\nseed: 1_000\nsettings: {guidance_scale: 2.50, num_inference_steps: 0}\n".replace(": 0}", ": 8}"),
        tmp_path,
    )
    assert (plan.images[0].request.seed, plan.images[0].request.guidance_scale) == (1000, 2.5)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("prompt,num_images\nx,3\n", r"plan\.csv row 1 has columns that are not used: num_images; use prompt"),
        ("prompt,steps\nx,3\n", r"row 1 has columns that are not used: steps"),
        ("prompt,negative prompt\nx,mass\n", r"row 1 has columns that are not used: negative prompt"),
        ("prompt,findings\nx,Mass\n", r"row 1 has columns that are not used: findings"),
        ("prompt,\nx,mass\n", r"row 1 has columns that are not used: one without a name"),
        ("prompt,prompt\nx,y\n", r"plan\.csv has 2 columns “prompt”; keep one"),
        ("prompt,Count,count\nx,1,2\n", r"plan\.csv has 2 columns “count”; keep one"),
        ("prompt;count\nx;3\n", r"plan\.csv row 1: the cells are separated by semicolons; save it with commas"),
        ("prompt\tcount\nx\t3\n", r"row 1: the cells are separated by tabs"),
        ("prompt,count\nx,3,4\n", r"plan\.csv row 2 has 3 cells, the header 2"),
        ("prompt,count\nx,3\n,\ny,1\n", r"plan\.csv row 3 is empty; delete it"),
        ("prompt,count\nx,3\n , \n", r"plan\.csv row 3 is empty; delete it"),
        ("findings,steps\nMass,3\n", r"plan\.csv row 1 has columns that are not used: steps; use findings, sex"),
        ("findings,num_images\nMass,3\n", r"row 1 has columns that are not used: num_images"),
        ("findings,count,count\nMass,3,4\n", r"row 1 has 2 columns “count”; keep one"),
        ("findings,sex,Sex\nMass,F,M\n", r"row 1 has 2 columns “sex”; keep one"),
        ("findings;count\nMass;3\n", r"row 1: the cells are separated by semicolons"),
        ("findings\tsex\nMass\tF\n", r"row 1: the cells are separated by tabs"),
        ("findings|sex\nMass|F\n", r"row 1: the cells are separated by vertical bars"),
        ("findings,count\nMass,3,4\n", r"plan\.csv row 2 has 3 cells, the header 2"),
        ("findings,count\nMass,1\n,\nMass,1\n", r"plan\.csv row 3 is empty; delete it"),
        ("findings,count\nMass,1\nCold,1\n", r"plan\.csv row 3: findings is 'Cold'"),
        ("findings,count\nMass,0\n", r"plan\.csv row 2: count is 0"),
        ("findings,count\nMass,010x\n", r"plan\.csv row 2: count is '010x'"),
        (
            'findings,sex\nMass,"{F: 1, F: 2}"\n',
            r"plan\.csv row 2: the cell {F: 1, F: 2} line 1: 'F' appears a second time",
        ),
        ("", r"neither a column prompt nor findings"),
        ("sep=;\nprompt;count\nx;2\n", r"plan\.csv row 1 names a separator; delete this row"),
        ("prompt,pr\u043empt\na,b\n", r"row 1 has columns that are not used: pr\u043empt"),
        ("prompt,count\nx,1:30\n", r"plan\.csv row 2: count is '1:30'"),
        (
            "prompt,seed\nx,9.00719925474099E+15\n",
            r"plan\.csv row 2: seed is .9\.00719925474099E\+15.; use a whole number",
        ),
        ("prompt,count\nx,1e9\n", r"plan\.csv row 2: count is .1e9.; use a whole number"),
        ("prompt,seed\nx,nan\n", r"plan\.csv row 2: seed is nan; use a whole number"),
        ("prompt,seed\nx," + "9" * 6_000 + "\n", r"plan\.csv row 2: seed is inf; use a whole number"),
        ("prompt,seed\nx,=1+1\n", r"plan\.csv row 2: seed is .=1\+1.; use a whole number"),
        ("prompt,prompt\xa0\nx,y\n", r"plan\.csv has 2 columns “prompt”; keep one"),
        ("prompt\nx\0y\n", r"row 2: prompt holds the control character U\+0000"),
        ('prompt\n"x\ny\n', r"row 2 is not valid CSV: unexpected end of data"),
        ("prompt,count\nx,2,\n", r"plan\.csv row 2 has 3 cells, the header 2"),
    ],
)
def test_what_a_csv_would_lose_is_named_by_its_row(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "plan.csv").write_text(content)
    with pytest.raises(RequestError, match=message) as caught:
        read_plan(tmp_path / "plan.csv")
    assert "\n" not in str(caught.value)
