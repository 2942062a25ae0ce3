"""What a LoRA says about itself, in the terminal and on the page."""

import json
from pathlib import Path

import pytest
from hostile_adapters import LAYER, pair

from cxr.commands import main as cli
from cxr.lora.find import describe_adapter
from cxr.web.jobs.model_choice import ModelChoice
from cxr.web.page.blocks import describe_choice
from cxr.web.page.panels import draw_adapters as as_html

WEIGHTS = "pytorch_lora_weights.safetensors"


@pytest.mark.parametrize("action", [[], ["list"], ["show"], ["convert"]])
def test_help_reads_well(action: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["adapter", *action, "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith(" ".join(["usage: python -m cxr adapter", *action]))
    assert all(len(line) <= 100 for line in text.splitlines())


def test_the_card_is_shown_in_the_terminal(
    tiny_lora_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("cxr.lora.find.LORA_ROOT", tiny_lora_dir.parent)
    assert cli.main(["adapter", "show", "tiny_lora"]) == 0
    shown = capsys.readouterr().out
    for line in (
        "LoRA tiny_lora",
        "Rank: 4",
        "Alpha: 12",
        "Changes: unet, text_encoder",
        "Base model: tiny",
        "SHA-256: ",
    ):
        assert f"{line}" in shown
    (tmp_path / "a.safetensors").write_bytes(pair([4, 32], [32, 4]))
    assert cli.main(["adapter", "show", f"tiny_lora:0.5,local:{tmp_path}"]) == 0
    assert "Alpha: not in the file; the rank is used" in capsys.readouterr().out
    assert cli.main(["adapter", "list"]) == cli.main(["adapter"]) == cli.main(["adapters"]) == 0
    assert capsys.readouterr().out.count("tiny_lora: rank 4, alpha 12") == 3
    assert cli.main(["adapter", "show", "nobody"]) == 2
    assert "'nobody' is unknown" in capsys.readouterr().err


CARDS: dict[str, tuple[str, dict[str, str], str]] = {
    "yaml": ("---\nbase_model: sd\ndatasets: [nih, own]\nlicense: mit\n---\ntext", {}, "sd|mit|nih, own"),
    "metadata": ("", {"ss_sd_model_name": "sd15", "modelspec.license": "mit"}, "sd15|mit|unknown"),
    "long": (f"---\nbase_model: {'a' * 5_000}\n---\n", {}, "a" * 199 + "…|unknown|unknown"),
    "control characters": ("", {"ss_sd_model_name": "a\x1b[31m\nb"}, "a[31m b|unknown|unknown"),
    "aliases": ("---\na: &a [x, x]\nb: &b [*a, *a]\nlicense: mit\n---\n", {}, "unknown|unknown|unknown"),
    "python object": ("---\nbase_model: !!python/object/apply:os.system [ls]\n---\n", {}, "unknown|unknown|unknown"),
    "nested": ("---\nbase_model: " + "[" * 4_000 + "\n---\n", {}, "unknown|unknown|unknown"),
    "other types": ("---\nbase_model: {a: 1}\nlicense: 3\ndatasets: [1, x]\n---\n", {}, "unknown|unknown|x"),
    "no end": ("---\nbase_model: a\n", {}, "unknown|unknown|unknown"),
    "date that is none": ("---\nlicense: 2001-99-99\n---\n", {}, "unknown|unknown|unknown"),
}


@pytest.mark.parametrize("case", CARDS)
def test_facts_come_from_cards_and_metadata(case: str, tmp_path: Path) -> None:
    readme, metadata, expected = CARDS[case]
    (tmp_path / "a.safetensors").write_bytes(pair([4, 32], [32, 4], LAYER, ("lora_A", "lora_B"), **metadata))
    (tmp_path / "README.md").write_text(readme)
    info = describe_adapter(tmp_path / "a.safetensors")
    assert "|".join((info.base_model, info.license, info.training_data)) == expected


def test_the_page_escapes_the_card(tmp_path: Path) -> None:
    folder = tmp_path / "<img src=x>"
    folder.mkdir()
    (folder / WEIGHTS).write_bytes(pair([4, 32], [32, 4]))
    (folder / "config.json").write_text(json.dumps({"license": "<script>", "base_model": '"&', "training_data": "NIH"}))
    html = as_html([describe_adapter(folder)])
    for words in ("&lt;script&gt;", "&quot;&amp;", "&lt;img", "NIH", "no alpha in the file for unet", "rank 4"):
        assert words in html
    assert "<script" not in html
    assert "<img" not in html
    assert as_html([]) == ""


def test_the_page_shows_the_loaded_loras(tiny_model_dir: Path, tiny_lora_dir: Path, tmp_path: Path) -> None:
    def cards(*choice: str) -> str:
        return str(list(describe_choice(ModelChoice(*choice)))[-1][1])

    html = cards(str(tiny_model_dir), f"local:{tiny_lora_dir}")
    for words in ("LoRA tiny_lora", "rank 4 · alpha 12 · base tiny · licence CC0-1.0"):
        assert words in html
    assert cards(str(tiny_model_dir), "none") == ""
    assert cards(str(tmp_path / "nowhere")) == ""
