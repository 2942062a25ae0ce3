"""Pickled LoRAs: converted with equal tensors, or refused; never run."""

import collections
import io
import os
import pickle
import shlex
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from cxr.commands import main as cli
from cxr.lora.find import describe_adapter
from cxr.lora.from_pickle import convert_adapter
from cxr.lora.pickled_weights import main as read_checkpoint
from cxr.request.errors import AdapterError

NAME = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"


def lora() -> dict[str, Tensor]:
    noise = torch.Generator().manual_seed(0)
    matrices = {"down": torch.randn(4, 32, generator=noise), "up": torch.randn(32, 4, generator=noise)}
    return {f"{NAME}.lora.{end}.weight": matrix for end, matrix in matrices.items()}


def in_memory(value: object, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "options",
    [{}, {"_use_new_zipfile_serialization": False}],
    ids=["zip", "before 1.6"],
)
def test_what_torch_saved_comes_back_equal(options: dict[str, Any], tmp_path: Path) -> None:
    tensors, path, output = lora(), tmp_path / "a b.bin", tmp_path / "out.safetensors"
    path.write_bytes(in_memory(tensors, **options))
    file = convert_adapter(path, output)
    found = load_file(output)
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], value) for name, value in tensors.items())
    assert (file.num_tensors, file.layers[0].rank) == (2, 4)
    assert describe_adapter(output).notes == ("no alpha in the file for unet: the rank is used",)


def test_views_dtypes_and_parameters_come_back_equal(tmp_path: Path) -> None:
    whole = torch.arange(24.0).reshape(4, 6)
    tensors = {
        "turned": whole.T,
        "part": whole[1:3, ::2],
        "half": whole.half(),
        "brain": whole.bfloat16(),
        "double": whole.double(),
        "one": torch.tensor(4.0),
        "none": torch.zeros(0, 3),
        "expanded": torch.ones(1).expand(3, 2),
        "parameter": torch.nn.Parameter(whole),
    }
    path = tmp_path / "a.bin"
    torch.save(collections.OrderedDict(tensors), path)
    (tmp_path / "a.safetensors").write_bytes(read_checkpoint([str(path)]))
    found = load_file(tmp_path / "a.safetensors")
    assert found.keys() == tensors.keys()
    for name, value in tensors.items():
        assert found[name].dtype == value.dtype
        assert torch.equal(found[name], value.detach()), name


def test_the_weights_of_a_module_are_read(tmp_path: Path) -> None:
    torch.save({"state_dict": torch.nn.Linear(3, 2).state_dict()}, tmp_path / "a.pt")
    assert b'"bias"' in read_checkpoint([str(tmp_path / "a.pt")])


@pytest.mark.parametrize("protocol", [4, 5])
def test_a_protocol_that_torch_does_not_write_by_itself_is_refused(protocol: int, tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(in_memory(lora(), pickle_protocol=protocol))
    with pytest.raises(AdapterError, match=r"uses the pickle instruction 1\d\d, which saved tensors do not need"):
        read_checkpoint([str(tmp_path / "a.bin")])


class Call:
    """A pickle that calls something when it is loaded."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


def zipped(program: bytes, *more: tuple[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    """A checkpoint that PyTorch would read, so that the program is what it stumbles over."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in (("a/data.pkl", program), ("a/version", b"3\n"), ("a/byteorder", b"little"), *more):
            archive.writestr(name, content)
    return buffer.getvalue()


def program_of(value: object) -> bytes:
    """The pickle inside the ZIP that torch.save writes."""
    with zipfile.ZipFile(io.BytesIO(in_memory(value))) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("data.pkl")]
        return archive.read(name)


def tensor_program(
    *, kind: str = "FloatStorage", count: int = 4, offset: int = 0, size: int = 4, stride: int = 1
) -> bytes:
    """{"w": a tensor of one dimension}, in instructions as torch writes them."""

    def number(value: int) -> bytes:
        raw = value.to_bytes(12, "little", signed=True)
        return b"\x8a" + bytes([len(raw)]) + raw

    def text(value: str) -> bytes:
        return b"X" + len(value).to_bytes(4, "little") + value.encode()

    storage = b"(" + text("storage") + f"ctorch\n{kind}\n".encode() + text("0") + text("cpu") + number(count) + b"tQ"
    view = (
        number(offset) + number(size) + b"\x85" + number(stride) + b"\x85" + b"\x89" + b"ccollections\nOrderedDict\n)R"
    )
    return b"\x80\x02}" + text("w") + b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + view + b"tRs."


def with_numbers(program: bytes, num_bytes: int = 16) -> bytes:
    return zipped(program, ("a/data/0", bytes(num_bytes)))


def evil(canary: Path) -> dict[str, tuple[bytes, str]]:
    """Name -> (content of a .bin, what the refusal says); running any of them would make the canary."""
    touch = f"touch {canary}"
    calls = {
        "os.system": Call(os.system, touch),
        "exec": Call(exec, f"open({str(canary)!r}, 'w')"),
        "eval": Call(eval, f"open({str(canary)!r}, 'w')"),
        "open": Call(open, str(canary), "w"),
        "getattr": Call(getattr, Call(__import__, "os"), "system"),
        "partial": Call(__import__("functools").partial, os.system, touch),
        "mkdir": Call(os.mkdir, str(canary)),
    }
    files = {name: (pickle.dumps(call), "uses the pickle instruction") for name, call in calls.items()}
    files |= {f"{name} in a zip": (zipped(program_of(call)), "uses '") for name, call in calls.items()}
    files |= {
        f"{name} within": (in_memory({"a": torch.ones(1), "b": [call]}), "uses '") for name, call in calls.items()
    }
    system = f"(S'{touch}'\nios\nsystem\n.".encode()
    good = in_memory(lora())
    return files | {
        "INST": (zipped(system), "instruction"),
        "text GLOBAL of two levels": (zipped(b"\x80\x02ctorch._utils\n_rebuild_tensor.__globals__\n."), "uses '"),
        "STACK_GLOBAL": (zipped(b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x01x\x85R."), "instruction"),
        "STACK_GLOBAL of a tuple": (zipped(b"\x80\x04)\x8c\x06system\x93."), "instruction"),
        "EXT1": (zipped(b"\x80\x02\x82\x01."), "instruction 130"),
        "OBJ": (zipped(b"\x80\x02(ccollections\nOrderedDict\no."), "instruction 111"),
        "NEWOBJ": (zipped(b"\x80\x02ccollections\nOrderedDict\n)\x81."), "no dictionary"),
        "PERSID": (zipped(b"P0\n."), "instruction 80"),
        "storage by a call": (zipped(b"\x80\x02ctorch\nFloatStorage\n)R."), "is damaged"),
        "setting attributes": (zipped(b"\x80\x02ccollections\nOrderedDict\n}b."), "is damaged"),
        "a program behind the program": (zipped(b"}." + system), "no dictionary"),
        "endless memo": (zipped(b"\x80\x02" + b"}" * 1_600_000), "is damaged"),
        "nested": (zipped(b"\x80\x02" + b")" + b"\x85" * 300_000 + b"."), "no dictionary"),
        "billion laughs": (zipped(b"\x80\x02)q\x00" + b"h\x00h\x00\x86q\x00" * 64 + b"."), "no dictionary"),
        "dictionary in itself": (zipped(b"\x80\x02}q\x00X\x01\x00\x00\x00ah\x00s."), "something besides"),
        "keys that are no text": (zipped(b"\x80\x02}K\x01K\x02s."), "something besides"),
        "empty stack": (zipped(b"0."), "instruction 48"),
        "stack underflow": (zipped(b"\x85."), "is damaged"),
        "memo that is not there": (zipped(b"h\x09."), "is damaged"),
        "text longer than the file": (zipped(b"X\xff\xff\xff\x7fab."), "is damaged"),
        "no end": (zipped(b"}"), "is damaged"),
        "integers": (in_memory({"a": torch.ones(3, dtype=torch.int64)}), "floating-point"),
        "no tensors": (in_memory({"a": 1}), "something besides"),
        "a list": (in_memory([torch.ones(3)]), "no dictionary"),
        "whole module": (in_memory(torch.nn.Linear(2, 2)), "uses '"),
        "absurd size": (with_numbers(tensor_program(count=2**80, size=2**80)), "is damaged"),
        "expanded to a terabyte": (with_numbers(tensor_program(size=2**28, stride=0)), "holds more than"),
        "beyond its numbers": (with_numbers(tensor_program(offset=1)), "is damaged"),
        "stride beyond its numbers": (with_numbers(tensor_program(stride=2)), "is damaged"),
        "negative offset": (with_numbers(tensor_program(offset=-1)), "is damaged"),
        "storage shorter than it says": (with_numbers(tensor_program(), 8), "is damaged"),
        "storage that is not there": (zipped(tensor_program()), "is damaged"),
        "quantised storage": (with_numbers(tensor_program(kind="QInt8Storage")), "is damaged"),
        "zip bomb": (zipped(bytes(20 * 2**20), compression=zipfile.ZIP_DEFLATED), "compressed"),
        "compressed": (zipped(program_of(lora()), compression=zipfile.ZIP_DEFLATED), "compressed"),
        "two programs": (zipped(b"}.", ("b/data.pkl", b"}.")), "is damaged"),
        "zip without a program": (zipped(b"}.").replace(b"data.pkl", b"data.pkx"), "is damaged"),
        "cut zip": (good[:-100], "is damaged"),
        "changed numbers": (
            good.replace(lora()[f"{NAME}.lora.up.weight"].numpy().tobytes(), bytes(512)),
            "differ from their checksum",
        ),
        "empty": (b"", "is damaged"),
        "random": (bytes(range(255, 0, -1)), "instruction"),
        "safetensors by another name": (b"\x08\x00\x00\x00\x00\x00\x00\x00{}      ", "instruction"),
        "big endian": (in_memory(lora()).replace(b"little", b"big   "), "checksum"),
    }


def twice() -> bytes:
    with pytest.warns(UserWarning, match="Duplicate name"):
        return zipped(b"}.", ("a/data.pkl", pickle.dumps(Call(os.mkdir, "canary"))))


CASES = sorted(evil(Path("canary")))


@pytest.fixture(scope="module", name="evil_files")
def _evil_files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, tuple[bytes, str]]]:
    canary = tmp_path_factory.mktemp("canary") / "executed"
    return canary, evil(canary)


@pytest.mark.parametrize("case", CASES)
def test_evil_pickles_are_refused_and_never_run(
    case: str, evil_files: tuple[Path, dict[str, tuple[bytes, str]]], tmp_path: Path
) -> None:
    canary, files = evil_files
    content, message = files[case]
    (tmp_path / "evil.bin").write_bytes(content)
    # Here without the child's limits, so that a mistake of the reader itself shows.
    with pytest.raises(AdapterError, match=message) as caught:
        read_checkpoint([str(tmp_path / "evil.bin")])
    assert len(str(caught.value)) < 200
    assert "\n" not in str(caught.value)
    assert not canary.exists()


def test_running_such_a_pickle_would_show(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Call(os.mkdir, str(tmp_path / "executed"))))
    assert (tmp_path / "executed").exists()


def test_two_files_of_one_name_in_a_zip_are_refused(tmp_path: Path) -> None:
    (tmp_path / "evil.bin").write_bytes(twice())
    with pytest.raises(AdapterError, match="two of one name"):
        read_checkpoint([str(tmp_path / "evil.bin")])


@pytest.mark.parametrize(
    "case", ["os.system", *(pytest.param(name, marks=pytest.mark.slow) for name in ("zip bomb", "no tensors"))]
)
def test_a_refusal_comes_out_of_the_child_as_one_sentence(
    case: str, evil_files: tuple[Path, dict[str, tuple[bytes, str]]], tmp_path: Path
) -> None:
    canary, files = evil_files
    (tmp_path / "evil.bin").write_bytes(files[case][0])
    with pytest.raises(AdapterError, match=rf"^LoRA file 'evil\.bin' .*{files[case][1]}"):
        convert_adapter(tmp_path / "evil.bin", tmp_path / "out.safetensors")
    assert not canary.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["evil.bin"]


@pytest.mark.usefixtures("without_child")
def test_a_checkpoint_that_is_no_lora_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    torch.save({"unet.conv_in.weight": torch.ones(4, 4, 3, 3)}, tmp_path / "a.bin")
    with pytest.raises(AdapterError, match="not a LoRA matrix"):
        convert_adapter(tmp_path / "a.bin", tmp_path / "out.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]


@pytest.mark.usefixtures("without_child")
def test_the_settings_beside_a_pickle_come_along(tmp_path: Path) -> None:
    (tmp_path / "from").mkdir()
    (tmp_path / "from" / "adapter_config.json").write_text('{"r": 4, "lora_alpha": 16, "use_rslora": true}')
    torch.save(lora(), tmp_path / "from" / "adapter_model.bin")
    file = convert_adapter(tmp_path / "from" / "adapter_model.bin", tmp_path / "out.safetensors")
    assert [(layer.alpha, layer.use_rslora) for layer in file.layers] == [(16.0, True)]
    (tmp_path / "from" / "adapter_config.json").write_text('{"r": 4, "lora_alpha": 16, "init_lora_weights": "pissa"}')
    with pytest.raises(AdapterError, match="was trained from init_lora_weights 'pissa'"):
        convert_adapter(tmp_path / "from" / "adapter_model.bin", tmp_path / "other.safetensors")
    assert not (tmp_path / "other.safetensors").exists()


@pytest.mark.parametrize(
    ("name", "output", "message"),
    [
        ("a.safetensors", "b.safetensors", r"give a \.bin, \.pt"),
        ("a.bin", "b.bin", "does not exist yet"),
        ("a.bin", "there.safetensors", "does not exist yet"),
        ("gone.bin", "b.safetensors", "no such file"),
    ],
)
def test_wrong_names_are_told(name: str, output: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(in_memory(lora()))
    (tmp_path / "there.safetensors").touch()
    with pytest.raises(AdapterError, match=message):
        convert_adapter(tmp_path / name, tmp_path / output)


@pytest.mark.usefixtures("without_child")
def test_the_command_in_the_refusal_converts_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "my lora" / "pytorch_lora_weights.bin"
    path.parent.mkdir()
    path.write_bytes(in_memory(lora()))
    for source in (path, path.parent, f"local:{path}"):
        with pytest.raises(AdapterError, match="python -m cxr adapter convert") as caught:
            describe_adapter(source)
    command = shlex.split(str(caught.value).partition("python -m cxr ")[2])
    assert cli.main(command) == 0
    assert "2 tensors" in capsys.readouterr().out
    assert describe_adapter(path.parent).rank == 4
