"""A Space of one's own: what is collected, checked, listed and, by a Hub on this machine, received."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import HfApi, SpaceCard, close_session, constants
from local_space_hub import LocalHub, serve_hub

from cxr.cli import main
from cxr.deploy import plan as plan_module
from cxr.deploy.card import check_card, gradio_floor, read_card, with_model
from cxr.deploy.files import MAX_REPORT_FILE_BYTES, SpaceFiles, collect_files
from cxr.deploy.hub import upload
from cxr.deploy.plan import describe_plan, plan_space, upload_mode
from cxr.deploy.preload import preload_line
from cxr.errors import CxrError, OutputError, RequestError
from cxr.presets import PRESETS, Preset

# huggingface_hub's way of sending a file without Xet, which httpx2 wants written differently.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload:DeprecationWarning")

ROOT = Path(__file__).parents[1]
CARD = """\
---
title: Test
emoji: 🫁
colorFrom: gray
colorTo: blue
sdk: gradio
sdk_version: 6.31.0
python_version: "3.12.12"
app_file: app.py
short_description: Clinical text in, images out
license: apache-2.0
pinned: false
---

# Test

The text, with trailing lines and ümlauts.


"""
NOBODY = HfApi(endpoint="http://127.0.0.1:9", token="none")


@pytest.fixture(name="checkout")
def _checkout(tmp_path: Path) -> Path:
    root = tmp_path / "checkout"
    for name, content in (
        ("app.py", b"pass\n"),
        ("requirements.txt", b"# for users\ngradio>=6.31,<7\ntorch>=2.8\n"),
        ("README.md", CARD.encode()),
        ("LICENSE", b"free"),
        ("cxr/__init__.py", b""),
        ("cxr/embedded/unet/model.safetensors", bytes(11_000_000)),
        ("cxr/__pycache__/a.pyc", b"cache"),
        ("lora_weights/clinical/config.json", b"{}"),
        ("lora_weights/clinical/report/report.html", b"small"),
        ("lora_weights/clinical/report/all.html", bytes(MAX_REPORT_FILE_BYTES + 1)),
        ("examples/.hidden", b"x"),
        ("tests/test_a.py", b"pass"),
        (".env", b"HF_TOKEN=x"),
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


@pytest.fixture(name="files")
def _files(checkout: Path) -> SpaceFiles:
    return collect_files(checkout)


@pytest.fixture(name="hub")
def _hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalHub]:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # its library speaks to the real Hub only
    with serve_hub() as hub:
        yield hub
        close_session()


def api_of(hub: LocalHub) -> HfApi:
    return HfApi(endpoint=hub.address, token="hf_of_a_test")


# -- files


def test_a_space_gets_the_program_and_nothing_else(files: SpaceFiles) -> None:
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
    card = read_card((ROOT / "README.md").read_text(encoding="utf-8"))
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
    monkeypatch.setattr("cxr.deploy.files.MAX_TOTAL_BYTES", 10_000_000)
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
    assert check_card(read_card(CARD), checkout) == []
    (found,) = check_card(read_card(CARD.replace(line, other)), checkout)
    assert problem in found


@pytest.mark.parametrize(
    ("text", "message"),
    [("# No settings\n", "no settings"), ("---\na: [b\n---\n", "not YAML"), ("---\n- a\n---\n", "YAML")],
)
def test_a_readme_without_settings_is_refused(text: str, message: str) -> None:
    with pytest.raises(OutputError, match=message):
        read_card(text)


@pytest.mark.parametrize(
    ("text", "floor"),
    [("gradio>=6.31,<7", "6.31"), ("torch\n gradio == 5.1 # x", "5.1"), ("gradio<7", "None"), ("", "None")],
)
def test_the_floor_of_gradio(text: str, floor: str) -> None:
    assert str(gradio_floor(text)) == floor


def test_a_model_of_the_hub_changes_the_settings_only() -> None:
    card = read_card(CARD)
    changed = str(with_model(card, "owner/model", "owner/model a.json 0123"))
    again = SpaceCard(changed)
    assert changed.partition("\n---\n")[2] == CARD.partition("\n---\n")[2]
    expected = read_card(CARD).data.to_dict() | {
        "models": ["owner/model"],
        "preload_from_hub": ["owner/model a.json 0123"],
    }
    assert again.data.to_dict() == expected
    assert str(card) == str(read_card(CARD)), "the first one is as it was"


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


# -- the plan


def test_the_list_is_what_the_operations_hold(files: SpaceFiles) -> None:
    plan = plan_space("me/space", NOBODY, files=files, hardware="t4-small", private=True, adapter="clinical")
    lines = list(describe_plan(plan))
    rows = [line.split() for line in lines[: len(plan.operations)]]
    assert [row[0] for row in rows] == [one.path_in_repo for one in plan.operations] == list(files.paths)
    assert [int(row[1].replace(",", "")) for row in rows] == [one.upload_info.size for one in plan.operations]
    assert [row[0] for row in rows if row[2] == "LFS"] == ["cxr/embedded/unet/model.safetensors"]
    text = "\n".join(lines)
    for part in ("Space me/space, private", "hardware: t4-small", "python_version: 3.12.12", "sdk: gradio"):
        assert part in text
    assert "variable CXR_MODEL=embedded" in text
    assert "variable CXR_ADAPTER=clinical" in text
    assert "files over 10 MB: 1" in text
    assert {upload_mode(one) for one in plan.operations} == {"LFS", "regular"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"repo_id": "space"}, "names no owner"),
        ({"repo_id": "me/sp ace"}, "is no name of a Space"),
        ({"hardware": "h100"}, "hardware 'h100' is unknown; use cpu-basic"),
        ({"model": "unheard-of"}, "'unheard-of' is unknown"),
        ({"adapter": "other"}, "LoRA 'other' is not among the files"),
        ({"adapter": "local:/home/me/lora"}, "is not among the files"),
    ],
)
def test_what_a_space_cannot_be_is_told_first(values: dict[str, str], message: str, files: SpaceFiles) -> None:
    with pytest.raises(CxrError, match=message):
        plan_space(**{"repo_id": "me/space", "api": NOBODY, "files": files} | values)


def test_a_folder_of_this_machine_is_no_model_of_a_space(files: SpaceFiles, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="a folder of this machine"):
        plan_space("me/space", NOBODY, files=files, model=str(tmp_path))


def test_wrong_settings_stop_the_plan(checkout: Path) -> None:
    (checkout / "README.md").write_text(CARD.replace("colorTo: blue", "colorTo: teal"))
    with pytest.raises(OutputError, match=r"README\.md is not the page of a Space: colorTo"):
        plan_space("me/space", NOBODY, files=collect_files(checkout))


class HubPreset(Preset):
    hub_id, revision, gated, unusable = "owner/model", "c" * 40, "yes", ""


@pytest.fixture(name="far_model")
def _far_model(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setitem(PRESETS, "far", HubPreset("far", PRESETS["embedded"].folder, 512, "mit", "none"))
    return "far"


def test_a_model_of_the_hub_is_preloaded(far_model: str, files: SpaceFiles, hub: LocalHub) -> None:
    hub.model_files = ["model_index.json", "unet/diffusion_pytorch_model.safetensors"]
    before = (files.root / "README.md").read_bytes()
    plan = plan_space("me/space", api_of(hub), files=files, model=far_model)
    assert plan.settings["models"] == ["owner/model"]
    assert plan.settings["preload_from_hub"] == [f"owner/model {','.join(hub.model_files)} {'c' * 40}"]
    assert plan.variables["CXR_MODEL"] == "far"
    assert any("owner/model is gated" in note for note in plan.notes)
    assert upload(plan, api_of(hub)).endswith("/spaces/me/space")
    assert b"preload_from_hub" in hub.commit["README.md"]
    assert (files.root / "README.md").read_bytes() == before


def test_without_an_answer_nothing_is_preloaded(far_model: str, files: SpaceFiles, hub: LocalHub) -> None:
    hub.refusals["/api/models"] = 403
    plan = plan_space("me/space", api_of(hub), files=files, model=far_model)
    assert "preload_from_hub" not in plan.settings
    assert any("not preloaded but downloaded when the Space first starts" in note for note in plan.notes)


# -- the upload


def test_the_hub_receives_exactly_the_plan(files: SpaceFiles, hub: LocalHub) -> None:
    plan = plan_space("me/space", api_of(hub), files=files, hardware="zero-a10g", private=True)
    assert upload(plan, api_of(hub)) == f"{hub.address}/spaces/me/space"
    assert hub.commit == {name: (files.root / name).read_bytes() for name in files.paths}
    assert [len(content) for content in hub.uploads.values()] == [11_000_000]
    create = hub.calls[0][2]
    assert (create["type"], create["sdk"], create["visibility"]) == ("space", "gradio", "private")
    variables = [told for _, path, told in hub.calls if path.endswith("/variables")]
    assert variables == [{"key": "CXR_MODEL", "value": "embedded"}, {"key": "CXR_ADAPTER", "value": "default"}]
    assert [path.split("/")[-2:] for path in hub.paths()].count(["commit", "main"]) == 1
    assert hub.calls[-1][1:] == ("/api/spaces/me/space/hardware", {"flavor": "zero-a10g"})


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/api/repos/create", 401, "401: it does not accept your token, or found none; sign in with: hf auth login"),
        ("/api/repos/create", 402, "your account's plan does not include this"),
        ("/api/repos/create", 403, "403: your token may not write there"),
        ("/api/spaces/me/space/preupload", 404, "404: there is no such repository"),
        ("/api/validate-yaml", 400, "the Hub does not accept README.md"),
        ("/api/spaces/me/space/commit", 500, "500: it failed; try again later"),
        ("/spaces/me/space.git/info/lfs", 403, "403: your token may not write there"),
        ("/store/", 403, "a file could not be uploaded: Error while uploading 'cxr/embedded"),
        ("/api/spaces/me/space/hardware", 403, "is uploaded, but without t4-small: the Hub answered 403"),
    ],
)
def test_refusals_are_one_sentence(path: str, status: int, message: str, files: SpaceFiles, hub: LocalHub) -> None:
    plan = plan_space("me/space", api_of(hub), files=files, hardware="t4-small")
    hub.refusals[path] = status
    with pytest.raises(OutputError, match=message) as caught:
        upload(plan, api_of(hub))
    assert "\n" not in str(caught.value)
    assert "hf_of_a_test" not in str(caught.value)


def test_a_hub_that_is_not_there_is_one_sentence(files: SpaceFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_space("me/space", NOBODY, files=files)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(OutputError, match="HF_HUB_OFFLINE is set"):
        upload(plan, NOBODY)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    close_session()
    with pytest.raises(OutputError, match="the Hub cannot be reached"):
        upload(plan, NOBODY)
    close_session()


def test_a_dry_run_sends_nothing(
    files: SpaceFiles, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(plan_module, "collect_files", lambda: files)
    monkeypatch.setattr("cxr.deploy.hub.upload", lambda *_: pytest.fail("sent"))
    assert main(["deploy", "me/space", "--dry-run", "--hardware", "cpu-basic"]) == 0
    out = capsys.readouterr().out
    assert out.endswith("dry run: nothing was sent\n")
    for name in files.paths:
        assert f"{name} " in out


def test_the_command_uploads_and_tells_the_address(
    files: SpaceFiles, hub: LocalHub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(plan_module, "collect_files", lambda: files)
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: api_of(hub))
    assert main(["deploy", "me/space"]) == 0
    assert capsys.readouterr().out.endswith(f"the Space is at {hub.address}/spaces/me/space\n")
    assert set(hub.commit) == set(files.paths)
    assert main(["deploy", "me"]) == 2
    assert "names no owner" in capsys.readouterr().err
