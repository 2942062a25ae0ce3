"""The real download code against a local server that speaks the Hub's protocol, and all that can go wrong."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hub_fixtures import hub as hub
from hub_server import HubServer, Repo
from huggingface_hub import constants
from tiny_model import images_of

import cxr.models.hub.connection
import cxr.models.hub.fetch
import cxr.models.hub.listing
from cxr.generate.model import load_model
from cxr.lora.hub_file import download_adapter
from cxr.models.hub.download import download_model
from cxr.models.presets import find_preset
from cxr.request.errors import AdapterError, HubError, HubUnreachableError, ModelError
from cxr.request.generation_request import GenerationRequest

REPO = "someone/tiny"
UNET = "unet/diffusion_pytorch_model.safetensors"
REQUEST = GenerationRequest("normal chest x-ray", seed=3, num_inference_steps=2)


@pytest.fixture(name="repo")
def _repo(hub: HubServer, tiny_model_dir: Path) -> Repo:
    return hub.add_folder(REPO, tiny_model_dir)


@pytest.fixture(name="impatient")
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cxr.models.hub.connection, "STALL_S", 0.4)
    monkeypatch.setattr(cxr.models.hub.listing, "CONNECT_S", 0.3)


def go_offline(monkeypatch: pytest.MonkeyPatch, *, unreachable: bool = False) -> None:
    if unreachable:
        monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nothing listens there
    else:
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, "5.0 10.0 False HF_HUB_OFFLINE"),
        ({"HF_HUB_ETAG_TIMEOUT": "33", "HF_HUB_DOWNLOAD_TIMEOUT": "44"}, "33.0 44.0 False HF_HUB_OFFLINE"),
        ({"HF_HUB_OFFLINE": "1"}, "5.0 10.0 True HF_HUB_OFFLINE"),
        ({"TRANSFORMERS_OFFLINE": "1"}, "5.0 10.0 True TRANSFORMERS_OFFLINE"),
    ],
)
def test_what_is_set_for_the_hubs_library_is_obeyed(environment: dict[str, str], expected: str) -> None:
    code = (
        "from cxr.models.hub.connection import *; from cxr.models.hub.connection import is_offline, offline_variable;"
        "print(CONNECT_S, STALL_S, is_offline(), offline_variable())"
    )
    others = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))}
    said = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[1],
        env=others | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.strip() == expected


def image_of(model: str) -> bytes:
    (image,) = images_of(REQUEST, load_model(model, "none"))
    return image.pixels.tobytes()


def test_a_model_of_the_hub_makes_the_images_of_the_same_folder(repo: Repo, tiny_model_dir: Path) -> None:
    model = load_model(REPO, "none")
    assert (model.info.model, model.info.model_revision) == (REPO, f"hub:{REPO}@{repo.commit}")
    assert model.notes == (f"{REPO} is unpinned: its newest files were taken; the recipe names the commit.",)
    assert image_of(f"hub:{REPO}@{repo.commit}") == image_of(str(tiny_model_dir))


def test_only_files_that_cannot_carry_code_are_fetched(hub: HubServer, repo: Repo) -> None:
    unwanted = ["unet/diffusion_pytorch_model.bin", "pipeline.py", "unet/model.py", "v1-4.ckpt", "vae/model.pt"]
    unwanted += ["safety_checker/model.safetensors", "text_encoder/model.fp16.safetensors", "v1-4.safetensors"]
    unwanted += ["unet/diffusion_pytorch_model.non_ema.safetensors", "unet/../../x.json", "README.md"]
    repo.files |= dict.fromkeys(unwanted, b"unwanted")
    folder = download_model(find_preset(REPO)).path
    assert sorted(set(hub.downloads())) == sorted(hub.downloads()), "each file once"
    assert not set(hub.downloads()) & set(unwanted)
    assert {path.suffix for path in folder.rglob("*") if path.is_file()} == {".json", ".txt", ".safetensors"}


def test_a_pinned_model_is_taken_from_the_cache_without_asking(hub: HubServer, repo: Repo) -> None:
    pinned = find_preset(f"{REPO}@{repo.commit}")
    first = download_model(pinned)
    hub.requests.clear()
    assert download_model(pinned) == first
    assert not hub.requests
    assert not first.notes


def test_an_unpinned_model_follows_the_hub(hub: HubServer, repo: Repo) -> None:
    first = download_model(find_preset(REPO))
    hub.requests.clear()
    repo.files["vae/extra.json"] = b"{}"
    second = download_model(find_preset(REPO))
    assert second.revision != first.revision
    assert hub.downloads() == ["vae/extra.json"], "what has not changed is not fetched again"


@pytest.mark.parametrize("unreachable", [True, False])
def test_without_the_hub_the_cached_model_is_used(
    unreachable: bool, repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = download_model(find_preset(REPO))
    go_offline(monkeypatch, unreachable=unreachable)
    found = download_model(find_preset(REPO))
    assert (found.path, found.revision) == (before.path, before.revision)
    why = "The Hub cannot be reached" if unreachable else "The Hub may not be asked (HF_HUB_OFFLINE)"
    assert found.notes == (f"{why}; the copy of {REPO} on this machine is used.",)


@pytest.mark.parametrize("unreachable", [True, False])
@pytest.mark.parametrize("is_damaged", [False, True])
def test_without_the_hub_and_without_a_complete_copy_it_says_so_at_once(
    unreachable: bool, is_damaged: bool, repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    if is_damaged:
        (download_model(find_preset(REPO)).path / UNET).resolve().write_bytes(b"bad disk")
    go_offline(monkeypatch, unreachable=unreachable)
    began = time.monotonic()
    with pytest.raises(HubUnreachableError, match=f"{REPO}.*, and this machine holds no complete copy of it"):
        load_model(REPO, "none")
    assert time.monotonic() - began < 2


@pytest.mark.parametrize(
    ("path", "failure", "message"),
    [
        (UNET, "gated", f"{REPO} is gated: accept its terms on http.*/{REPO}, then log in with “hf auth login”"),
        (UNET, "forbidden", f"{REPO} is gated: accept its terms"),
        ("info", "gated", f"{REPO} is gated: accept its terms"),
        ("info", "unauthorized", f"{REPO} is not on the Hub, or private|does not let you read {REPO}; log in"),
        (UNET, "missing", f"{REPO}/{UNET} is not on the Hub; see"),
        (UNET, "damaged", f"{REPO}/{UNET} arrived damaged: its hash differs .* twice; it was removed again"),
        (UNET, "half", f"{REPO}/{UNET} arrived incomplete, twice; it was removed again"),
        ("unet/config.json", "damaged", r"unet/config\.json arrived damaged"),
    ],
)
def test_what_the_hub_does_wrong_is_said(path: str, failure: str, message: str, repo: Repo) -> None:
    repo.failures[path] = failure
    with pytest.raises(HubError, match=message) as caught:
        download_model(find_preset(REPO))
    assert not isinstance(caught.value, HubUnreachableError)
    assert "\n" not in str(caught.value)
    cache = Path(constants.HF_HUB_CACHE)
    assert not [entry for entry in cache.rglob("*") if entry.as_posix().endswith((".incomplete", path))]


@pytest.mark.parametrize("failure", ["damaged once", "half once"])
@pytest.mark.parametrize("path", [UNET, "model_index.json", "tokenizer/vocab.json"])
def test_a_file_that_arrived_badly_is_fetched_once_more(
    path: str, failure: str, hub: HubServer, repo: Repo, tiny_model_dir: Path
) -> None:
    repo.failures[path] = failure
    folder = download_model(find_preset(REPO)).path
    assert hub.downloads().count(path) == 2
    assert (folder / path).read_bytes() == (tiny_model_dir / path).read_bytes()


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("path", "failure", "message"),
    [
        (UNET, "slow", f"{REPO}/{UNET} stalled: no data for 0.4 s"),
        ("info", "mute", f"cannot be reached for {REPO}|{REPO} stalled"),
        ("info", "broken", f"cannot be reached for {REPO} .it answered 500"),
        (UNET, "broken", "cannot be reached|stalled"),
    ],
)
def test_nothing_hangs(path: str, failure: str, message: str, repo: Repo) -> None:
    repo.failures[path] = failure
    began = time.monotonic()
    with pytest.raises(HubUnreachableError, match=message):
        download_model(find_preset(REPO))
    assert time.monotonic() - began < 3


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("someone/nothing", "someone/nothing is not on the Hub, or private; check the name, or log in"),
        (f"{REPO}@v9", f"{REPO}@v9 has no such revision on the Hub"),
        (f"{REPO}@{'0' * 40}", "has no such revision on the Hub"),
    ],
)
def test_unknown_names_are_said(model: str, message: str, repo: Repo) -> None:
    with pytest.raises(HubError, match=message):
        load_model(model, "none")


@pytest.mark.parametrize("name", [UNET, "scheduler/scheduler_config.json", "model_index.json", "vae/config.json"])
def test_a_repository_that_lacks_a_file_is_refused(name: str, hub: HubServer, repo: Repo) -> None:
    del repo.files[name]
    with pytest.raises(HubError, match=name.split("/", maxsplit=1)[0]):
        load_model(REPO, "none")
    assert UNET not in hub.downloads()


def test_sizes_and_room_on_the_disk_are_checked_before_anything_is_fetched(
    hub: HubServer, repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cxr.models.hub.fetch, "SPARE_BYTES", 10**18)
    with pytest.raises(HubError, match=r"needs 0\.0 GB and .* GB are free; make room, or set HF_HOME"):
        download_model(find_preset(REPO))
    monkeypatch.setitem(cxr.models.hub.fetch.MAX_BYTES, ".safetensors", 1000)
    monkeypatch.setattr(cxr.models.hub.fetch, "SPARE_BYTES", 0)
    with pytest.raises(HubError, match=r"is refused: it is [\d,]+ bytes, at most 1,000 bytes are read"):
        download_model(find_preset(REPO))
    monkeypatch.setattr(cxr.models.hub.fetch, "MAX_TOTAL_BYTES", 10)
    monkeypatch.setitem(cxr.models.hub.fetch.MAX_BYTES, ".safetensors", 10**9)
    with pytest.raises(HubError, match=r"has [\d,]+ bytes, at most 10 are read"):
        download_model(find_preset(REPO))
    assert UNET not in hub.downloads()


def test_a_link_out_of_the_cache_is_refused(repo: Repo, tmp_path: Path) -> None:
    pinned = find_preset(f"{REPO}@{repo.commit}")
    path = download_model(pinned).path / UNET
    secret = tmp_path / path.resolve().name
    secret.write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(secret)
    with pytest.raises(HubError, match="not a regular file inside the cache"):
        download_model(pinned)
    assert secret.exists()


@pytest.mark.parametrize("change", [b'"_class_name": "FluxPipeline"', b'"_class_name": ["pipeline", "Mine"]'])
def test_a_pipeline_of_another_class_is_refused_before_its_weights_are_fetched(
    change: bytes, hub: HubServer, repo: Repo
) -> None:
    index = repo.files["model_index.json"]
    repo.files["model_index.json"] = index.replace(b'"_class_name": "StableDiffusionPipeline"', change)
    with pytest.raises(ModelError, match=r"this program runs StableDiffusionPipeline, "):
        load_model(REPO, "none")
    assert hub.downloads() == ["model_index.json"]


def test_a_token_goes_to_the_hub_and_nowhere_else(
    hub: HubServer, repo: Repo, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secretsecretsecret")
    repo.failures["vae/config.json"] = "gated"
    with pytest.raises(HubError) as caught:
        download_model(find_preset(REPO))
    del repo.failures["vae/config.json"]
    download_model(find_preset(REPO))
    assert hub.tokens[f"/{REPO}/resolve/main/vae/config.json"] == "Bearer hf_secretsecretsecret"
    assert {token for path, token in hub.tokens.items() if path.startswith("/cdn/")} == {None}
    assert "secret" not in str(caught.value) + "".join(capfd.readouterr())


@pytest.fixture(name="lora")
def _lora(hub: HubServer, tiny_lora_dir: Path) -> Repo:
    content = (tiny_lora_dir / "pytorch_lora_weights.safetensors").read_bytes()
    hub.repos["doc/loras"] = Repo({"cxr/lora_weights.safetensors": content, "cxr/bad.bin": b"x", "README.md": b"x"})
    return hub.repos["doc/loras"]


def test_a_lora_of_the_hub_is_fetched_and_kept(
    hub: HubServer, lora: Repo, monkeypatch: pytest.MonkeyPatch, tiny_model_dir: Path
) -> None:
    found = download_adapter("doc/loras/cxr/lora_weights.safetensors")
    assert found.parent.parent.name == lora.commit
    assert found.read_bytes() == lora.files["cxr/lora_weights.safetensors"]
    assert hub.downloads() == ["cxr/lora_weights.safetensors"]
    go_offline(monkeypatch)
    assert download_adapter(f"doc/loras@{lora.commit}/cxr/lora_weights.safetensors") == found
    assert download_adapter("doc/loras/cxr/lora_weights.safetensors") == found
    with pytest.raises(HubUnreachableError, match=r"cxr/other.safetensors is not on this machine"):
        download_adapter("doc/loras/cxr/other.safetensors")


def test_the_settings_beside_a_lora_of_the_hub_come_along(hub: HubServer, lora: Repo) -> None:
    lora.files |= {"adapter_config.json": b"{}", "cxr/adapter_config.json": b'{"r": 4, "init_lora_weights": "pissa"}'}
    found = download_adapter("doc/loras/cxr/lora_weights.safetensors")
    assert sorted(hub.downloads()) == ["cxr/adapter_config.json", "cxr/lora_weights.safetensors"]
    assert b"pissa" in (found.parent / "adapter_config.json").read_bytes()


def test_a_new_process_follows_the_variables_of_the_hub(hub: HubServer, lora: Repo, tmp_path: Path) -> None:
    code = "from cxr.lora.hub_file import download_adapter as d; d('doc/loras/cxr/lora_weights.safetensors')"
    variables = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "0"}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=kept | variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (path,) = (tmp_path / "home" / "hub").glob("models--doc--loras/snapshots/*/cxr/lora_weights.safetensors")
    assert path.read_bytes() == lora.files["cxr/lora_weights.safetensors"]


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ("doc/loras", AdapterError, "use hub:owner/name"),
        ("doc/loras/cxr/bad.bin", AdapterError, "use hub:owner/name"),
        ("doc/loras/../x.safetensors", AdapterError, "use hub:owner/name"),
        ("doc/loras/cxr/none.safetensors", HubError, "is not among the files"),
        ("doc/none/a.safetensors", HubError, "doc/none is not on the Hub"),
    ],
)
@pytest.mark.usefixtures("lora")
def test_a_lora_that_cannot_be_had(source: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        download_adapter(source)


def test_a_file_too_large_for_a_lora_is_not_fetched(
    hub: HubServer, lora: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cxr.lora.hub_file.MAX_ADAPTER_BYTES", 100)
    with pytest.raises(AdapterError, match="is not a LoRA"):
        download_adapter("doc/loras/cxr/lora_weights.safetensors")
    assert not hub.downloads()
