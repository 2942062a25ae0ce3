"""A Space of one's own: what is listed is what a Hub on this machine receives, and what it refuses is one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub import HfApi, close_session, constants
from local_space_hub import LocalHub, serve_hub
from sample_space import CARD, make_checkout

from cxr.commands.main import main
from cxr.deploy import space_plan as plan_module
from cxr.deploy.space_files import SpaceFiles, collect_files
from cxr.deploy.space_plan import describe_upload, plan_space, upload_mode
from cxr.deploy.upload import upload
from cxr.models.preset_table import PRESETS
from cxr.request.errors import CxrError, OutputError, RequestError

# huggingface_hub's way of sending a file without Xet, which httpx2 wants written differently.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload:DeprecationWarning")

NOBODY = HfApi(endpoint="http://127.0.0.1:9", token="none")


@pytest.fixture(name="files")
def _files(tmp_path: Path) -> SpaceFiles:
    return collect_files(make_checkout(tmp_path / "checkout"))


@pytest.fixture(name="hub")
def _hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalHub]:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # its library speaks to the real Hub only
    with serve_hub() as hub:
        yield hub
        close_session()


def api_of(hub: LocalHub) -> HfApi:
    return HfApi(endpoint=hub.address, token="hf_of_a_test")


# -- the plan


def test_the_list_is_what_the_operations_hold(files: SpaceFiles) -> None:
    plan = plan_space("me/space", NOBODY, files=files, hardware="t4-small", private=True, adapter="clinical")
    lines = list(describe_upload(plan))
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
        ({"repo_id": "me/sp ace"}, "is not a valid name of a Space"),
        ({"hardware": "h100"}, "hardware 'h100' is unknown; use cpu-basic"),
        ({"model": "unheard-of"}, "'unheard-of' is unknown"),
        ({"adapter": "other"}, "LoRA 'other' is not among the files"),
        ({"adapter": "local:/home/me/lora"}, "is not among the files"),
    ],
)
def test_what_a_space_cannot_be_is_told_first(values: dict[str, str], message: str, files: SpaceFiles) -> None:
    arguments: dict[str, Any] = {"repo_id": "me/space", "api": NOBODY, "files": files} | values
    with pytest.raises(CxrError, match=message):
        plan_space(**arguments)


def test_a_folder_of_this_machine_is_no_model_of_a_space(files: SpaceFiles, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="a folder of this machine"):
        plan_space("me/space", NOBODY, files=files, model=str(tmp_path))


def test_wrong_settings_stop_the_plan(files: SpaceFiles) -> None:
    (files.root / "README.md").write_text(CARD.replace("colorTo: blue", "colorTo: teal"))
    with pytest.raises(OutputError, match=r"README\.md is not the page of a Space: colorTo"):
        plan_space("me/space", NOBODY, files=files)


@pytest.fixture(name="far_model")
def _far_model(monkeypatch: pytest.MonkeyPatch) -> str:
    row = SimpleNamespace(name="far", folder=None, hub_id="owner/model", revision="c" * 40, gated="yes", unusable="")
    monkeypatch.setitem(PRESETS, "far", row)
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
    monkeypatch.setattr("cxr.deploy.upload.upload", lambda *_: pytest.fail("sent"))
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


def test_the_help_reads_well(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["deploy", "--help"])
    text = capsys.readouterr().out
    assert "--dry-run" in text
    assert "None" not in text
    assert all(len(line) <= 100 for line in text.splitlines())
