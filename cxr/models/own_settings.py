"""Files in a model's folder that diffusers does not know: for previews, marks in pictures, gains of the steps."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, NotRequired, TypedDict, TypeVar

from cxr.images.pixel_mark import STRENGTHS
from cxr.models.families.folder_check import ModelFolder, read_model_settings
from cxr.models.step_gains import LIMITS, StepGains
from cxr.request.errors import ModelError

T = TypeVar("T")


class PreviewFile(TypedDict):
    """``preview.json``: weights of the latents' channels, and a bias."""

    weights: list[float]
    bias: float


class MarkFile(TypedDict):
    """``pixel_mark.json``: how strongly pictures are marked, in dB."""

    psnr: float


class StepGainsFile(TypedDict):
    """``step_gains.json``: a gain for each channel at each timestep, and of finished latents."""

    num_inference_steps: int
    timesteps: list[int]
    gains: list[list[float]]
    final: NotRequired[list[float]]


def read_preview_projection(model: ModelFolder) -> tuple[tuple[float, ...], float] | None:
    """The weights and the bias of ``preview.json``, if the model has one."""

    def read(settings: PreviewFile) -> tuple[tuple[float, ...], float]:
        return tuple(float(weight) for weight in settings["weights"]), float(settings["bias"])

    return _read_own(model, "preview.json", read, '{"weights": [numbers], "bias": number}')


def read_mark_psnr(model: ModelFolder) -> float | None:
    """How strongly ``pixel_mark.json`` says that pictures are marked, in dB; None where there is none."""

    def read(settings: MarkFile) -> float:
        psnr = float(settings["psnr"])
        if not STRENGTHS[0] <= psnr <= STRENGTHS[1]:
            raise ValueError
        return psnr

    form = f'{{"psnr": a number from {STRENGTHS[0]:g} to {STRENGTHS[1]:g}}}'
    return _read_own(model, "pixel_mark.json", read, form)


def read_step_gains(model: ModelFolder, num_channels: int, prediction_type: str | None) -> StepGains | None:
    """What ``step_gains.json`` says, if the model has one.

    Args:
        model: its folder.
        num_channels: of its latents.
        prediction_type: of its scheduler.
    """

    def read(settings: StepGainsFile) -> StepGains:
        timesteps = tuple(int(timestep) for timestep in settings["timesteps"])
        gains = tuple(tuple(float(gain) for gain in row) for row in settings["gains"])
        steps = int(settings["num_inference_steps"])
        final = tuple(float(gain) for gain in settings.get("final", ()))
        falls = all(later < earlier for earlier, later in pairwise(timesteps))
        rows = (*gains, final) if final else gains
        is_table = len(timesteps) == len(gains) > 0 and all(len(row) == num_channels for row in rows)
        if not (
            steps > 0 and falls and is_table and all(LIMITS[0] <= gain <= LIMITS[1] for row in rows for gain in row)
        ):
            raise ValueError
        return StepGains(steps, timesteps, gains, final)

    if prediction_type != "v_prediction" and (model.path / "step_gains.json").is_file():
        raise ModelError(f"step_gains.json is for models that predict velocities; this one predicts {prediction_type}")
    form = '{"num_inference_steps": N, "timesteps": [falling], "gains": [for each, 0.5 to 2 for each channel]}'
    return _read_own(model, "step_gains.json", read, form)


def _read_own(model: ModelFolder, name: str, read: Callable[[Any], T], form: str) -> T | None:
    """What a file says that diffusers does not know, or None where there is none; ``read`` fails at other forms."""
    if not (model.path / name).is_file():
        return None
    try:
        return read(read_model_settings(model, name))
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise ModelError(f"{name} of the model is not {form}") from error
