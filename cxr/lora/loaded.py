"""The LoRAs of one pipeline: loaded, added to the weights, switched and taken out, so that the base keeps its bits.

Extra layers cost a small model a fifth of its speed; their product added to the weights costs nothing.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping

from diffusers import DiffusionPipeline
from peft.tuners.lora import Conv2d, Linear
from safetensors.torch import load as load_safetensors
from torch import Tensor, nn

from cxr.lora.choice import AdapterChoice, format_adapters
from cxr.lora.find import AdapterFile
from cxr.lora.fit import check_fits, layers_in_model, name_in_model, networks_of, peft_settings
from cxr.lora.lora_file import LoraFile
from cxr.models.devices import cast_weights
from cxr.models.model_folder import no_progress_bars
from cxr.request.errors import AdapterError
from cxr.request.model_info import AdapterInfo

ADAPTER_NAME = "cxr"  # peft's internal name of the first LoRA; those after it get a number


class LoadedAdapters:
    """The LoRAs in a pipeline, in the order in which they were named.

    Whoever calls a method holds the model's lock.

    Args:
        pipeline: without any LoRA.
    """

    def __init__(self, pipeline: DiffusionPipeline) -> None:
        self.pipeline = pipeline
        self.weight: float | None = None  # None: never set, nothing is merged
        self._files: tuple[AdapterFile, ...] = ()
        self._originals: list[tuple[nn.Parameter, Tensor]] = []  # what the base has in place of a merged weight

    @property
    def infos(self) -> tuple[AdapterInfo, ...]:
        """Descriptions of the loaded LoRAs."""
        return tuple(file.info for file in self._files)

    @property
    def recipe_fields(self) -> tuple[str, str]:
        """``adapter`` and ``adapter_sha256`` of recipes: names with weights, and hashes joined by commas."""
        if not self._files:
            return "none", ""
        choices = [AdapterChoice(file.info.name, file.weight) for file in self._files]
        return format_adapters(choices), ",".join(info.sha256 for info in self.infos)

    def load(self, files: tuple[AdapterFile, ...]) -> None:
        """Put LoRAs into the pipeline in place of the present ones; if one does not fit, the present ones stay.

        Args:
            files: as ``cxr.lora.find.read_adapters`` gives them.
        Raises:
            AdapterError: one of them is made for another model, or its file has changed since.
        """
        for file in files:
            check_fits(self.pipeline, file.lora, file.info.name)
        before = self._files
        self.unload()
        try:
            self._load_all(files)
        except BaseException:
            with contextlib.suppress(AdapterError):  # its file may have gone; then the base is left alone
                self._load_all(before)
            raise

    def unload(self) -> None:
        """Take the LoRAs out again, without a trace."""
        self.unmerge()
        if self._files:
            self.pipeline.unload_lora_weights()
        self._files = ()

    def set_weight(self, weight: float) -> bool:
        """Scale all LoRAs on top of their own weights; at 0 the result is the base model's, bit by bit.

        Args:
            weight: 0 to 2; ignored when no LoRA is loaded.
        Returns:
            Whether anything changed.
        """
        if not self._files or weight == self.weight:
            return False
        self.unmerge()
        used = {name: scale for name, scale in self._scales(weight).items() if scale}
        try:
            for layer in adapted_layers(self.pipeline):
                self._merge(layer, {name: scale for name, scale in used.items() if name in layer.lora_A})
        except BaseException:
            self.unmerge()
            raise
        self.pipeline.disable_lora()  # the layers of the LoRAs themselves have nothing more to add
        self.weight = weight
        return True

    def unmerge(self) -> None:
        """Put the base's own weights back; the LoRAs stay attached and switched off."""
        for parameter, original in self._originals:
            parameter.data = original
        self._originals, self.weight = [], None

    def _merge(self, layer: Linear | Conv2d, scales: Mapping[str, float]) -> None:
        if not scales:
            return
        parameter = _weight_of(layer)
        total = parameter.data.float()
        for name, scale in scales.items():
            layer.set_scale(name, scale)
            total = total + layer.get_delta_weight(name).float()
        self._originals.append((parameter, parameter.data))
        parameter.data = total.to(parameter.data)

    def _load_all(self, files: tuple[AdapterFile, ...]) -> None:
        try:
            for name, file in zip(_peft_names(len(files)), files, strict=True):
                load_layers(self.pipeline, file.lora, file.info.name, name)
        except BaseException:
            self.pipeline.unload_lora_weights()  # a half-loaded LoRA leaves its layers behind
            raise
        for layer in adapted_layers(self.pipeline):
            for matrix in (*layer.lora_A.values(), *layer.lora_B.values()):
                cast_weights(matrix, _weight_of(layer).dtype)  # as the rest of the network
        self._files = files

    def _scales(self, weight: float) -> dict[str, float]:
        """Peft's name of each LoRA and its strength."""
        names = _peft_names(len(self._files))
        return {name: weight * file.weight for name, file in zip(names, self._files, strict=True)}


def load_layers(pipeline: DiffusionPipeline, file: LoraFile, name: str, adapter_name: str) -> None:
    """Load the LoRA's layers beside the weights of the networks that it changes.

    Args:
        pipeline: which ``check_fits`` found to fit.
        file: the checked file.
        name: what to call it in messages.
        adapter_name: peft's name for it, not in use yet.
    Raises:
        AdapterError: the file has changed since, or peft refused it; a part of the LoRA may be attached.
    """
    networks, tensors = networks_of(pipeline), load_safetensors(file.read_content())
    state = {}
    for key, (component, module, part) in file.names.items():
        state[f"{component}.{name_in_model(networks.get(component), component, module)}.{part}"] = tensors[key]
    try:
        for component in file.components:
            settings = peft_settings(component, layers_in_model(pipeline, file, component))
            options = {"adapter_name": adapter_name, "metadata": settings, "_pipeline": pipeline}
            with no_progress_bars(), warnings.catch_warnings():
                # Several LoRAs in one network are meant.
                warnings.filterwarnings("ignore", "Already found a `peft_config` attribute", UserWarning)
                if component == "unet":
                    pipeline.load_lora_into_unet(state, None, unet=networks[component], **options)
                elif component == "transformer":
                    pipeline.load_lora_into_transformer(state, transformer=networks[component], **options)
                else:
                    encoder = {"text_encoder": networks[component], "prefix": component}
                    pipeline.load_lora_into_text_encoder(state, None, **encoder, **options)
    except Exception as error:
        raise AdapterError(f"LoRA {name!r} cannot be loaded into this model: {error}") from error


def adapted_layers(pipeline: DiffusionPipeline) -> Iterator[Linear | Conv2d]:
    """The layers that carry LoRAs."""
    for network in networks_of(pipeline).values():
        for module in network.modules():
            if isinstance(module, Linear | Conv2d):
                yield module


def _weight_of(layer: Linear | Conv2d) -> nn.Parameter:
    """The base model's weight of a layer."""
    weight = layer.get_base_layer().weight
    assert isinstance(weight, nn.Parameter), "a layer that takes a LoRA has a weight"
    return weight


def _peft_names(count: int) -> list[str]:
    return [ADAPTER_NAME, *(f"{ADAPTER_NAME}_{number}" for number in range(1, count))][:count]
