"""A Space of one's own: which files it gets, and the settings at the head of its README."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from huggingface_hub import SpaceCard
from sample_space import CARD, make_checkout

from cxr.deploy.preload import preload_line
from cxr.deploy.space_card import check_card, gradio_floor, read_space_card, with_model
from cxr.deploy.space_files import collect_files
from cxr.request.errors import OutputError

ROOT = Path(__file__).parents[1]


@pytest.fixture(name="checkout")
def _checkout(tmp_path: Path) -> Path:
    return make_checkout(tmp_path / "checkout")


# -- files


def test_a_space_gets_the_program_and_nothing_else(checkout: Path) -> None:
    files = collect_files(checkout)
    assert files.paths == (
        *("LICENSE", "README.md", "app.py", "cxr/__init__.py", "cxr/embedded/unet/model.safetensors"),
        *("lora_weights/clinical/config.json", "lora_weights/clinical/report/report.html", "requirements.txt"),
    )
    assert [line.partition(":")[0] for line in files.left_out] == ["lora_weights/clinical/report/all.html"]


def test_in_a_checkout_git_decides(checkout: Path) -> None:
    git = ["git", "-C", str(checkout)]
    environment = os.environ | {"GIT_CONFIG_GLOBAL": os.devnull}
    subprocess.run([*git, "init", "-q"], check=True, env=environment)
    (checkout / "cxr" / "notes.txt").write_text("mine")
    subprocess.run([*git, "add", "app.py", "README.md", "requirements.txt", "cxr/__init__.py"], check=True)
    files = collect_files(checkout)
    assert files.paths == ("README.md", "app.py", "cxr/__init__.py", "requirements.txt")
    assert "cxr/notes.txt: git does not track it" in files.left_out


def test_this_checkout_can_be_uploaded() -> None:
    files = collect_files()
    card = read_space_card((ROOT / "README.md").read_text(encoding="utf-8"))
    assert check_card(card, ROOT) == []
    names = set(files.paths)
    assert {"app.py", "README.md", "requirements.txt", "cxr/embedded/unet/diffusion_pytorch_model.safetensors"} <= names
    assert "lora_weights/clinical/pytorch_lora_weights.safetensors" in names
    assert not [name for name in names if name.startswith(("tests/", ".")) or "__pycache__" in name]
    untracked = {path.split(":")[0] for path in files.left_out}
    assert {path.relative_to(ROOT).as_posix() for path in (ROOT / "cxr").rglob("*.py")} <= names | untracked


@pytest.mark.parametrize("name", ["app.py", "requirements.txt", "README.md"])
def test_a_missing_file_is_named(name: str, checkout: Path) -> None:
    (checkout / name).unlink()
    with pytest.raises(OutputError, match=f"{name} is missing in .* run this from a checkout"):
        collect_files(checkout)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "cxr/settings.py",
            b"TOKEN = 'hf_" + b"a" * 34 + b"'",
            "settings.py holds what looks like a Hugging Face token",
        ),
        ("examples/key.pem", b"x", "key.pem looks like a secret"),
    ],
)
def test_secrets_are_not_uploaded(name: str, content: bytes, message: str, checkout: Path) -> None:
    (checkout / "examples").mkdir(exist_ok=True)
    (checkout / name).write_bytes(content)
    with pytest.raises(OutputError, match=message) as caught:
        collect_files(checkout)
    assert "aaaa" not in str(caught.value)


def test_links_out_of_the_checkout_are_refused(checkout: Path, tmp_path: Path) -> None:
    (tmp_path / "outside.txt").write_text("private")
    (checkout / "examples" / "link.txt").symlink_to(tmp_path / "outside.txt")
    with pytest.raises(OutputError, match=r"examples/link\.txt is a link that leads out"):
        collect_files(checkout)


def test_too_much_is_refused(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cxr.deploy.space_files.MAX_TOTAL_BYTES", 10_000_000)
    with pytest.raises(OutputError, match="11 MB; a Space may have 10 MB"):
        collect_files(checkout)


# -- settings


@pytest.mark.parametrize(
    ("line", "other", "problem"),
    [
        ("title: Test\n", "", "title is missing"),
        ("colorTo: blue", "colorTo: teal", "colorTo is 'teal'; use red, yellow"),
        ("sdk: gradio", "sdk: docker", "sdk is 'docker'"),
        ("sdk_version: 6.31.0", "sdk_version: 6.30.0", "requirements.txt begins at gradio 6.31"),
        ("sdk_version: 6.31.0", "sdk_version: newest", "sdk_version is 'newest'"),
        ('"3.12.12"', '"3.10"', 'use "3.12.12"'),
        ("app_file: app.py", "app_file: main.py", "'main.py' does not exist"),
        ("Clinical text in, images out", "x" * 61, "longer than 60 characters"),
        ("pinned: false", "models: one/two", "models is not a list"),
        ("pinned: false", "preload_from_hub: [gpt2]", "not OWNER/NAME"),
        ("pinned: false", "suggested_hardware: zero-a10g", "suggested_hardware is 'zero-a10g'"),
    ],
)
def test_wrong_settings_are_named(line: str, other: str, problem: str, checkout: Path) -> None:
    assert check_card(read_space_card(CARD), checkout) == []
    (found,) = check_card(read_space_card(CARD.replace(line, other)), checkout)
    assert problem in found


@pytest.mark.parametrize(
    ("text", "message"),
    [("# No settings\n", "no settings"), ("---\na: [b\n---\n", "not YAML"), ("---\n- a\n---\n", "YAML")],
)
def test_a_readme_without_settings_is_refused(text: str, message: str) -> None:
    with pytest.raises(OutputError, match=message):
        read_space_card(text)


@pytest.mark.parametrize(
    ("text", "floor"),
    [("gradio>=6.31,<7", "6.31"), ("torch\n gradio == 5.1 # x", "5.1"), ("gradio<7", "None"), ("", "None")],
)
def test_the_floor_of_gradio(text: str, floor: str) -> None:
    assert str(gradio_floor(text)) == floor


def test_a_model_of_the_hub_changes_the_settings_only() -> None:
    card = read_space_card(CARD)
    changed = str(with_model(card, "owner/model", "owner/model a.json 0123"))
    again = SpaceCard(changed)
    assert changed.partition("\n---\n")[2] == CARD.partition("\n---\n")[2]
    expected = read_space_card(CARD).data.to_dict() | {
        "models": ["owner/model"],
        "preload_from_hub": ["owner/model a.json 0123"],
    }
    assert again.data.to_dict() == expected
    assert str(card) == str(read_space_card(CARD)), "the first one is as it was"


def test_preloading_takes_each_weight_once() -> None:
    parts = ("unet/diffusion_pytorch_model", "vae/diffusion_pytorch_model", "text_encoder/model")
    whole = [f"{part}.safetensors" for part in parts]
    half = [f"{part}.fp16.safetensors" for part in parts]
    other = ["v1-5.ckpt", "unet/diffusion_pytorch_model.bin", "unet/diffusion_pytorch_model.non_ema.safetensors"]
    settings = ["model_index.json", "tokenizer/merges.txt", "unet/config.json"]
    names = [*whole, *half, *other, *settings, "README.md", "onnx/unet/model.safetensors"]
    on_gpu, on_cpu = (preload_line("a/b", "c" * 40, names, half_precision=is_gpu).split() for is_gpu in (True, False))
    assert on_gpu == ["a/b", ",".join(sorted(half + settings)), "c" * 40]
    assert on_cpu == ["a/b", ",".join(sorted(whole + settings)), "c" * 40]
    names.remove(half[0])
    assert preload_line("a/b", None, names, half_precision=True).split() == on_cpu[:2]


def test_preloading_takes_all_pieces_of_a_large_weight() -> None:
    index = "transformer/diffusion_pytorch_model.safetensors.index.json"
    pieces = [f"transformer/diffusion_pytorch_model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    names = ["model_index.json", index, *pieces, "transformer/other.safetensors"]
    assert preload_line("a/b", None, names, half_precision=True) == f"a/b {','.join(sorted(names[:-1]))}"
