"""The bench on a GPU, for docs/gpu.md: the shipped model, and Stable Diffusion 1.5 and XL of full size.

Run it from the top of the repository: ``python benchmarks/gpu.py --write`` takes about ten minutes at most and
downloads nothing: the two large models get random weights, which take as long as trained ones. Each is measured as it
is and with CXR_COMPILE=1. Without ``--write`` the text is only printed.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
from diffusers import (  # noqa: E402
    AutoencoderKL,
    EulerDiscreteScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import (  # noqa: E402
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
)

from cxr.bench.speed import run_bench  # noqa: E402
from cxr.bench.speed_text import format_bench  # noqa: E402
from cxr.models.devices import choose_device  # noqa: E402
from cxr.models.model_folder import no_progress_bars  # noqa: E402
from cxr.models.preset_table import EMBEDDED_FOLDER  # noqa: E402

PAGE = ROOT / "docs" / "gpu.md"
BEGIN, END = "<!-- benchmarks/gpu.py writes what follows -->", "<!-- and no further -->"
LONGEST_S = 480.0  # after which no other model is begun
BATCH_SIZES = {"embedded": (1, 4, 16), "sd15": (1, 4, 16), "sdxl": (1, 4)}
# As the config.json of the published models say, where diffusers' own defaults are others.
SD15_UNET = {"sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8}
SDXL_UNET = {
    "sample_size": 128,
    "cross_attention_dim": 2048,
    "attention_head_dim": (5, 10, 20),
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
VAE = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
}
CLIP_L = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
CLIP_G = {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 20}
VOCABULARY = 49408
# The same architectures in the size of a test.
TINY: dict[str, dict[str, Any]] = {
    "unet": {"block_out_channels": (32, 32, 64, 64), "sample_size": 16, "layers_per_block": 1, "attention_head_dim": 4},
    "unet_xl": {"block_out_channels": (32, 32, 64), "sample_size": 16, "layers_per_block": 1, "attention_head_dim": 4},
    "vae": {"block_out_channels": (32, 32, 32, 32), "layers_per_block": 1},
    "text": {"num_hidden_layers": 1, "intermediate_size": 64},
}


def build(name: str, device: str, *, is_tiny: bool = False) -> Any:
    """A pipeline with random weights.

    Args:
        name: "sd15" or "sdxl".
        device: where the weights are drawn; on a CPU those of full size take minutes.
        is_tiny: of few layers and channels.
    """
    tiny = TINY if is_tiny else {part: {} for part in TINY}
    tokenizer = CLIPTokenizer.from_pretrained(EMBEDDED_FOLDER / "tokenizer", model_max_length=77)
    with torch.device(device):
        text = CLIPTextModel(_clip(CLIP_L | tiny["text"], tokenizer, 768))
        if name == "sd15":
            return StableDiffusionPipeline(
                vae=AutoencoderKL(**VAE | {"scaling_factor": 0.18215} | tiny["vae"]),
                text_encoder=text,
                tokenizer=tokenizer,
                unet=UNet2DConditionModel(**SD15_UNET | tiny["unet"]),
                scheduler=PNDMScheduler(
                    beta_schedule="scaled_linear",
                    beta_start=0.00085,
                    beta_end=0.012,
                    skip_prk_steps=True,
                    steps_offset=1,
                ),
                safety_checker=None,
                feature_extractor=None,
                requires_safety_checker=False,
            )
        return StableDiffusionXLPipeline(
            vae=AutoencoderKL(**VAE | {"scaling_factor": 0.13025} | tiny["vae"]),
            text_encoder=text,
            text_encoder_2=CLIPTextModelWithProjection(_clip(CLIP_G | tiny["text"], tokenizer, 1280)),
            tokenizer=tokenizer,
            tokenizer_2=tokenizer,
            unet=UNet2DConditionModel(**SDXL_UNET | tiny["unet_xl"]),
            scheduler=EulerDiscreteScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012),
        )


def _clip(sizes: dict[str, int], tokenizer: Any, projection_dim: int) -> CLIPTextConfig:
    special = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    return CLIPTextConfig(**sizes, **special, vocab_size=VOCABULARY, projection_dim=projection_dim)


def measure(name: str, device: str, folder: Path, runs: int, *, is_tiny: bool) -> str:
    """The texts of a model, as it is and compiled."""
    model = name
    if name != "embedded":
        model = str(folder / name)
        pipeline = build(name, device, is_tiny=is_tiny)
        with no_progress_bars():
            pipeline.to(dtype=torch.float16).save_pretrained(model)
        del pipeline
        if device == "cuda":
            torch.cuda.empty_cache()
    texts = []
    for wanted in ("0", "1"):
        os.environ["CXR_COMPILE"] = wanted
        sizes = (1,) if is_tiny else BATCH_SIZES[name]
        result = run_bench(model, "none", runs, batch_sizes=sizes, device=device, fresh_process=False)
        texts.append(format_bench(result))
    return "\n\n".join(texts)


def fill(page: str, text: str) -> str:
    """The page with what was measured between its two marks."""
    before, _, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    assert end, f"the page has both {BEGIN} and {END}"
    return f"{before}{BEGIN}\n\n```\n{text}\n```\n\n{END}{after}"


def main() -> int:
    """Measure all models, and write the page if that is wanted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help=f"put it into {PAGE.relative_to(ROOT)}")
    parser.add_argument("--runs", type=int, default=3, metavar="N")
    parser.add_argument("--models", nargs="+", default=list(BATCH_SIZES), choices=BATCH_SIZES)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help=argparse.SUPPRESS)  # for a test
    parser.add_argument("--tiny", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if choose_device().type != arguments.device:
        parser.error("no CUDA device is here")
    logging.getLogger("transformers").setLevel(logging.ERROR)  # of libraries for pictures as input
    began, texts = time.monotonic(), []
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.models:
            if time.monotonic() - began > LONGEST_S:
                texts.append(f"{name}: not begun after {LONGEST_S:.0f} s; --models {name} measures it alone")
            else:
                texts.append(measure(name, arguments.device, Path(folder), arguments.runs, is_tiny=arguments.tiny))
            sys.stdout.write(texts[-1] + "\n\n")
            sys.stdout.flush()
    if arguments.write:
        PAGE.write_text(fill(PAGE.read_text(encoding="utf-8"), "\n\n".join(texts)), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
