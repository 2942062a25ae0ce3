"""The command line, from arguments to files, exit code and the one line that a wrong input gets."""

from __future__ import annotations

import errno
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from sample_images import content

from cxr.commands import main as cli
from cxr.folders.image_folder import ImageFolder
from cxr.generate.loaded_model import LoadedModel
from cxr.generate.prompt_table import read_prompt_table
from cxr.images.png import read_recipe
from cxr.request.errors import RequestError
from cxr.request.events import ExportedFile, GeneratedImage

ROOT = Path(__file__).parent.parent
FAST = ("--steps", "2", "--guidance-scale", "1")
SETTINGS = {"seed": 7, "num_images": 1}


@pytest.fixture
def generate(
    tiny_model: LoadedModel, tiny_model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., int]:
    """``python -m cxr generate`` with the tiny model, into ``tmp_path / "out"``."""
    monkeypatch.setattr("cxr.generate.into_folder.get_model", lambda model, adapter: tiny_model)

    def run(*arguments: str) -> int:
        return cli.main(
            ["generate", *FAST, "--model", str(tiny_model_dir), "--output", str(tmp_path / "out"), *arguments]
        )

    return run


def rows(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / "metadata.jsonl").read_text("utf-8").split("\n") if line]


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


# --- Making images


def test_prompt_to_folder(generate: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert generate("normal chest x-ray", "--count", "3", "--seed", "7", "--adapter-weight", "0.5") == 0
    out = tmp_path / "out"
    assert names(out) == ["000000_7.png", "000001_8.png", "000002_9.png", "metadata.jsonl"]
    for row in rows(out):
        assert next(iter(row)) == "file_name"
        assert (row["prompt"], row["adapter_weight"], row["num_inference_steps"]) == ("normal chest x-ray", 0.5, 2)
        assert read_recipe(out / row["file_name"]).seed == row["seed"]
    captured = capsys.readouterr()
    assert re.fullmatch(r"3 of 3 images in \S+out, 3 new, [\d.]+ s\n", captured.out)
    assert captured.err == ""


def test_second_run_continues(generate: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert generate("normal", "--count", "4") == 0
    whole = content(out)
    (out / "000002_2.png").unlink()
    (out / "000000_0.png").write_bytes(b"half")
    assert generate("normal", "--count", "3") == 0
    assert "3 of 3 images" in capsys.readouterr().out
    assert generate("normal", "--count", "4") == 0
    assert "4 of 4 images" in capsys.readouterr().out
    assert content(out) == whole
    assert generate("normal", "--count", "4") == 0
    assert "4 of 4 images in" in (line := capsys.readouterr().out)
    assert ", 0 new," in line
    assert content(out) == whole


def test_another_prompt_does_not_go_into_the_same_folder(
    generate: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert generate("normal") == 0
    capsys.readouterr()
    before = content(tmp_path / "out")
    assert generate("pneumonia") == 2
    assert one_line(capsys).endswith(
        "was made with another prompt; repeat that request to continue it, or choose an empty folder"
    )
    assert content(tmp_path / "out") == before


def test_list_of_prompts(generate: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "prompts.csv"
    table.write_bytes(
        "\ufeffid, Prompt ,seed,count,negative_prompt\r\n"
        'a,"normal, ""PA""\nview",,2,\r\n'
        "\r\n"
        "b,pneumonia,100,2,mass\r\n"
        "c,=cmd()\r\n".encode()
    )
    assert (
        generate("--prompts", str(table), "--seed", "7", "--negative-prompt", "lateral", "--guidance-scale", "2") == 0
    )
    assert names(tmp_path / "out")[:-1] == [
        "000000_7.png", "000001_8.png", "000002_100.png", "000003_101.png", "000004_11.png"
    ]  # fmt: skip
    assert [(row["prompt"], row["negative_prompt"]) for row in rows(tmp_path / "out")] == [
        ('normal, "PA"\nview', "lateral"),
        ('normal, "PA"\nview', "lateral"),
        ("pneumonia", "mass"),
        ("pneumonia", "mass"),
        ("=cmd()", "lateral"),
    ]
    error = capsys.readouterr().err.splitlines()
    assert error[0] == "note: columns that are not used: id"
    assert error[1] == "note on row 5, prompt: This model was not trained with: “cmd”. It may ignore them."
    assert len(error) == 2


def test_unknown_words_and_a_cut_prompt_are_said(
    generate: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        generate("normal Qwxyz " + "chest " * 80 + "pneumonia", "--negative-prompt", "Vbnmk", "--guidance-scale", "2")
        == 0
    )
    error = capsys.readouterr().err
    assert "not trained with: “Qwxyz”" in error
    assert "left out: “chest" in error
    assert "note on negative prompt: This model was not trained with: “Vbnmk”" in error
    assert "no effect" not in error


@pytest.mark.parametrize(
    ("scale", "stop", "said"),
    [
        ("1", "1", "It has no effect, as guidance is off"),
        ("2", "0", "It has no effect, as guidance is off"),
        ("2", "0.15", "It changes little while guidance_stop (“Guided”) is below 0.5."),
        ("2", "0.5", ""),
    ],
)
def test_a_negative_prompt_that_little_is_guided_away_from_is_said(
    generate: Callable[..., int], capsys: pytest.CaptureFixture[str], scale: str, stop: str, said: str
) -> None:
    options = ("--negative-prompt", "effusion", "--guidance-scale", scale, "--guidance-stop", stop)
    assert generate("pneumonia", *options) == 0
    notes = re.findall("note on negative prompt: (.*)", capsys.readouterr().err)
    assert [note[: len(said)] for note in notes if "guidance" in note] == [said] * bool(said)


def test_failed_images_are_told_and_the_rest_is_kept(
    generate: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = itertools.count()
    with monkeypatch.context() as patch:
        patch.setattr("cxr.generate.micro_batches.is_flat", lambda pixels: next(asked) % 3 == 1)
        assert generate("normal", "--count", "4") == 1
    captured = capsys.readouterr()
    assert captured.err == "image 1 with seed 1 failed: the picture is empty (one even grey); " + (
        "try another seed or a lower guidance_scale\n"
    )
    assert captured.out.endswith(" s, 1 failed\n")
    assert names(tmp_path / "out") == ["000000_0.png", "000002_2.png", "000003_3.png", "metadata.jsonl"]
    assert generate("normal", "--count", "4") == 0
    assert [row["seed"] for row in rows(tmp_path / "out")] == [0, 1, 2, 3]


# --- Accidents


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stop_keeps_finished_images(
    number: signal.Signals,
    generate: Callable[..., int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    real = ImageFolder.write

    def write_then_signal(self: ImageFolder, image: GeneratedImage) -> ExportedFile:
        if image.index == 1:
            os.kill(os.getpid(), number)
        return real(self, image)

    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch:
        patch.setattr(ImageFolder, "write", write_then_signal)
        assert generate("normal", "--count", "20") == 128 + number
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers
    said = capsys.readouterr().out
    kept = len(rows(tmp_path / "out"))
    assert said.startswith(f"stopped: {kept} of 20 images")
    assert 2 <= kept < 20  # images are made while others are written: a busy machine is ahead by some
    assert names(tmp_path / "out") == [*(f"{k:06d}_{k}.png" for k in range(kept)), "metadata.jsonl"]
    assert generate("normal", "--count", "20") == 0
    assert len(rows(tmp_path / "out")) == 20


def test_full_disk(
    generate: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = os.fsync

    def full(descriptor: int) -> None:
        if (tmp_path / "out" / "000001_1.png").exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        assert generate("normal", "--count", "4") == 2
    assert "no space left on device; free some space" in one_line(capsys)
    assert generate("normal", "--count", "4") == 0
    assert len(rows(tmp_path / "out")) == 4


def test_place_that_cannot_be_written(
    generate: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert generate("normal", "--output", str(tmp_path / "file")) == 2
    assert "cannot write" in one_line(capsys)
    assert generate("normal", "--output", str(tmp_path / "file" / "below")) == 2
    assert "not a directory" in one_line(capsys)

    def refuse(*arguments: Any, **options: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", refuse)
        assert generate("normal") == 2
    assert "read-only file system; choose a folder" in one_line(capsys)
    # Missing parents are no mistake.
    assert generate("normal", "--output", str(tmp_path / "a" / "b")) == 0


# --- Wrong input: one line and exit code 2


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert len(lines) == 1, captured.err
    assert "Traceback" not in lines[0]
    assert lines[0].startswith("error: ")
    return lines[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([""], "PROMPT is empty; describe the image"),
        (["  \n"], "PROMPT is empty"),
        (["x" * 2001], "PROMPT has 2,001 characters; use at most 2,000"),
        (["a\x07b"], "PROMPT holds the control character U+0007"),
        (["a\x00b"], "PROMPT holds the control character U+0000"),
        (["a\udc80b"], "PROMPT holds the control character U+DC80"),
        (["normal", "--count", "0"], "--count is 0; use a whole number from 1 to 64"),
        (["normal", "--count", "1000"], "--count is 1000; use a whole number from 1 to 64"),
        (["normal", "--count", "many"], "argument --count: 'many' is not a number"),
        (["normal", "--steps", "0"], "--steps is 0; use a whole number from 1 to 100"),
        (["normal", "--steps", "2.5"], "--steps is 2.5; use a whole number from 1 to 100"),
        (["normal", "--seed", "-1"], "--seed is -1; use a whole number from 0 to"),
        (["normal", "--seed", str(2**53)], f"--seed is {2**53}; use a whole number from 0 to 9,007,199,254,740,991"),
        (["normal", "--seed", "9" * 5000], "--seed is inf; use a whole number from 0"),
        (["normal", "--guidance-scale", "nan"], "--guidance-scale is nan; use a number from 1.0 to 20.0"),
        (["normal", "--guidance-scale", "0.2"], "--guidance-scale is 0.2"),
        (["normal", "--adapter-weight", "inf"], "--adapter-weight is inf"),
        (["normal", "--negative-prompt", "x" * 2001], "--negative-prompt has 2,001 characters"),
        ([], "give either a PROMPT or --prompts FILE.csv"),
        (["normal", "--prompts", "x.csv"], "give either a PROMPT or --prompts FILE.csv"),
        (["--prompts", "gone.csv"], "cannot read gone.csv: no such file or directory"),
        (["--prompts", "gone.csv", "--steps", "0"], "--steps is 0"),
        (["normal", "chest"], "unrecognized arguments: chest; see python -m cxr"),
        (["normal", "--no-such\noption"], "unrecognized arguments: --no-such option"),
        (["normal", "--adapter", "nobody"], "adapter 'nobody' is unknown; use none"),
        (["normal", "--adapter", "local:gone.safetensors"], "'gone.safetensors' cannot be read: no such file"),
        (["normal", "--model", "no/such/folder"], "model 'no/such/folder' is unknown; use embedded"),
    ],
)
def test_wrong_input(
    arguments: list[str], message: str, generate: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert generate(*arguments) == 2
    assert message in one_line(capsys)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("data", [b"", b"not a LoRA" * 100, b"\x80\x04\x95pickle"])
def test_lora_that_cannot_be_read(
    data: bytes, generate: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.safetensors").write_bytes(data)
    assert generate("normal", "--adapter", f"local:{tmp_path / 'bad.safetensors'}") == 2
    assert "LoRA file 'bad.safetensors' cannot be used: it is cut off" in one_line(capsys)


def test_lora_of_another_model_and_missing_model_files(
    tiny_model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from safetensors.torch import save_file

    layer = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
    tensors = {f"{layer}.lora_A.weight": torch.ones(2, 5), f"{layer}.lora_B.weight": torch.ones(5, 2)}
    save_file(tensors, tmp_path / "foreign_lora.safetensors")
    common = ["generate", "normal", "--output", str(tmp_path / "out")]
    adapter = f"local:{tmp_path / 'foreign_lora.safetensors'}"
    assert cli.main([*common, "--model", str(tiny_model_dir), "--adapter", adapter]) == 2
    assert "LoRA 'foreign_lora' is for another model" in one_line(capsys)
    (tmp_path / "model").mkdir()
    assert cli.main([*common, "--model", str(tmp_path / "model")]) == 2
    assert "model 'model' is incomplete: model_index.json is missing" in one_line(capsys)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (b"", "has no column “prompt”; its first row names nothing"),
        (b"text,seed\nnormal,1\n", "has no column “prompt”; its first row names text, seed"),
        (b"prompt;seed\nnormal;1\n", r"its first row names prompt;seed \(separate with commas\)"),
        (b"prompt,prompt\na,b\n", "has 2 columns “prompt”; keep one"),
        (b"prompt\n\n  \n", "holds no prompts below its header row"),
        (b"prompt,seed\nnormal,1\n\n,2\n", "row 4: prompt is empty"),
        (b"prompt,seed\nnormal,x\n", "row 2: seed is 'x'; use a whole number"),
        (b"prompt,seed\nnormal,-1\n", "row 2: seed is -1; use a whole number from 0"),
        (b"prompt,seed\nnormal,1.5\n", "row 2: seed is 1.5; use a whole number"),
        (b"prompt,seed\nnormal,nan\n", "row 2: seed is nan"),
        (b"prompt,count\nnormal,1\nnormal,0\n", "row 3: count is 0; use a whole number from 1 to 64"),
        (b"prompt,count\nnormal,1000\n", "row 2: count is 1000"),
        (b"prompt\n" + b"x" * 2001 + b"\n", "row 2: prompt has 2,001 characters"),
        (b"prompt\n" + b"x" * 200_000 + b"\n", "row 2 is not valid CSV: field larger"),
        (b"prompt\na\x00b\n", r"row 2: prompt holds the control character U\+0000"),
        (b"prompt,seed\na 60-year-old man, no findings,1\n", "row 2 has 3 cells, the header 2; put a prompt"),
        (b'prompt\nnormal\n"open quote\nnormal\n', "row 3 is not valid CSV: unexpected end"),
        (b"prompt\nnormal\n\xff\xfe\n", "is not UTF-8 text"),
        ("prompt\nnormal\n".encode("utf-16"), "is not UTF-8 text"),
    ],
)
def test_wrong_list_of_prompts(table: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_bytes(table)
    with pytest.raises(RequestError, match=f"^list.csv .*{message}"):
        read_prompt_table(tmp_path / "list.csv", SETTINGS)


def test_wrong_row_is_told_before_anything_is_made(
    generate: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "list.csv").write_text("prompt,count\nnormal,1\nnormal,none\n")
    assert generate("--prompts", str(tmp_path / "list.csv")) == 2
    assert "list.csv row 3: count is 'none'; use a whole number" in one_line(capsys)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: COMMAND; see python -m cxr --help"),
        (["paint"], "invalid choice: 'paint'"),
        (["generate", "normal"], "the following arguments are required: --output"),
        (["bench", "--dataset", "0"], "--dataset is 0; use 1 or more"),
        (["bench", "--dataset", "5", "--processes", "2", "0"], "--processes is 0; use 1 or more"),
        (["bench", "--batch-sizes", "1", "0"], "--batch-sizes is 0; use a whole number from 1 to 64"),
        (["bench", "--start", "--runs", "0"], "--runs is 0; use a whole number from 1 to 100"),
        (["bench", "--runs", "0"], "--runs is 0; use a whole number from 1 to 100"),
        (["bench", "--runs", "x"], "argument --runs: invalid int value: 'x'"),
    ],
)
def test_wrong_command(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == 2
    assert message in one_line(capsys)


# --- Other commands


def test_adapters_are_listed(
    tiny_lora_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("cxr.lora.find.LORA_ROOT", tiny_lora_dir.parent)
    assert cli.main(["adapters"]) == 0
    assert re.fullmatch(
        r"tiny_lora: rank 4, alpha 12, [\d.]+ MB, for tiny, licence CC0-1\.0\n", capsys.readouterr().out
    )
    monkeypatch.setattr("cxr.lora.find.LORA_ROOT", tiny_lora_dir / "nothing")
    assert cli.main(["adapters"]) == 0
    assert "no LoRA in" in capsys.readouterr().err


def test_bench_prints_what_was_measured(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[Any] = []
    monkeypatch.setattr("cxr.bench.speed.run_bench", lambda *arguments, **options: asked.extend([arguments, options]))
    monkeypatch.setattr("cxr.bench.speed_text.format_bench", lambda result: f"measured {result}")
    command = ["bench", "--runs", "5", "--adapter", "none", "--batch-sizes", "2", "8", "--peer-python", "other"]
    assert cli.main(command) == 0
    assert capsys.readouterr().out == "measured None\n"
    assert asked == [
        ("embedded", "none", 5),
        {"batch_sizes": [2, 8], "peer_python": "other", "processor_time": False, "device": ""},
    ]


@pytest.mark.parametrize("command", [[], ["generate"], ["bench"], ["adapters"], ["train"], ["train", "lora"]])
def test_help_reads_well(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([*command, "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith(" ".join(["usage: python -m cxr", *command]))
    assert "None" not in text
    assert all(len(line) <= 100 for line in text.splitlines())


def test_help_and_mistakes_answer_at_once() -> None:
    code = "import sys; from cxr.commands.main import main; main(['generate', '']); print(*sys.modules)"
    began = time.perf_counter()
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    elapsed_s = time.perf_counter() - began
    assert result.stderr.startswith("error: ")
    assert not {"torch", "diffusers", "peft", "gradio", "PIL"} & set(result.stdout.split())
    assert elapsed_s < 5  # far less on a quiet machine


@pytest.mark.slow
def test_the_program_as_a_user_starts_it(tiny_model_dir: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "cxr", "generate", "normal chest x-ray", *FAST, "--output", str(tmp_path / "out")]
    result = subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | {"CXR_MODEL": str(tiny_model_dir), "CXR_ADAPTER": "none", "HF_HUB_OFFLINE": "1"},
        timeout=120,
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("1 of 1 images in")
    assert names(tmp_path / "out") == ["000000_0.png", "metadata.jsonl"]


def test_a_reader_that_has_seen_enough_gets_no_trace() -> None:
    command = [sys.executable, "-m", "cxr", "prompt", "pneumonia"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    with process.stderr:
        assert process.stderr.read() == ""
    assert process.wait(timeout=60) == cli.UNREAD


@pytest.mark.parametrize(
    "arguments",
    [
        ["generate", "x", "--output", ""],
        ["generate", "--prompts", "", "--output", "out"],
        ["dataset", "", "--output", "out"],
        ["dataset", "plan.yaml", "--output", ""],
        ["verify", ""],
        ["export", "set", "--format", "zip", "--output", ""],
        ["train", "base", "--data", "", "--out", "run"],
    ],
)
def test_an_empty_name_is_not_the_current_folder(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "is empty; name a file or a folder" in line
    assert not [*tmp_path.iterdir()]
