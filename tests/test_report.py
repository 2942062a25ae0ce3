"""Reports: the same figures in JSON, Markdown, HTML and plots."""

from __future__ import annotations

import copy
import json
import math
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sample_images import content

from cxr.evaluate.copy_grid import NATIVE
from cxr.evaluate.distances import POSING
from cxr.evaluate.failures import measure_failures
from cxr.evaluate.report.figure_cells import figure, number
from cxr.evaluate.report.figure_words import detail_words, distance_words, failure_words, reason, repetition_words
from cxr.evaluate.report.render import escape_markdown
from cxr.evaluate.report.write import write_report
from cxr.images.atomic import write_whole
from cxr.metrics.intervals import Interval
from cxr.metrics.result import MetricResult, to_json, to_plain
from cxr.request.errors import OutputError, RequestError

SHA256 = "0123456789abcdef" * 4
NOTHING_MEASURED = (
    *("training", "sensitivity", "detail", "diversity", "fidelity", "groups", "probes"),
    *("copies", "readers", "utility", "failures", "sweep"),
)
PLOTS = {"fidelity", "auroc", "kd", "sensitivity", "sweep", "utility"}


def metric(name: str, value: float, spread: float = 0.03, note: str = "", **settings: Any) -> MetricResult:
    return MetricResult(name, value, value - spread, value + spread, 1474, 700, settings, note)


def distances(name: str, scale: float) -> dict[str, Any]:
    rows = [("generated", 8.0, 0.71), ("base without LoRA", 9.5, 0.69), ("degraded real", 90.0, 0.12)]
    return {
        "extractor": {"name": name, "version": 1, "weights_sha256": SHA256, "size": 128},
        "rows": [
            {
                "name": row,
                "metrics": [
                    metric("KD", kd * scale, 0.2 * scale, resamples=200),
                    metric("KD - floor", (kd - 0.4) * scale, 0.2 * scale),
                    metric("FD-infinity", 210 * kd * scale, 4 * scale, r_squared=0.97),
                    MetricResult("FD", math.nan, note="refused below 2,000 images of each set"),
                    MetricResult("CMMD", kd * scale / 3, num_generated=700, num_reference=700),
                    *(metric(share, coverage, k=5) for share in ("precision", "recall", "density", "coverage")),
                ],
            }
            for row, kd, coverage in [*rows, (POSING, 0.4, 0.95)]
        ],
    }


def attribute(name: str, pf: float, ceiling: float) -> dict[str, Any]:
    metrics = {
        "PF": pf,
        "AUROC": pf + 0.05,
        "C": ceiling,
        "C_AUROC": ceiling + 0.05,
        "NPF": (pf - 0.5) / (ceiling - 0.5),
    }
    metrics |= {"PF_baseline": 0.51, "AUROC_baseline": 0.5}
    return {
        "name": name,
        "judge": "dense",
        "judgeable": ceiling >= 0.8,
        "num_positive": 300,
        "num_negative": 300,
        "num_positive_real": 40,
        "metrics": {key: metric(key, value) for key, value in metrics.items()} | {"F": MetricResult("F", 0.5)},
        "other_judge": {"name": "residual", "PF": pf + 0.02, "AUROC": pf + 0.06},
    }


def full_report() -> dict[str, Any]:
    """Every part once; the figures are made up."""
    attributes = [
        *(attribute("Pleural_Thickening", 0.52, 0.61), attribute("Nodule", 0.54, 0.63), attribute("Mass", 0.58, 0.7)),
        *(attribute("Effusion", 0.74, 0.82), attribute("Cardiomegaly", 0.7, 0.81), attribute("abnormal", 0.66, 0.71)),
        *(attribute("PA", 0.97, 0.98), attribute("male", 0.91, 0.95)),
    ]
    summary = {"macro_PF": 0.7, "macro_C": 0.78, "macro_NPF": 0.72, "macro_F": 0.5, "joint": 0.21, "joint_real": 0.3}
    summary |= {"macro_AUROC": 0.66, "macro_AUROC_real": 0.72, "macro_AUROC_baseline": 0.5}
    age = {"MAE": 8.31, "MAE_real": 7.12, "within_10": 0.7, "within_10_real": 0.77}
    recipe = {"num_inference_steps": 8, "guidance_scale": 1.5, "adapter_weight": 1.0, "scheduler": "UniPC"}
    names = {"flagged": 0.0014, "flagged_real": 0.0013, "authentic": 0.44}
    return {
        "format": 1,
        "title": "Evaluation of the embedded model with the LoRA clinical",
        "generated": {
            "num_images": 1474,
            "folder": "matched",
            "manifest_sha256": SHA256,
            "model": "embedded",
            "model_revision": f"sha256:{SHA256}",
            "adapter": "clinical",
            "adapter_sha256": SHA256,
            "settings": recipe,
        },
        "reference": {"num_images": 1474, "folder": "held-out", "manifest_sha256": SHA256, "num_patients": 406},
        "training": {"num_images": 5568, "folder": "training", "manifest_sha256": SHA256, "num_patients": 1602},
        "distances": [distances("small", 0.01), distances("residual", 1.0)],
        "sensitivity": [
            {"extractor": "small", "kind": "undamaged", "levels": [0], "kd": [0.005], "monotone": True},
            *({"extractor": "small", "kind": kind, "levels": [1, 2, 3, 4, 5], "kd": kd, "monotone": kind != "noise"}
            for kind, kd in (("blur", [0.01, 0.03, 0.1, 0.4, 1.2]), ("noise", [0.02, 0.015, 0.04, 0.1, 0.2]))),
        ],
        "diversity": {
            "rows": [
                {"name": name, "metrics": [metric("SSIM", 0.3), metric("MS-SSIM", value, num_pairs=400)]}
                for name, value in (("generated", 0.33), (POSING, 0.21))
            ],
            "wholes": [
                {"name": name, "metrics": [metric("Vendi score", 90, 4), metric("near-duplicates", value, 0.005)]}
                for name, value in (("generated", 0.02), (POSING, 0.01))
            ],
        },
        "detail": {
            "side": 256,
            "num_smaller": 3,
            "rows": [
                {"name": name, "metrics": [metric("contrast", 0.4, differs=differs), metric("spectrum distance", 1.5)]}
                for name, differs in (("generated", True), (POSING, False))
            ],
        },
        "groups": [{"kind": "sex", "name": "male", "metrics": {"KD": metric("KD", 0.02), "PF": metric("PF", 0.9)}}],
        "probes": {
            "denials": [{"name": "Effusion", "judge": "dense", "metrics": {"AUROC": metric("AUROC", 0.55)}}],
            "sides": [{"name": "Mass", "judge": "dense", "metrics": {"AUROC": metric("AUROC", 0.51)}}],
        },
        "readers": {
            "num_readers": 2,
            "told_apart": metric("told apart", 0.8),
            "rows": [
                {"name": name, "metrics": [metric("called generated", 0.7), metric("quality", 3.5)]}
                for name in ("generated", "real")
            ],
        },
        "fidelity": {
            "prompts_sha256": SHA256,
            "num_prompts": 2700,
            "num_images": 2700,
            "attributes": attributes,
            "judges": [{"name": name, "sha256": SHA256, "facts": {}} for name in ("dense", "residual")],
            "age": {"metrics": {key: metric(key, value) for key, value in age.items()}},
            "summary": {"metrics": {key: metric(key, value) for key, value in summary.items()}},
            "headline": "70.0 % agreement (67.0 to 73.0), worst attribute Pleural_Thickening at 52.0 %.",
        },
        "copies": {
            "num_training": 5568,
            "num_calibration": 700,
            "num_held_out": 774,
            "near_exact": 0,
            "spaces": [
                {"name": name, "threshold": 0.31, "median": 0.52, "median_real": 0.51, "smallest": 0.29}
                | {key: metric(key, value, 0.001) for key, value in names.items()}
                for name in ("small", "aligned pixels")
            ],
            "control": [
                {"kind": kind, "found": metric("found", value), "spaces": {"small": 0.4, "aligned pixels": value}}
                for kind, value in (("mirrored", 0.98), ("inverted", 0.97))
            ],
            "pairs": [[0.29 + k / 100, f"{k:06d}_{k}.png", f"0000{k}_000.png"] for k in range(20)],
        },
        "utility": {
            "rows": [
                {"arm": arm, "metrics": [metric("Effusion", value + 0.1), metric("macro AUROC", value)]}
                for arm, value in (("TRTR", 0.71), ("TSTR", 0.64), ("real + synthetic", 0.72))
            ],
            "num_seeds": 3,
            "num_images": 2700,
            "steps": 400,
        },
        "failures": {"num_attempted": 1474, "failed": metric("failed", 0.0, 0.6), "flat": metric("flat", 1.4, 0.5)},
        "sweep": {
            "parameter": "guidance_scale",
            "selected_by": "small",
            "points": [
                {"guidance_scale": scale, "num_inference_steps": steps, "adapter_weight": 1.0}
                | {"KD": 0.08 + scale / 50, "coverage": 0.75 - scale / 20, "AUROC": 0.6, "MS-SSIM": 0.3 + scale / 40}
                for scale, steps in ((1.0, 8), (1.5, 8), (2.0, 8), (4.0, 8), (7.5, 8), (1.5, 25))
            ],
        },
        "notes": ["Exploratory: fewer than 10,000 images of each kind."],
        "versions": {"cxr": "0.4.0", "torch": "2.13.0"},
    }  # fmt: skip


def small_report() -> dict[str, Any]:
    """As little as a report may hold."""
    report = full_report() | dict.fromkeys(NOTHING_MEASURED)
    report["generated"] = {"num_images": 40, "folder": "images", "manifest_sha256": SHA256}
    return report


def pictures() -> dict[str, Any]:
    noise = np.random.default_rng(0).integers(0, 256, (40, 60), np.uint8)
    return {"closest_pairs": noise, "examples": noise[::-1]}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The full report in a folder; read only."""
    folder = tmp_path_factory.mktemp("reports") / "new" / "report"
    write_report(full_report(), folder, pictures())
    return folder


def test_a_full_report_has_every_file_and_the_same_bytes_again(written: Path, tmp_path: Path) -> None:
    paths = write_report(full_report(), tmp_path, pictures())
    names = {"report.json", "report.md", "report.html", "pictures/closest_pairs.png", "pictures/examples.png"}
    assert {path.relative_to(tmp_path).as_posix() for path in paths} == names | {f"plots/{name}.svg" for name in PLOTS}
    assert content(tmp_path) == content(written)


def test_json_is_sorted_rounded_and_without_nan(written: Path) -> None:
    text = (written / "report.json").read_text(encoding="utf-8")
    assert text.endswith("}\n")
    assert "NaN" not in text
    report = json.loads(text)
    assert list(report) == sorted(report)
    assert report["distances"][0]["rows"][0]["metrics"][3]["value"] is None
    assert report["fidelity"]["attributes"][0]["metrics"]["NPF"]["value"] == 0.181818


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (math.inf, None),
        (np.float32(0.1), 0.1),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (1234567.0, 1234570.0),
        (np.array([[1.0, np.nan]]), [[1.0, None]]),
        (Path("a") / "b", "a/b"),
        (Interval(0.25, math.nan), [0.25, None]),
        (MetricResult("KD", math.nan), {**asdict(MetricResult("KD", 0.0)), "value": None, "low": None, "high": None}),
        ({"a": ({1: "x"},)}, {"a": [{"1": "x"}]}),
    ],
)
def test_to_plain(value: Any, plain: Any) -> None:
    found = to_plain(value)
    assert found == plain
    json.dumps(found, allow_nan=False)


def test_to_plain_refuses_what_json_cannot_say() -> None:
    with pytest.raises(TypeError, match="cannot hold a bytes"):
        to_plain({"a": b"x"})


@pytest.mark.parametrize(
    ("metric", "decimals", "text"),
    [
        (asdict(MetricResult("PF", 0.8349, 0.8, 0.8612)), 2, "0.83 [0.80, 0.86]"),
        (asdict(MetricResult("KD", 0.041239, 0.0398, 0.04255)), None, "0.0412 [0.0398, 0.0425]"),
        (asdict(MetricResult("KD", 1234.5)), None, "1,234"),
        (asdict(MetricResult("KD", -0.0000001, -0.0002, 0.0002)), None, "-0.0000001 [-0.0002000, 0.0002000]"),
        (1e-12, None, "1.00e-12"),
        (0.0, None, "0.00"),
        (asdict(MetricResult("KD", math.nan)), None, "–"),
        ({"value": None, "low": 0.1, "high": 0.2}, 2, "–"),
        (None, 2, "–"),
    ],
)
def test_figures_for_people(metric: Any, decimals: int | None, text: str) -> None:
    assert figure(metric, decimals) == text


def test_numbers_are_grouped() -> None:
    assert number(12345, 0) == "12,345"


def test_the_page_holds_everything_and_asks_for_nothing(written: Path) -> None:
    page = (written / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"""(src|href|url)\s*[=(]\s*["']?(https?:)?//""", page)
    assert "<script" not in page
    assert page.count("<svg") == len(PLOTS)
    assert page.count("data:image/png;base64,") == 2
    assert page.count("<img") == page.count(' alt="')
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids)), "ids of plots meet"
    targets = re.findall(r'href="#([^"]+)"', page) + re.findall(r"url\(#([^)]+)\)", page)
    assert targets
    assert set(targets) <= set(ids)


def test_markdown_links_only_to_files_that_are_there(written: Path) -> None:
    text = (written / "report.md").read_text(encoding="utf-8")
    links = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text)
    assert len(links) == len(PLOTS) + 2
    assert all((written / link).is_file() for link in links)
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert re.fullmatch(r"\|( ---:? \|)+", table.splitlines()[1]), table
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1, table


def test_a_damage_of_one_level_leaves_the_other_cells_empty(written: Path) -> None:
    assert "| undamaged | small | 0.00500 at 0 |  |  |  |  |  |" in (written / "report.md").read_text().splitlines()


@pytest.mark.parametrize("page", ["report.md", "report.html"])
def test_the_short_paragraph_tells_the_main_figures(written: Path, page: str) -> None:
    text = (written / page).read_text(encoding="utf-8")
    short = text[: text.index("What was measured")]
    assert "worst attribute Pleural Thickening" in short
    assert "KD is 0.0760 [0.0740, 0.0780] above that of real films to real films" in short
    assert "coverage is 0.71" in short
    assert "0.14 %, at most 0.24 % by “small” (real films: 0.13 %" in short
    assert "Near-exact copies: 0." in short
    assert text.count(SHA256[:12])
    assert SHA256 not in text


def test_what_judges_cannot_measure_has_no_figure_in_the_table(written: Path) -> None:
    for page in ("report.md", "report.html"):
        text = (written / page).read_text(encoding="utf-8")
        table = text[text.index("Real films, C") : text.index("Without a threshold")]
        assert table.index("Pleural Thickening") < table.index("Nodule") < table.index("PA")
        assert table.count("not measurable with these judges and films") == 4
        assert "0.52" not in table  # the PF of pleural thickening


def test_a_minimal_report_says_what_was_not_measured(tmp_path: Path) -> None:
    report = small_report()
    report["reasons"] = {"fidelity": "the images come without prompts."}
    paths = write_report(report, tmp_path)
    assert {path.name for path in paths if path.suffix == ".svg"} == {"kd.svg"}
    for page in ("report.md", "report.html"):
        text = (tmp_path / page).read_text(encoding="utf-8")
        assert text.count("Not measured: ") == len(NOTHING_MEASURED) - 1  # training images are no part of their own
        assert "Not measured: the images come without prompts." in text


def test_parts_may_be_empty_or_nan(tmp_path: Path) -> None:
    report = full_report() | {"distances": [], "sensitivity": [], "notes": [], "versions": {}}
    report["fidelity"] |= {"attributes": [], "age": None}
    for point in report["sweep"]["points"]:
        point["MS-SSIM"] = math.nan
    write_report(report, tmp_path)
    assert {path.stem for path in tmp_path.rglob("*.svg")} == {"sweep", "utility"}


def test_what_the_measures_return_can_be_shown_as_it_is(tmp_path: Path) -> None:
    report = small_report()
    facts = {
        "model": "embedded",
        "adapter": ["clinical", "none"],
        "guidance_scale": 1.5,
        "num_inference_steps": [8, 12],
    }
    report["generated"] |= facts
    report["sweep"] = full_report()["sweep"]
    report["utility"] = full_report()["utility"] | {
        "ratios": (metric("Effusion", 0.9, note="says nothing"),),
        "difference": metric("pre-training, macro AUROC", 0.04),
    }
    report["copies"] = full_report()["copies"] | {"pairs": ((0.123, "made.png", "known.png"),)}
    report["failures"] = measure_failures(np.zeros((4, 8, 8), np.uint8), ["a", "b", "c", "d"], 1)
    write_report(report, tmp_path)
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "| Model | embedded | – |" in text
    assert "| Inference steps | 8, 12 |  |" in text
    assert "0.90 [0.87, 0.93] | 700 |" in text
    assert "by 0.04 [0.01, 0.07]." in text
    assert "| made.png | known.png | 0.123 |" in text
    assert "| Failed | 200.0 [36.2, 624.5] | 5 |" in text
    assert "| Not a number | – | 4 |" in text
    assert json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["copies"]["pairs"][0][0] == 0.123


def test_what_was_compared_at_native_size_stands_beside_the_other_spaces(tmp_path: Path) -> None:
    report = full_report()
    part = report["copies"]
    write_report(report, tmp_path / "before")
    before = (tmp_path / "before" / "report.md").read_text(encoding="utf-8")
    assert "native size of those copies" not in before
    assert "| Generated | Training | Distance |" in before
    part["spaces"].append(part["spaces"][1] | {"name": NATIVE, "threshold": 1.25})
    part["native"] = "At their own size 4 of 6 images were compared."
    part["pairs_native"] = [0.4567, math.nan] + [1.3] * 18
    for row, share in zip(part["control"], (0.93, math.nan), strict=True):
        row["spaces"][NATIVE] = share
    write_report(report, tmp_path)
    for name in ("report.md", "report.html"):
        text = (tmp_path / name).read_text(encoding="utf-8")
        assert "At their own size 4 of 6 images were compared." in text
        assert "at native size of those copies alone that were compared there, where a copy of a film" in text
        assert text.count(NATIVE) >= 4  # flagged, the planted copies' column, the distances, and in short
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "| mirrored | 0.98 [0.95, 1.01] | 0.40 | 0.98 | 0.93 |" in text
    assert "| 0.40 | 0.97 | – |" in text
    assert "| 000000_0.png | 00000_000.png | 0.290 | 0.457 |" in text
    assert "| 000001_1.png | 00001_000.png | 0.300 | – |" in text


def test_reasons_are_told_by_part() -> None:
    reasons = {"copies": "no training images were named (--training).", "utility": "not asked for"}
    assert reason({"reasons": reasons}, "copies") == "no training images were named (--training)."
    assert reason({"reasons": reasons}, "utility") == "not asked for"
    assert reason({"reasons": None}, "sweep") == "ask for it with --sweep."
    assert reason({"notes": ["Diversity was not measured: words are for people"]}, "diversity") == (
        "what it needs was not provided."
    )


def test_names_from_outside_are_escaped(tmp_path: Path) -> None:
    report = copy.deepcopy(full_report())
    bad = '<script>alert("1")</script> | $x$ [y](http://z) `c`'
    report["title"] = report["generated"]["folder"] = report["fidelity"]["attributes"][0]["name"] = bad
    report["distances"][0]["extractor"]["name"] = report["notes"][0] = report["copies"]["spaces"][0]["name"] = bad
    write_report(report, tmp_path)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "<script" not in text
    assert "](http" not in text
    assert escape_markdown(bad) in text
    assert "\\|" in escape_markdown(bad)


@pytest.mark.parametrize(("name", "plain"), [("Pleural_Thickening", "Pleural_Thickening"), ("_x_", r"\_x\_")])
def test_underscores_are_escaped_only_where_they_mean_something(name: str, plain: str) -> None:
    assert escape_markdown(name) == plain


def test_pictures_are_written_as_given(tmp_path: Path) -> None:
    array = np.arange(12, dtype=np.uint8).reshape(3, 4)
    write_report(small_report(), tmp_path / "array", {"examples": array})
    png = (tmp_path / "array" / "pictures" / "examples.png").read_bytes()
    with Image.open(tmp_path / "array" / "pictures" / "examples.png") as picture:
        assert np.array_equal(np.asarray(picture), array)
    write_report(small_report(), tmp_path / "bytes", {"examples": png})
    assert (tmp_path / "bytes" / "pictures" / "examples.png").read_bytes() == png


@pytest.mark.parametrize(
    ("name", "picture", "message"),
    [
        ("../up", np.zeros((2, 2), np.uint8), "letters, digits"),
        ("examples", b"GIF89a", "is not a PNG"),
        ("examples", np.zeros((2, 2), np.float32), "float32"),
        ("examples", np.zeros((2, 2, 4), np.uint8), r"\[2, 2, 4\]"),
    ],
)
def test_pictures_that_cannot_be_used_are_refused(tmp_path: Path, name: str, picture: Any, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        write_report(small_report(), tmp_path / "report", {name: picture})
    assert not (tmp_path / "report").exists()


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot write"):
        write_report(small_report(), tmp_path / "file")
    (tmp_path / "folder" / "report.md").mkdir(parents=True)
    with pytest.raises(OutputError, match="cannot write"):
        write_report(small_report(), tmp_path / "folder")


def test_a_single_result_is_written_the_same_way(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "sweep.json"
    write_whole(path, to_json({"b": math.nan, "a": np.float32(0.5)}))
    assert path.read_bytes() == b'{\n  "a": 0.5,\n  "b": null\n}\n'


def metric_of(name: str, value: float, low: float, high: float, **settings: object) -> dict[str, Any]:
    return {"name": name, "value": value, "low": low, "high": high, "settings": settings}


def test_the_short_paragraph_tells_what_is_wrong_and_nothing_else() -> None:
    fine = metric_of("fine structure", -2.0, -3.0, -1.0, differs=True)
    detail = {"side": 128, "rows": [{"metrics": [fine, metric_of("contrast", 0, -1, 1)]}, {"metrics": []}]}
    assert detail_words(detail) == "At 128 pixels images and real films differ in fine structure."
    assert detail_words({"side": 128, "rows": [{"metrics": [metric_of("contrast", 0, -1, 1)]}]}) == ""
    assert failure_words({"flat": metric_of("flat", 1000.0, 900.0, 1000.0)}) == "100 % of the images are flat."
    assert failure_words({"flat": metric_of("flat", 0.0, 0.0, 10.0)}) == failure_words({}) == ""
    rows = [
        {"metrics": [metric_of("near-duplicates", value, low, high)]}
        for value, low, high in ((1, 0.96, 1), (0, 0, 0.04))
    ]
    words = "100 % of the images all but repeat another image (real films: 0 %)."
    assert repetition_words({"wholes": rows}) == words
    assert repetition_words({"wholes": rows[::-1]}) == ""


@pytest.mark.parametrize(("low", "says"), [(-0.1, True), (0.01, False)])
def test_a_difference_within_the_noise_is_said_to_be_none(low: float, says: bool) -> None:
    rows = [{"name": name, "metrics": [metric_of("KD - floor", 0.05, low, 0.1)]} for name in ("generated", POSING)]
    assert ("no difference that so many images show" in distance_words({"rows": rows})) is says
