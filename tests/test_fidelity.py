"""Prompt fidelity on judges whose answers are known."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from cxr.evaluate.fidelity import Fidelity, measure_fidelity
from cxr.evaluate.fidelity_figures import lower_judge, normalised
from cxr.evaluate.fidelity_summary import Attribute, headline
from cxr.judges.judge import Judge
from cxr.judges.networks import LabelNetwork
from cxr.judges.prompt_agreement import Agreement, measure_agreement, paired_difference, seen_elsewhere, shuffled
from cxr.judges.readings import Reading, make_reading
from cxr.labels.targets import ATTRIBUTES, LABELS, targets_of
from cxr.labels.vocabulary import PromptLabels, labels_of
from cxr.metrics.result import MetricResult

EFFUSION, MALE = ATTRIBUTES.index("Effusion"), ATTRIBUTES.index("male")
THRESHOLDS = np.zeros(len(ATTRIBUTES))


def asked(count: int = 240) -> list[PromptLabels]:
    """A third each of effusion, mass and normal; both sexes."""
    findings: list[tuple[str, ...]] = [("Effusion",), ("Mass",), ()]
    return [PromptLabels(findings[k % 3], 50, "MF"[k // 3 % 2], "PA") for k in range(count)]


def reading(error: float = 0.0, seed: int = 0, count: int = 240) -> Reading:
    """A judge who sees everything that was asked for, but errs in a share of his answers."""
    targets = targets_of(asked(count))
    rng = np.random.default_rng(seed)
    right = np.where(rng.random(targets.shape) < error, -1, 1)
    scores = np.where(targets > 0, 2.0, -2.0) * right + rng.normal(0, 0.1, targets.shape)
    scores[:, -1] = targets[:, -1] + 4
    return make_reading(scores, targets, [str(k // 2) for k in range(count)])


def test_a_judge_who_sees_everything_gives_full_marks() -> None:
    result = measure_agreement(reading(), THRESHOLDS)
    assert result.pf[0, EFFUSION] == result.auroc[0, EFFUSION] == 1
    assert result.joint[0] == 1
    assert result.mae[0] == pytest.approx(4)
    assert result.within[0] == 1
    assert (result.num_positive[EFFUSION], result.num_negative[EFFUSION]) == (80, 80)


def test_errors_lower_the_figure_by_their_share() -> None:
    result = measure_agreement(reading(error=0.2, count=3000), THRESHOLDS)
    assert result.pf[0, EFFUSION] == pytest.approx(0.8, abs=0.03)
    assert result.joint[0] < 0.8
    low, high = np.quantile(result.pf[1:, EFFUSION], [0.025, 0.975])
    assert low < 0.8 < high


def test_a_finding_is_compared_with_normal_images_and_not_with_other_findings() -> None:
    # Effusion is seen wherever any finding is; a prompt for a mass has not asked for its absence.
    asked_for = [((), 90), (("Mass",), 10), (("Effusion",), 10), (("Effusion", "Mass"), 5)]
    told = targets_of([PromptLabels(findings, 50, "M", "PA") for findings, count in asked_for for _ in range(count)])
    scores = np.repeat(np.where(told[:, [LABELS.index("abnormal")]] > 0, 1.0, -1.0), told.shape[1], axis=1)
    some = make_reading(scores, told, [str(k) for k in range(len(told))])
    result = measure_agreement(some, THRESHOLDS)
    assert result.pf[0, EFFUSION] == result.auroc[0, EFFUSION] == 1
    assert (result.num_positive[EFFUSION], result.num_negative[EFFUSION]) == (10, 90)  # of one finding only
    assert seen_elsewhere(some, THRESHOLDS)[EFFUSION] == 1


def test_findings_are_compared_within_a_view() -> None:
    """A judge who sees nothing but the view looks able as long as the sick are lying."""
    views = ["AP"] * 40 + ["PA"] * 10 + ["AP"] * 10 + ["PA"] * 40
    told = targets_of([PromptLabels(("Effusion",) if k < 50 else (), 50, "M", views[k]) for k in range(100)])
    scores = np.repeat(np.array([[1.0 if view == "AP" else -1.0] for view in views]), told.shape[1], axis=1)
    result = measure_agreement(make_reading(scores, told, [str(k) for k in range(100)]), THRESHOLDS)
    assert result.auroc[0, EFFUSION] == result.pf[0, EFFUSION] == 0.5


def test_what_the_prompt_does_not_exclude_is_no_fault() -> None:
    told = targets_of([PromptLabels(("Mass",), None, None, None)] * 20)
    scores = np.full(told.shape, 3.0)  # sees every finding there is
    result = measure_agreement(make_reading(scores, told, [""] * 20), THRESHOLDS)
    assert result.joint[0] == 1
    assert np.isnan(result.mae[0])
    assert np.isnan(result.pf[0, MALE])


def test_shuffled_prompts_agree_by_chance_only() -> None:
    floor = shuffled(reading(count=600), THRESHOLDS)
    assert floor[EFFUSION] == pytest.approx(0.5, abs=0.03)


def test_seeds_of_one_prompt_are_no_independent_evidence() -> None:
    apart = reading(error=0.3)
    together = dataclasses.replace(apart, clusters=np.array([str(k // 24) for k in range(240)]))
    # Half of the prompts always fail, half never do: whole prompts are drawn, so the interval must widen.
    wrong = np.arange(240) // 24 % 2 == 0
    seen = np.where(wrong[:, None], -1, 1) * np.where(apart.asked > 0, 2.0, -2.0)
    widths = []
    for some in (apart, together):
        result = measure_agreement(dataclasses.replace(some, seen=seen), THRESHOLDS)
        widths.append(np.quantile(result.pf[1:, MALE], 0.975) - np.quantile(result.pf[1:, MALE], 0.025))
    assert widths[1] > 1.8 * widths[0]


def test_a_low_ceiling_is_not_divided_by() -> None:
    shares = normalised(np.array([0.6, 0.7, 0.52]), np.array([0.7, 0.7, 0.51]))
    assert shares[:2] == pytest.approx([0.5, 1.0])
    assert np.isnan(shares[2])


def judge(name: str) -> Judge:
    return Judge(name, LabelNetwork.__new__(LabelNetwork), THRESHOLDS, "0" * 64, {})


def fidelity(errors: dict[str, float]) -> Fidelity:
    readings = {
        name: {"generated": reading(error, seed=1), "real": reading(0.1, seed=2), "baseline": reading(0.5, seed=3)}
        for name, error in errors.items()
    }
    return measure_fidelity({name: judge(name) for name in errors}, readings)


def test_the_lower_of_two_judges_counts_and_view_and_sex_stand_first() -> None:
    part = fidelity({"kind": 0.05, "strict": 0.3})
    rows = part["attributes"]
    assert {row["judge"] for row in rows} == {"strict"}
    assert rows[0]["name"] == "male"  # all prompts ask for one view
    values = [row["metrics"]["PF"].value for row in rows[1:]]
    assert values == sorted(values)
    effusion = next(row for row in rows if row["name"] == "Effusion")
    assert effusion["other_judge"] is not None
    assert effusion["other_judge"]["PF"] > effusion["metrics"]["PF"].value
    assert effusion["metrics"]["NPF"].value < 1
    assert effusion["metrics"]["AUROC_baseline"].value == pytest.approx(0.5, abs=0.1)
    assert effusion["exploratory"]
    assert not effusion["judgeable"]
    assert "not measurable with these judges and films" in part["headline"]
    assert np.isnan(part["summary"]["metrics"]["macro_PF"].value)


def test_only_what_judges_see_in_real_films_enters_the_headline() -> None:
    readings = {"one": {"generated": reading(0.2, 1), "real": reading(0.0, 2)}}
    part = measure_fidelity({"one": judge("one")}, readings)
    judgeable = {row["name"] for row in part["attributes"] if row["judgeable"]}
    assert judgeable >= {"male", "Effusion"}
    assert set(part["summary"]["metrics"]["macro_PF"].settings["attributes"]) == judgeable
    assert "sex 8" in part["headline"] or "sex 7" in part["headline"]
    assert "real films 100.0 %" in part["headline"]


@pytest.mark.parametrize(("count", "is_claimed"), [(24, False), (900, True)])
def test_a_figure_without_errors_is_not_certain(count: int, is_claimed: bool) -> None:
    readings = {"one": {"generated": reading(count=count), "real": reading(count=900)}}
    part = measure_fidelity({"one": judge("one")}, readings)
    summary, age = part["summary"]["metrics"], part["age"]["metrics"]
    assert {one.num_generated + one.num_reference for one in (summary["macro_F"], summary["macro_AUROC"])} == {count}
    assert {one.num_reference for one in (summary["macro_C"], summary["joint_real"], age["MAE_real"])} == {900}
    figures = [summary[name] for name in ("macro_PF", "macro_NPF", "joint")]
    figures += [row["metrics"][name] for row in part["attributes"] for name in ("PF", "AUROC")]
    for figure in figures:
        assert figure.value == 1
        assert 1 <= figure.high < 1.03
        assert (figure.low > 0.92) == is_claimed
    assert ("above 92 % throughout" in part["headline"]) == is_claimed


def test_real_films_posing_as_generated_reach_their_own_ceiling() -> None:
    same = reading(0.02, 1, 1200)
    part = measure_fidelity({"one": judge("one")}, {"one": {"generated": same, "real": same}})
    assert part["summary"]["metrics"]["macro_NPF"].value == pytest.approx(1)


def test_few_real_films_give_no_ceiling() -> None:
    some = reading(0.0, 1)
    keep = np.flatnonzero((some.asked[:, EFFUSION] == 0) | (np.cumsum(some.asked[:, EFFUSION] == 1) <= 24))
    part = measure_fidelity({"one": judge("one")}, {"one": {"generated": some, "real": some.take(keep)}})
    effusion = next(row for row in part["attributes"] if row["name"] == "Effusion")
    assert (effusion["num_positive_real"], effusion["judgeable"]) == (24, False)
    assert np.isnan([effusion["metrics"][name].value for name in ("C", "C_AUROC", "NPF")]).all()
    assert effusion["metrics"]["C"].note == "no ceiling from under 25 real films"


def agreement(pf: float) -> Agreement:
    return dataclasses.replace(measure_agreement(reading(), THRESHOLDS), pf=np.full((3, len(ATTRIBUTES)), pf))


def test_a_judge_who_cannot_tell_is_not_the_lower_one() -> None:
    assert lower_judge({"a": agreement(np.nan), "b": agreement(0.9)}, 0) == "b"
    assert lower_judge({"a": agreement(0.8), "b": agreement(0.9)}, 0) == "a"


def attribute(name: str) -> Attribute:
    return Attribute(
        name=name,
        judge="a",
        judgeable=True,
        num_positive=300,
        num_negative=300,
        num_positive_real=300,
        exploratory=False,
        metrics={"PF": MetricResult("PF", 0.61), "C": MetricResult("C", 0.99)},
        other_judge=None,
    )


@pytest.mark.parametrize(
    ("low", "ceiling", "claimed"), [(0.93, 0.95, True), (0.92, 0.95, False), (0.93, 0.91, False), (0.5, 0.6, False)]
)
def test_the_claim_is_made_only_where_the_rule_allows_it(low: float, ceiling: float, claimed: bool) -> None:
    summary = {
        "macro_PF": MetricResult("macro_PF", low + 0.01, low, low + 0.02),
        "macro_C": MetricResult("macro_C", ceiling),
    }
    age = {"MAE": MetricResult("MAE", 7.0), "MAE_real": MetricResult("MAE_real", 6.0)}
    text = headline(summary, [attribute("PA")], age)
    assert ("above 92 %" in text) == claimed
    assert "view 61.0 % (real films 99.0 %), age 7.0 years off (real films 6.0)" in text


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (["PA", "male", "Effusion"], "view 61.0 % (real films 99.0 %), sex 61.0 % (real films 99.0 %), age 7.0"),
        (["male", "Effusion", "Mass"], "Prompt fidelity: sex 61.0 % (real films 99.0 %), age 7.0"),
        (["Effusion", "Mass"], "Prompt fidelity: age 7.0"),
    ],
)
def test_the_age_stands_before_the_findings(names: list[str], text: str) -> None:
    age = {"MAE": MetricResult("MAE", 7.0), "MAE_real": MetricResult("MAE_real", 6.0)}
    summary = {"macro_PF": MetricResult("macro_PF", 0.6, 0.5, 0.7), "macro_C": MetricResult("macro_C", 0.9)}
    assert text in headline(summary, [attribute(name) for name in names], age)


def test_the_gain_of_the_lora_is_measured_on_the_prompts_that_both_have() -> None:
    good, bad = reading(0.0, seed=1), reading(0.4, seed=2)
    part = np.arange(60)
    gain = paired_difference(good, bad.take(part))
    alone = measure_agreement(bad.take(part), THRESHOLDS).auroc[0, EFFUSION]
    assert gain[0, EFFUSION] == pytest.approx(1 - alone)
    assert np.quantile(gain[1:, EFFUSION], 0.01) > 0
    same = paired_difference(good, good)
    assert np.abs(same[:, EFFUSION]).max() == 0


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_shared_prompts_prove_no_gain(count: int) -> None:
    good, bad = reading(0.0, seed=1, count=12), reading(0.4, seed=2, count=12)
    other = dataclasses.replace(bad, clusters=np.array([f"{k % 3 if k % 3 < count else 'other'}" for k in range(12)]))
    gain = paired_difference(dataclasses.replace(good, clusters=np.array([f"{k % 3}" for k in range(12)])), other)
    assert np.isnan(gain[1:]).all(), "resamples of two hardly differ, which is no certainty"


def test_the_more_prompts_are_shuffled_the_lower_the_agreement() -> None:
    values = [shuffled(reading(count=600), THRESHOLDS, share)[EFFUSION] for share in (0.0, 0.3, 0.6, 1.0)]
    assert values[0] == 1
    assert (np.diff(values) < 0).all()
    assert values[-1] == pytest.approx(0.5, abs=0.03)


def test_p_values_are_corrected_for_the_number_of_findings() -> None:
    part = fidelity({"one": 0.05, "two": 0.05})
    assert part["shuffle"]["monotone"]
    rows = {row["name"]: row["metrics"]["AUROC_gain"].settings for row in part["attributes"]}
    assert rows["Effusion"]["p_holm"] >= rows["Effusion"]["p"]
    assert "p_holm" not in rows["male"]


def test_two_prompts_give_no_interval() -> None:
    """Resamples of two hardly differ; that is no certainty."""
    prompts = ["A 50-year-old man with effusion, PA view", "A 40-year-old woman with no findings, AP view"] * 20
    targets = targets_of([labels_of(prompt) for prompt in prompts])
    scores = np.where(targets == 1, 1.0, -1.0)
    for clusters, is_known in ((prompts, False), (list(map(str, range(40))), True)):
        found = measure_agreement(make_reading(scores, targets, clusters), np.zeros(len(ATTRIBUTES)))
        column = ATTRIBUTES.index("PA")
        assert found.pf[0, column] == 1
        assert np.isfinite(found.pf[1:, column]).any() == is_known
