"""optimum-intel's pipeline, run by the interpreter of another environment: it imports nothing of this program.

Arguments: folder of the model, prompt, steps, guidance and threads. It says its version, then makes as many images as
each line on standard input says, and answers each with a line when they are there.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optimum.intel import OVPipelineForText2Image


def main() -> None:
    """Convert the model, then make images until the input ends."""
    folder, prompt, steps, guidance, threads = sys.argv[1:]
    answers = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):
        from optimum.intel import OVPipelineForText2Image

        settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
        first = OVPipelineForText2Image.from_pretrained(folder, export=True, compile=False, ov_config=settings)
        first.save_pretrained(f"{folder}_openvino")
    versions = [f"{name} {importlib.metadata.version(name)}" for name in ("optimum-intel", "openvino")]
    answers.write(f"{', '.join(versions)}, float32, static shapes\n")
    answers.flush()
    by_size: dict[int, OVPipelineForText2Image] = {}
    for line in sys.stdin:
        size = int(line)
        with contextlib.redirect_stdout(sys.stderr):
            if size not in by_size:
                pipeline = OVPipelineForText2Image.from_pretrained(
                    f"{folder}_openvino", compile=False, ov_config=settings
                )
                side = pipeline.unet.config["sample_size"] * pipeline.vae_scale_factor
                pipeline.reshape(batch_size=1, height=side, width=side, num_images_per_prompt=size)
                pipeline.compile()
                pipeline.set_progress_bar_config(disable=True)
                by_size[size] = pipeline
            by_size[size](
                prompt,
                num_inference_steps=int(steps),
                guidance_scale=float(guidance),
                num_images_per_prompt=size,
                output_type="np",
            )
        answers.write("done\n")
        answers.flush()


if __name__ == "__main__":
    main()
