"""Files in a model's folder that diffusers does not know: how to show a preview, and whether pictures are marked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from cxr.images.pixel_mark import STRENGTHS
from cxr.models.families.folder_check import ModelFolder, read_settings
from cxr.request.errors import ModelError

T = TypeVar("T")


def read_preview_projection(model: ModelFolder) -> tuple[tuple[float, ...], float] | None:
    """The weights and the bias of ``preview.json``, if the model has one."""

    def read(settings: Mapping[str, Any]) -> tuple[tuple[float, ...], float]:
        return tuple(float(weight) for weight in settings["weights"]), float(settings["bias"])

    return _read_own(model, "preview.json", read, '{"weights": [numbers], "bias": number}')


def read_mark_psnr(model: ModelFolder) -> float | None:
    """How strongly ``pixel_mark.json`` says that pictures are marked, in dB; None where there is none."""

    def read(settings: Mapping[str, Any]) -> float:
        psnr = float(settings["psnr"])
        if not STRENGTHS[0] <= psnr <= STRENGTHS[1]:
            raise ValueError
        return psnr

    form = f'{{"psnr": a number from {STRENGTHS[0]:g} to {STRENGTHS[1]:g}}}'
    return _read_own(model, "pixel_mark.json", read, form)


def _read_own(model: ModelFolder, name: str, read: Callable[[Mapping[str, Any]], T], form: str) -> T | None:
    """What a file says that diffusers does not know, or None where there is none."""
    if not (model.path / name).is_file():
        return None
    try:
        return read(read_settings(model, name))
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise ModelError(f"{name} of the model is not {form}") from error
