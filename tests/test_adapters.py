"""LoRA files from anywhere: described when good, refused before the model changes when not."""

import contextlib
import json
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import cxr.adapters
from cxr.adapters import describe_adapter, list_adapters
from cxr.errors import AdapterError
from cxr.lora_file import read_lora_file
from cxr.models import LoadedModel, load_model

WEIGHTS = "pytorch_lora_weights.safetensors"


class _Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, ("executed",))


def _safetensors(header: bytes, body: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header)) + header + body


def _header(tensors: dict[str, Any], body: bytes = b"") -> bytes:
    return _safetensors(json.dumps(tensors).encode(), body)


def _pair(shape_a: list[int], shape_b: list[int], **settings: Any) -> bytes:
    """A well-formed file with one layer of the UNet."""
    name = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
    size_a, size_b = shape_a[0] * shape_a[1] * 4, shape_b[0] * shape_b[1] * 4
    tensors: dict[str, Any] = {
        f"{name}.lora_A.weight": {"dtype": "F32", "shape": shape_a, "data_offsets": [0, size_a]},
        f"{name}.lora_B.weight": {"dtype": "F32", "shape": shape_b, "data_offsets": [size_a, size_a + size_b]},
    }
    if settings:
        tensors["__metadata__"] = {"lora_adapter_metadata": json.dumps({f"unet.{k}": v for k, v in settings.items()})}
    return _header(tensors, bytes(size_a + size_b))


def _many(count: int) -> bytes:
    entry = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    return _header({f"u{index}.lora_A": entry for index in range(count)})


# name -> (content, what the message says)
HOSTILE: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "cut off"),
    "seven bytes": (b"\x01" * 7, "cut off"),
    "random bytes": (bytes(range(7, 256)) * 9, "cut off"),
    "pickle": (pickle.dumps(_Bomb()), "cut off"),
    "no tensors": (_header({}), "no tensors"),
    "not json": (_safetensors(b"{]"), "header"),
    "header is a list": (_safetensors(b"[1]"), "header"),
    "deep header": (_safetensors(b"[" * 100_000), "header"),
    "not utf-8": (_safetensors(b'{"\xff\xfe"'), "header"),
    "huge header": (_safetensors(b" " * (3 * 2**20) + b"{}"), "header has 3,145,730 bytes"),
    "header longer than the file": (struct.pack("<Q", 2**63) + b"{}", "cut off"),
    "100,000 tensors": (_many(100_000), "header has"),
    "21,000 tensors": (_many(21_000), "tensors; at most 20,000"),
    "foreign keys": (_header({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, bytes(4)), "not a LoRA"),
    "integers": (_header({"a.lora_A": {"dtype": "I64", "shape": [1], "data_offsets": [0, 8]}}, bytes(8)), "header"),
    "negative shape": (_header({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, bytes(4)), "header"),
    "length of another shape": (
        _header({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 4]}}, bytes(4)),
        "header",
    ),
    "gap": (_header({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, bytes(8)), "gaps"),
    "bytes at the end": (_pair([4, 32], [32, 4]) + b"tail", "download it again"),
    "rank 300": (_pair([300, 32], [32, 300]), "rank from 1 to 256"),
    "rank 0": (_pair([0, 32], [32, 0]), "rank from 1"),
    "unequal ranks": (_pair([4, 32], [32, 5]), "rank from 1"),
    "dora": (_pair([4, 32], [32, 4], use_dora=True), "use_dora"),
    "rank-stabilised": (_pair([4, 32], [32, 4], use_rslora=True), "use_rslora"),
    "alpha NaN": (_pair([4, 32], [32, 4], lora_alpha=float("nan")), "lora_alpha"),
    "alpha is a list": (_pair([4, 32], [32, 4], lora_alpha=[1]), "settings cannot be read"),
    "layer that is not there": (_pair([4, 32], [32, 4]).replace(b"mid_block", b"mid_blook"), "for another model"),
    "other model's sizes": (_pair([4, 64], [64, 4]), "for another model"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_files_are_refused_and_the_model_is_unchanged(
    kind: str, tmp_path: Path, tiny_base_model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    content, message = HOSTILE[kind]
    path = tmp_path / "hostile.safetensors"
    path.write_bytes(content)
    before = _names_and_sums(tiny_base_model)
    with pytest.raises(AdapterError, match=message) as caught:
        tiny_base_model.load_adapter(path)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) not in str(caught.value)
    assert _names_and_sums(tiny_base_model) == before
    assert tiny_base_model.info.adapter == "none"
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_nan_and_infinity_are_found_in_every_dtype(
    dtype: torch.dtype, value: float, tmp_path: Path, tiny_lora_dir: Path
) -> None:
    tensors = {key: tensor.to(dtype) for key, tensor in load_file(tiny_lora_dir / WEIGHTS).items()}
    save_file(tensors, tmp_path / "good.safetensors")
    assert describe_adapter(tmp_path / "good.safetensors").rank == 4
    list(tensors.values())[-1].view(-1)[-1] = value
    save_file(tensors, tmp_path / "bad.safetensors")
    with pytest.raises(AdapterError, match="NaN or infinite"):
        describe_adapter(tmp_path / "bad.safetensors")


@pytest.mark.parametrize("cut", [1, 8, 100, 5_000, 40_000])
def test_truncated_files_are_refused(cut: int, tmp_path: Path, tiny_lora_dir: Path) -> None:
    path = tmp_path / "cut.safetensors"
    path.write_bytes((tiny_lora_dir / WEIGHTS).read_bytes()[:-cut])
    with pytest.raises(AdapterError, match="cannot be used"):
        describe_adapter(path)


def test_flipped_bytes_are_refused_or_harmless(tmp_path: Path, tiny_lora_dir: Path) -> None:
    good = (tiny_lora_dir / WEIGHTS).read_bytes()
    path = tmp_path / "flipped.safetensors"
    places = torch.randint(0, 9_000, (150,), generator=torch.Generator().manual_seed(0)).tolist()
    for place in places:
        path.write_bytes(good[:place] + bytes([good[place] ^ 0x55]) + good[place + 1 :])
        with contextlib.suppress(AdapterError):
            assert read_lora_file(path).num_tensors == 72


@pytest.mark.parametrize("suffix", [".bin", ".ckpt", ".pt", ".pth", ".pkl", ""])
def test_formats_that_can_run_code_are_not_even_opened(suffix: str, tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match=r"not \.safetensors"):
        describe_adapter(tmp_path / f"missing{suffix}")


def _device(folder: Path) -> None:
    (folder / WEIGHTS).symlink_to("/dev/zero")


def _pipe(folder: Path) -> None:
    os.mkfifo(folder / WEIGHTS)


def _folder(folder: Path) -> None:
    (folder / WEIGHTS).mkdir()


def _dangling(folder: Path) -> None:
    (folder / WEIGHTS).symlink_to(folder / "nowhere.safetensors")


@pytest.mark.parametrize("make", [_device, _pipe, _folder, _dangling])
def test_only_regular_files_are_read(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path)
    with pytest.raises(AdapterError):
        describe_adapter(tmp_path / WEIGHTS)


def test_a_sparse_file_beyond_the_limit_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large.safetensors"
    with path.open("wb") as file:
        file.truncate(600 * 2**20)
    with pytest.raises(AdapterError, match="at most 536,870,912"):
        describe_adapter(path)


def test_a_good_file_is_described(tiny_lora_dir: Path) -> None:
    info = describe_adapter(f"local:{tiny_lora_dir}")
    assert (info.name, info.rank, info.lora_alpha) == ("tiny_lora", 4, 12.0)
    assert (info.base_model, info.license, info.notes) == ("tiny", "CC0-1.0", ())
    assert len(info.sha256) == 64
    assert info.num_tensors == 72


def test_a_missing_alpha_is_said(tmp_path: Path, tiny_lora_dir: Path) -> None:
    save_file(load_file(tiny_lora_dir / WEIGHTS), tmp_path / "plain.safetensors")
    info = describe_adapter(tmp_path / "plain.safetensors")
    assert info.lora_alpha == info.rank == 4
    assert "no alpha in the file for unet and text_encoder" in info.notes[0]


def test_adapters_are_found_by_name_and_broken_ones_are_left_out(
    tmp_path: Path, tiny_lora_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cxr.adapters, "LORA_ROOT", tmp_path)
    assert list_adapters() == ()
    (tmp_path / "clinical").symlink_to(tiny_lora_dir)
    (tmp_path / "single.safetensors").write_bytes((tiny_lora_dir / WEIGHTS).read_bytes())
    (tmp_path / "broken.safetensors").write_bytes(b"junk")
    assert [info.path.parent.name for info in list_adapters()] == ["clinical", tmp_path.name]
    assert describe_adapter("single").name == "single"
    with pytest.raises(AdapterError, match="cut off"):
        describe_adapter("broken")
    with pytest.raises(AdapterError, match="use none, broken, clinical, single or local:PATH"):
        describe_adapter("../clinical")


def test_a_folder_needs_exactly_one_file(tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match=r"holds 0 \.safetensors files"):
        describe_adapter(tmp_path)


def test_load_and_unload_leave_no_trace(tiny_model_dir: Path, tiny_lora_dir: Path) -> None:
    model = load_model(str(tiny_model_dir), "none")
    before, info = _names_and_sums(model), model.info
    model.load_adapter(tiny_lora_dir)
    assert model.adapter is not None
    assert _names_and_sums(model) != before
    model.set_adapter_weight(0.5)
    model.unload_adapter()
    assert model.info == info
    assert _names_and_sums(model) == before
    assert model.pipeline.get_list_adapters() == {}


def test_a_refused_file_leaves_the_loaded_adapter_in_place(tmp_path: Path, tiny_model: LoadedModel) -> None:
    (tmp_path / "foreign.safetensors").write_bytes(_pair([4, 64], [64, 4]))
    before, adapter = _names_and_sums(tiny_model), tiny_model.adapter
    with pytest.raises(AdapterError, match="for another model"):
        tiny_model.load_adapter(tmp_path / "foreign.safetensors")
    assert tiny_model.adapter is adapter is not None
    assert _names_and_sums(tiny_model) == before


def _names_and_sums(model: LoadedModel) -> dict[str, float]:
    parts = {"unet": model.pipeline.unet, "text_encoder": model.pipeline.text_encoder}
    return {
        f"{part}.{name}": value.double().sum().item()
        for part, network in parts.items()
        for name, value in network.state_dict().items()
    }
