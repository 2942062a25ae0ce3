"""A process in the background that converts a UNet for OpenVINO and measures what is faster here, once on a machine.

``start_preparing`` starts ``python -m cxr.models.openvino.prepare``, which outlives a short command. It needs no
weights: random ones take as long as others.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial

import torch
from diffusers import UNet2DConditionModel

from cxr.folders.lock import locked
from cxr.images.atomic import make_folder
from cxr.models.decisions import decide_once
from cxr.models.devices import (
    DTYPE_VARIABLE,
    WORTHWHILE_SPEEDUP,
    best_seconds,
    cast_weights,
    choose_unet_dtype,
    run_step,
)
from cxr.models.openvino.graph import NUM_TOKENS, Graph, UNetConfig
from cxr.models.openvino.graph_cache import fingerprint, graphs_folder, keep_graph
from cxr.models.openvino.network import OpenVinoUnet, has_bfloat16
from cxr.request.errors import CxrError, ModelError
from cxr.request.limited_child import PACKAGE_PARENT
from cxr.request.recipe import OPENVINO, PYTORCH

LOCK_NAME = "preparing.lock"
PROBE_ROUNDS = 5
NICENESS = 10  # images that are being made meanwhile go first
CPU = torch.device("cpu")

_processes: list[subprocess.Popen[bytes]] = []  # kept, as nothing waits for them


def question_of(config: UNetConfig) -> str:
    """What is decided, for `cxr.models.decisions`."""
    return f"engine and number format of {fingerprint(config)}"


def start_preparing(config: UNetConfig) -> bool:
    """Start the process; whether that has worked. Of several for one cache all but the first end at once.

    Args:
        config: of the UNet, diffusers' own.
    """
    paths = [str(PACKAGE_PARENT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "HF_HUB_OFFLINE": "1"}
    environment.pop(DTYPE_VARIABLE, None)  # of this process; what is measured is for all
    facts = {name: value for name, value in config.items() if not name.startswith("_")}  # no paths
    command = [sys.executable, "-P", "-m", "cxr.models.openvino.prepare", json.dumps(facts, default=str)]
    nowhere = subprocess.DEVNULL
    try:
        process = subprocess.Popen(  # noqa: S603
            command, stdin=nowhere, stdout=nowhere, stderr=nowhere, env=environment, start_new_session=True
        )
        _processes.append(process)
    except OSError:
        return False
    return True


def prepare(config: UNetConfig) -> str:
    """Convert a UNet and decide what runs it here; gives the answer, "openvino float32" for example.

    A network that OpenVINO cannot convert stays with PyTorch. Nothing is done twice.
    """
    try:
        graph = keep_graph(config)
    except ModelError:
        return decide_once(question_of(config), lambda: PYTORCH, PYTORCH)
    return decide_once(question_of(config), partial(_fastest, config, graph), PYTORCH)


def _fastest(config: UNetConfig, graph: Graph) -> str:
    try:
        return _measured(config, graph)
    except RuntimeError:  # it can be converted and not be compiled
        return PYTORCH


@torch.inference_mode()
def _measured(config: UNetConfig, graph: Graph) -> str:
    unet = UNet2DConditionModel.from_config(config).eval()
    own_dtype = choose_unet_dtype(unet, CPU)
    candidates = {f"{OPENVINO} {name}": _openvino_step(unet, graph, name) for name in _dtypes()}
    cast_weights(unet, own_dtype)
    steps: dict[str, Callable[[], object]] = {PYTORCH: partial(run_step, unet), **candidates}
    best = dict(zip(steps, best_seconds(list(steps.values()), CPU, PROBE_ROUNDS), strict=True))
    fastest = min(candidates, key=best.__getitem__)
    return fastest if best[PYTORCH] / best[fastest] >= WORTHWHILE_SPEEDUP else PYTORCH


def _dtypes() -> list[str]:
    return ["float32", "bfloat16"] if has_bfloat16() else ["float32"]


def _openvino_step(unet: UNet2DConditionModel, graph: Graph, weight_dtype: str) -> Callable[[], object]:
    """A step on zeros as ``run_step`` takes it, compiled already."""
    cast_weights(unet, getattr(torch, weight_dtype))
    network, side = OpenVinoUnet(unet, graph), unet.config.sample_size
    sample = torch.zeros(2, unet.config.in_channels, side, side)
    text = torch.zeros(2, NUM_TOKENS, unet.config.cross_attention_dim)
    step = partial(network.predict, sample, torch.tensor(500), text)
    step()
    return step


def main(config: UNetConfig) -> None:
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    make_folder(graphs_folder())
    with locked(graphs_folder() / LOCK_NAME) as is_mine:
        if is_mine:
            prepare(config)


if __name__ == "__main__":
    try:
        main(json.loads(sys.argv[1]))
    except CxrError:
        sys.exit(1)  # a cache that cannot be written; PyTorch goes on
