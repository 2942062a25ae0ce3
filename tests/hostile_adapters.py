"""LoRA files that must be refused: broken, foreign, hostile. `HOSTILE` maps a name to how to make the file."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

LAYER = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
TYPES = {"F64": ("<f8", 8), "F32": ("<f4", 4), "F16": ("<f2", 2), "BF16": ("<u2", 2)}
NUMPY_TYPES = {name: numpy_name for name, (numpy_name, _) in TYPES.items()} | {"I64": "<i8"}


@dataclass(frozen=True)
class Hostile:
    """How to make a file at a path, and what its refusal says; some are refused only when a model is looked at."""

    make: Callable[[Path], None]
    message: str
    reaches_model: bool = False


def safetensors(header: bytes, body: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header)) + header + body


def with_header(header: dict[str, Any], body: bytes = b"") -> bytes:
    return safetensors(json.dumps(header).encode(), body)


def tensors(
    shapes: dict[str, list[int]], dtype: str = "F32", values: dict[str, float] | None = None, **metadata: object
) -> bytes:
    """A well-formed file of zeros, or of one value for the whole of some tensors."""
    header: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    body = b""
    for name, shape in shapes.items():
        count, value = int(np.prod(shape, dtype=object)), (values or {}).get(name, 0.0)
        if dtype == "BF16":
            raw = (np.full(count, value, "<f4").view("<u4") >> 16).astype("<u2").tobytes()
        else:
            raw = np.full(count, value, NUMPY_TYPES[dtype]).tobytes()
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(body), len(body) + len(raw)]}
        body += raw
    return with_header(header, body)


def pair(
    shape_a: list[int],
    shape_b: list[int],
    layer: str = LAYER,
    ends: tuple[str, str] = ("lora_A", "lora_B"),
    **more: Any,
) -> bytes:
    """One layer, which fits a network of width 32 if the shapes are [rank, 32] and [32, rank]."""
    return tensors({f"{layer}.{ends[0]}.weight": shape_a, f"{layer}.{ends[1]}.weight": shape_b}, **more)


def kohya(alpha: float | None = 4.0, shape: list[int] | None = None, layer: str = "") -> bytes:
    name = layer or "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
    shapes = {f"{name}.lora_down.weight": [4, 32], f"{name}.lora_up.weight": [32, 4]}
    return tensors(
        shapes | ({} if alpha is None else {f"{name}.alpha": shape or []}), values={f"{name}.alpha": alpha or 0.0}
    )


def kohya_integer(alpha: int) -> bytes:
    """As ``kohya``, with an alpha as kohya's programs once wrote it: a whole number."""
    content = kohya(1.0)
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    (name,) = [name for name in header if name.endswith(".alpha")]
    start, _ = header[name]["data_offsets"]
    header[name] = {"dtype": "I64", "shape": [], "data_offsets": [start, start + 8]}
    return with_header(header, content[8 + int.from_bytes(content[:8], "little") :][:start] + struct.pack("<q", alpha))


def settings(**values: Any) -> bytes:
    text = json.dumps({f"unet.{name}": value for name, value in values.items()})
    return pair([4, 32], [32, 4], lora_adapter_metadata=text)


def entry(shape: object = (1,), offsets: object = (0, 4), dtype: object = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def one(body: int = 4, **changes: Any) -> bytes:
    """A file with a single tensor entry, some of it changed."""
    return with_header({f"{LAYER}.lora_A.weight": entry() | changes}, bytes(body))


def replaced(content: bytes, old: bytes, new: bytes) -> bytes:
    assert len(old) == len(new), "the header keeps its length"
    assert old in content
    return content.replace(old, new)


def _bytes(content: bytes) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        path.write_bytes(content)

    return make


def _sparse(size: int, start: bytes = b"") -> Callable[[Path], None]:
    def make(path: Path) -> None:
        with path.open("wb") as file:
            file.write(start)
            file.truncate(size)

    return make


def _million(path: Path) -> None:
    names = ",".join(f'"u{number}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}' for number in range(1_000_000))
    path.write_bytes(safetensors(f"{{{names}}}".encode()))


def _late_nan(path: Path) -> None:
    """A NaN as the last of 48 million bytes."""
    path.write_bytes(pair([256, 23_437], [23_437, 256])[:-2] + b"\xff\x7f")


GOOD = pair([4, 32], [32, 4])
HEADER_END = 8 + int.from_bytes(GOOD[:8], "little")
ABSENT = LAYER.replace("attentions.0", "attentions.7")
FOREIGN = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k"
ENCODER_LAYER = "encoder.layers.0.self_attn.q_proj"
RESNET = "unet.mid_block.resnets.0.conv1"
PICKLE = b"\x80\x02cos\nsystem\nX\x08\x00\x00\x00touch itq\x00\x85R."

_CONTENTS: dict[str, tuple[bytes, str]] = {
    # no safetensors file at all
    "empty": (b"", "cut off"),
    "seven bytes": (b"\x01" * 7, "cut off"),
    "random bytes": (np.random.default_rng(0).bytes(5_000), "cut off"),
    "zeros": (bytes(5_000), "header"),
    "text": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "cut off"),
    "html page": (b"<!DOCTYPE html><html>Access to this model is restricted</html>", "cut off"),
    "renamed pickle": (PICKLE, "cut off"),
    "renamed zip": (b"PK\x03\x04" + bytes(200), "cut off|header"),
    # cut off in each of its parts
    "cut in the length": (GOOD[:4], "cut off"),
    "cut behind the length": (GOOD[:8], "cut off"),
    "cut in the header": (GOOD[:60], "cut off"),
    "cut behind the header": (GOOD[:HEADER_END], "download it again"),
    "cut in the first tensor": (GOOD[: HEADER_END + 100], "download it again"),
    "cut in the last tensor": (GOOD[:-1], "download it again"),
    "bytes at the end": (GOOD + b"tail", "download it again"),
    # the header's text
    "header beyond the file": (struct.pack("<Q", 2**63) + b"{}", "cut off"),
    "header of no bytes": (bytes(8), "header"),
    "not json": (safetensors(b"{]"), "header"),
    "header is a list": (safetensors(b"[1]"), "header"),
    "header is null": (safetensors(b"null"), "header"),
    "not utf-8": (safetensors(b'{"\xff\xfe"'), "header"),
    "deep list": (safetensors(b"[" * 100_000), "header"),
    "deep object": (safetensors(b'{"a":' * 100_000), "header"),
    "many empty lists": (safetensors(b"[" + b"[]," * 690_000 + b"1]"), "header has more entries"),
    "150,000 lists": (safetensors(b"[" + b"[]," * 150_000 + b"1]"), "header is not"),
    "150,000 keys": (safetensors(b"{" + b",".join(b'"%d":0' % k for k in range(150_000)) + b"}"), "at most 20,000"),
    "number of a million digits": (safetensors(b'{"a":' + b"1" * 1_000_000 + b"}"), "header"),
    "3 MB of spaces": (safetensors(b" " * (3 * 2**20) + b"{}"), "header has 3,145,730 bytes"),
    "no tensors": (with_header({}), "no tensors"),
    "metadata alone": (with_header({"__metadata__": {"a": "b"}}), "no tensors"),
    "key twice": (safetensors(b'{"a":1,"a":2}'), "header"),
    "21,000 tensors": (with_header({f"u{k}": entry([0], [0, 0]) for k in range(21_000)}), "at most 20,000"),
    # entries
    "entry is a number": (with_header({"a": 1}), "header"),
    "entry without a shape": (with_header({"a": {"dtype": "F32", "data_offsets": [0, 4]}}, bytes(4)), "header"),
    "entry with more": (one(more=1), "header"),
    "integers": (one(8, dtype="I64", data_offsets=[0, 8]), "header"),
    "booleans": (one(1, dtype="BOOL", data_offsets=[0, 1]), "header"),
    "float8": (one(1, dtype="F8_E4M3", data_offsets=[0, 1]), "header"),
    "dtype is a list": (one(dtype=["F32"]), "header"),
    "negative shape": (one(shape=[-1]), "header"),
    "shape of floats": (one(shape=[1.0]), "header"),
    "shape of booleans": (one(shape=[True]), "header"),
    "shape is a number": (one(shape=1), "header"),
    "huge shape": (one(shape=[2**62, 2**62]), "header"),
    "10,000 dimensions": (one(shape=[1] * 10_000), "header"),
    "length of another shape": (one(shape=[3]), "header"),
    "three offsets": (one(data_offsets=[0, 4, 4]), "header"),
    "negative offset": (one(data_offsets=[-4, 0]), "header"),
    "offsets turned round": (one(data_offsets=[4, 0]), "header"),
    "gap": (one(8, data_offsets=[4, 8]), "gaps"),
    "overlap": (with_header({"a": entry(), "b": entry()}, bytes(4)), "overlap"),
    # metadata
    "metadata is a list": (with_header({"__metadata__": ["a"], "a": entry()}, bytes(4)), "header"),
    "metadata holds a number": (pair([4, 32], [32, 4], format=1), "header"),
    "settings are no json": (pair([4, 32], [32, 4], lora_adapter_metadata="{"), "settings cannot be read"),
    "settings are a list": (pair([4, 32], [32, 4], lora_adapter_metadata="[]"), "settings cannot be read"),
    "deep settings": (pair([4, 32], [32, 4], lora_adapter_metadata="[" * 99_999), "settings cannot be read"),
    "alpha NaN": (settings(lora_alpha=float("nan")), "lora_alpha is nan"),
    "alpha infinite": (settings(lora_alpha=float("inf")), "lora_alpha is inf"),
    "alpha 0": (settings(lora_alpha=0), "lora_alpha is 0"),
    "alpha negative": (settings(lora_alpha=-4), "lora_alpha is -4"),
    "alpha 1e9": (settings(lora_alpha=1e9), "lora_alpha is 1000000000"),
    "alpha of 400 digits": (settings(lora_alpha=10**400), "lora_alpha is 1000000000"),
    "alpha is a list": (settings(lora_alpha=[1]), "settings cannot be read"),
    "alpha is true": (settings(lora_alpha=True), "settings cannot be read"),
    "alpha is text": (settings(lora_alpha="4"), "settings cannot be read"),
    "dora": (settings(use_dora=True), "use_dora"),
    "dora in words": (settings(use_dora="yes"), "use_dora"),
    "rank-stabilised in words": (settings(use_rslora="false", lora_alpha=8), "use_rslora is 'false'"),
    "rank-stabilised by a number": (settings(use_rslora=1, lora_alpha=8), "use_rslora is '1'"),
    "rank-stabilised by a list": (settings(use_rslora=[True], lora_alpha=8), "use_rslora is"),
    "layers that are replicated": (settings(layer_replication=[[0, 1]]), "layer_replication"),
    "alpha pattern that takes for ever": (settings(alpha_pattern={"(a+)+b": 9}), "alpha_pattern of more than"),
    "alpha pattern of many wildcards": (settings(alpha_pattern={".*" * 9: 9}), "alpha_pattern of more than"),
    "alpha pattern of a wrong range": (settings(alpha_pattern={"[z-a]": 9}), "alpha_pattern of more than"),
    "alpha pattern of repeated groups": (settings(alpha_pattern={"(a|a)+": 9}), "alpha_pattern of more than"),
    "alpha pattern of many groups": (settings(alpha_pattern={"(1|1)" * 30: 9}), "alpha_pattern of more than"),
    "long alpha pattern": (settings(alpha_pattern={"a" * 100_000 + "!": 9}), "alpha_pattern of more than"),
    "alpha pattern that looks ahead": (settings(alpha_pattern={"(?=a)b": 9}), "alpha_pattern of more than"),
    "alpha pattern that is a list": (settings(alpha_pattern=["to_q"]), "settings cannot be read"),
    "alpha pattern of a text": (settings(alpha_pattern={"to_q": "9"}), "settings cannot be read"),
    "alpha pattern of 0": (settings(alpha_pattern={"to_q": 0}), "lora_alpha is 0"),
    "60,000 alpha patterns": (settings(alpha_pattern={f"a{n}": 0 for n in range(60_000)}), "lora_alpha is 0"),
    **{
        f"trained from {start}": (settings(init_lora_weights=start), f"init_lora_weights '{start}', which changes the")
        for start in (
            "pissa",
            "pissa_niter_16",
            "olora",
            "OLoRA",
            "loftq",
            "corda",
            "lora_ga",
            "unheard-of",
            "",
            "true",
            1,
            0,
        )
    },
    "start that is a list": (settings(init_lora_weights=["gaussian"]), "init_lora_weights"),
    "VeRA by its settings": (settings(peft_type="VERA", lora_alpha=8), "is .VERA. by its settings"),
    "a kind that is a list": (settings(peft_type=["LORA"], lora_alpha=8), "by its settings, which this program cannot"),
    "rank-stabilised without an alpha": (settings(use_rslora=True), "no lora_alpha that would be scaled"),
    "modules to import": (settings(modules_to_save=["os.system"]), "modules_to_save"),
    "kohya alpha NaN": (kohya(float("nan")), "NaN or infinite"),
    "kohya alpha 0": (kohya(0.0), r"lora_alpha is 0\.0"),
    "kohya alpha 1e9": (kohya(1e9), "lora_alpha is 1000000000"),
    "kohya alpha of two numbers": (kohya(4.0, [2]), "alpha of shape"),
    # layers
    "foreign keys": (tensors({"conv.weight": [1]}), "not a LoRA matrix"),
    "whole unet": (tensors({"unet.conv_in.weight": [4, 4, 3, 3]}), "not a LoRA matrix"),
    "only lora_A": (tensors({f"{LAYER}.lora_A.weight": [4, 32]}), "one of its two matrices"),
    "only alpha": (tensors({f"{LAYER}.alpha": []}, values={f"{LAYER}.alpha": 1.0}), "one of its two matrices"),
    "same matrix in two ways": (
        tensors({f"{LAYER}.{end}.weight": [4, 32] for end in ("lora_A", "lora.down")}),
        "in two ways",
    ),
    "dora tensors": (tensors({f"{LAYER}.dora_scale": [32]}), "DoRA"),
    "loha": (tensors({"lora_unet_mid_block.hada_w1_a": [4, 32]}), "LoHa"),
    "lokr": (tensors({"lora_unet_mid_block.lokr_w1": [4, 4]}), "LoKr"),
    **{
        f"{kind} beside a good layer": (
            tensors({f"{LAYER}.{end}.weight": [4, 32] for end in ("lora_A", "lora_B")} | {f"{LAYER}.{name}": [4, 4]}),
            f"it holds {words}, which this program cannot apply",
        )
        for kind, name, words in (
            ("BOFT", "boft_R", "BOFT"),
            ("OFT", "oft_R.weight", "OFT"),
            ("IA3", "ia3_l", r"\(IA\)³"),
            ("VeRA", "vera_lambda_b", "VeRA"),
            ("AdaLoRA", "lora_E", "AdaLoRA"),
            ("the ranks of AdaLoRA", "ranknum", "AdaLoRA"),
            ("RandLoRA", "randlora_lambda", "RandLoRA"),
            ("GraLoRA", "gralora_A", "GraLoRA"),
            ("VeLoRA", "lora_velora_embed", "VeLoRA"),
            ("LoHa of a convolution", "hada_t1", "LoHa"),
            ("LoCon", "lora_mid.weight", "LoCon with a third matrix"),
            ("full differences", "diff_b", "full differences"),
            ("a bias", "lora_B.bias", "biases"),
            ("weights of the base", "base_layer.weight", "base weights"),
            ("saved modules", "modules_to_save.default.weight", "modules that were trained as a whole"),
        )
    },
    "bundled embeddings": (
        tensors({f"{LAYER}.lora_A.weight": [4, 32], "bundle_emb.name.string_to_param.*": [2, 32]}),
        "it holds bundled embeddings, which this program cannot apply",
    ),
    "an embedding": (tensors({"emb_params": [2, 32]}), "it holds an embedding"),
    "third text encoder": (
        pair([4, 32], [32, 4], "lora_te3_encoder_block_0", ("lora_down", "lora_up")),
        "a third text encoder",
    ),
    "FLUX by kohya": (
        pair([4, 32], [32, 4], "lora_unet_double_blocks_0_img_attn_proj", ("lora_down", "lora_up")),
        "made for FLUX",
    ),
    "Stable Diffusion 3": (
        pair([4, 32], [32, 4], "transformer.transformer_blocks.0.attn.add_q_proj"),
        "made for Stable Diffusion 3",
    ),
    "integer matrices": (tensors({f"{LAYER}.lora_A.weight": [4, 32]}, dtype="I64"), "weights are floating-point"),
    "integer alpha of 0": (kohya_integer(0), "lora_alpha is 0"),
    "one layer of a text encoder by two names": (
        tensors(
            {
                f"text_encoder.{level}{ENCODER_LAYER}.{end}.weight": [4, 4]
                for level in ("", "text_model.")
                for end in ("lora_A", "lora_B")
            }
        ),
        "in two ways",
    ),
    "convolution of a linear layer": (pair([4, 32, 3, 3], [32, 4, 1, 1]), "for another model: .* 4 dimensions there"),
    "linear layer for a convolution": (pair([4, 32], [32, 4], "unet.conv_in"), "for another model: .* 2 dimensions"),
    "second matrix of 3 x 3": (pair([4, 32, 1, 1], [32, 4, 3, 3], "unet.conv_in"), "not a 1 x 1 convolution"),
    "rank 0": (pair([0, 32], [32, 0]), "rank from 1"),
    "rank 257": (pair([257, 32], [32, 257]), "rank from 1 to 256"),
    "unequal ranks": (pair([4, 32], [32, 5]), "rank from 1"),
    "one dimension": (pair([4], [4]), "shape"),
    "three dimensions": (pair([4, 32, 1], [32, 4, 1]), "shape"),
    "no inputs": (pair([4, 0], [32, 4]), "rank from 1"),
    # names
    "path as a name": (pair([4, 32], [32, 4], "unet.../../etc/passwd"), "not a LoRA matrix"),
    "unicode name": (pair([4, 32], [32, 4], "unet.mid_bløck.to_q"), "not a LoRA matrix"),
    "control characters": (pair([4, 32], [32, 4], "unet.\x1b[2J\x00"), "not a LoRA matrix"),
    "name of 100,000 characters": (pair([4, 32], [32, 4], "unet." + "a" * 100_000), "not a LoRA matrix"),
    "unknown component": (pair([4, 32], [32, 4], "vae.decoder.to_q"), "not a LoRA matrix"),
    "layer of no model": (pair([4, 32], [32, 4], "unet.mid_blook.attn1.to_q"), "no model of this program has a layer"),
    "layer that takes none": (pair([4, 32], [32, 4], "unet.conv_norm_out"), "that takes a LoRA"),
    "dunder of a network": (pair([4, 32], [32, 4], "unet.__class__"), "that takes a LoRA"),
    "whole block": (pair([4, 32], [32, 4], "unet.mid_block"), "that takes a LoRA"),
    "kohya name that cannot be split": (kohya(layer="lora_unet_down__blocks"), "not a LoRA matrix"),
}
# A model has to be looked at, and stays as it is.
_FOREIGN: dict[str, tuple[bytes, str]] = {
    "layer that is not there": (pair([4, 32], [32, 4], ABSENT), "this one has no layer"),
    "other sizes": (pair([4, 64], [64, 4]), "64 x 64 values there and 32 x 32 here"),
    "convolution of another size": (pair([4, 32, 5, 5], [32, 4, 1, 1], RESNET), "32 x 32 x 5 x 5 values there and"),
    "Stable Diffusion 1": (pair([4, 768], [320, 4], FOREIGN), r"Stable Diffusion 1 \(.*768\), and the loaded .* 32"),
    "Stable Diffusion 2": (pair([4, 1024], [320, 4], FOREIGN), r"Stable Diffusion 2 \(.*1024\)"),
    "Stable Diffusion XL": (pair([4, 2048], [640, 4], FOREIGN), r"Stable Diffusion XL \(.*2048\)"),
    "second text encoder": (
        pair([4, 1280], [1280, 4], "text_encoder_2.text_model.encoder.layers.0.self_attn.q_proj"),
        "this one has no text_encoder_2",
    ),
    "text encoder of SD 1": (
        pair([4, 768], [768, 4], "text_encoder.text_model.encoder.layers.0.self_attn.q_proj"),
        r"Stable Diffusion 1 \(text encoder width 768\)",
    ),
    "FLUX": (pair([4, 32], [32, 4], "transformer.single_transformer_blocks.0.attn.to_q"), "made for FLUX"),
    "kohya for SDXL": (
        kohya(layer="lora_unet_input_blocks_7_1_transformer_blocks_0_attn1_to_q"),
        r"no layer 'down_blocks\.2\.attentions\.0\.transformer_blocks\.0\.attn1\.to_q'",
    ),
}
_FILES: dict[str, tuple[Callable[[Path], None], str]] = {
    "a million empty tensors": (_million, "header has"),
    "NaN at the end of 48 MB": (_late_nan, "NaN or infinite"),
    "link to /dev/zero": (lambda path: path.symlink_to("/dev/zero"), "not a regular file"),
    "link to nowhere": (lambda path: path.symlink_to(path.with_name("nowhere")), "no such file"),
    "link to itself": (lambda path: path.symlink_to(path), "symbolic links"),
    "pipe": (os.mkfifo, "not a regular file"),
    "folder": (lambda path: path.mkdir(), r"holds 0 \.safetensors files"),
    "600 MB of nothing": (_sparse(600 * 2**20), "at most 536,870,912"),
    "500 MB of nothing": (_sparse(500 * 2**20), "header is not"),
    "500 MB behind a good header": (_sparse(500 * 2**20, GOOD), "download it again"),
}

HOSTILE: dict[str, Hostile] = {
    **{name: Hostile(_bytes(content), message) for name, (content, message) in _CONTENTS.items()},
    **{name: Hostile(_bytes(content), message, True) for name, (content, message) in _FOREIGN.items()},
    **{name: Hostile(make, message) for name, (make, message) in _FILES.items()},
    **{
        f"{value} in {dtype}": Hostile(
            _bytes(pair([4, 32], [32, 4], dtype=dtype, values={f"{LAYER}.lora_B.weight": value})), "NaN or infinite"
        )
        for dtype in TYPES
        for value in (float("nan"), float("inf"), float("-inf"))
    },
    "beyond float32": Hostile(
        _bytes(pair([4, 32], [32, 4], dtype="F64", values={f"{LAYER}.lora_B.weight": 1e300})), "NaN or infinite"
    ),
}
