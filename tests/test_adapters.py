"""LoRA files from anywhere: described when good, refused before the model changes when not."""

import contextlib
from pathlib import Path

import pytest
import torch
from hostile_adapters import pair
from safetensors.torch import load_file, save_file

import cxr.lora.find
from cxr.generate.loaded_model import LoadedModel
from cxr.generate.model import load_model
from cxr.lora.find import describe_adapter, list_adapters
from cxr.lora.lora_file import read_lora_file
from cxr.request.errors import AdapterError

WEIGHTS = "pytorch_lora_weights.safetensors"


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
    monkeypatch.setattr(cxr.lora.find, "LORA_ROOT", tmp_path)
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
    model.load_adapter(())
    assert model.info == info
    assert _names_and_sums(model) == before
    assert model.pipeline.get_list_adapters() == {}


def test_a_refused_file_leaves_the_loaded_adapter_in_place(tmp_path: Path, tiny_model: LoadedModel) -> None:
    (tmp_path / "foreign.safetensors").write_bytes(pair([4, 64], [64, 4]))
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
