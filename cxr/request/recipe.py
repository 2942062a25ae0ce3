"""Everything needed to make one image again, as one line of JSON; the only place where recipes are read and written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, get_type_hints

from cxr.request.errors import RequestError
from cxr.request.generation_request import GenerationRequest
from cxr.request.init_image import InitImage
from cxr.request.notices import DERIVED_NOTICE, DIGITAL_SOURCE_TYPE, SYNTHETIC_NOTICE
from cxr.request.recipe_checks import check_beginning, check_choice, check_counts, check_name, check_versions
from cxr.request.settings import SETTINGS, ImageSettings, unused_settings
from cxr.request.strict_json import unique_names

WEIGHT_DTYPES = ("float32", "float16", "bfloat16")
PYTORCH, OPENVINO, COMPILED = "pytorch", "openvino", "compiled"
ENGINES = (PYTORCH, OPENVINO, COMPILED)  # what runs the denoising network
MAX_RECIPE_CHARACTERS = 64_000
# In the order of a line of metadata.jsonl; a recipe as JSON has its keys sorted.
RECORDED_LIBRARIES = ("cxr", "torch", "diffusers", "transformers", "peft")
MAX_SHOWN_CHARACTERS = 40


@dataclass(frozen=True, kw_only=True)
class Recipe(ImageSettings):
    """Everything needed to make one image again, and to tell whether it is the same one; checked on creation.

    Args:
        scheduler: diffusers' class.
        model: name of the base model.
        model_revision: "hub:owner/name@commit" of the Hub or "sha256:<hex>" of a local model's weights.
        adapter: the LoRAs, or "none".
        adapter_sha256: of their files; empty without one.
        width, height: in pixels.
        weight_dtype: torch's name without the prefix, of `WEIGHT_DTYPES`.
        device: kind of the device, "cpu" for example.
        micro_batch_size: images that were denoised together, 1 to 64. It and the number of threads are part of the
            recipe because the last bits of a result depend on them.
        library_versions: by package.
        digital_source_type: IPTC's address for images like these.
        num_threads: of the CPU; 0 on other devices or where it is not known.
        init_image_sha256: of the picture that the image began from, as `InitImage` says it; empty where there is none.
            Recipes without one hold neither this nor strength, and mask_cells only beside surrounding_prompt.
        engine: what ran the denoising network, of `ENGINES`; recipes of PyTorch, the first one, do not hold it.

    Raises:
        RequestError: a value is not of its kind or outside its range; its field says which.
    """

    reword: bool = SETTINGS["reword"].before
    scheduler: str
    model: str
    model_revision: str
    adapter: str
    adapter_sha256: str
    width: int
    height: int
    weight_dtype: str
    device: str
    micro_batch_size: int
    library_versions: dict[str, str] = field(default_factory=dict)
    digital_source_type: str = DIGITAL_SOURCE_TYPE
    num_threads: int = 0
    init_image_sha256: str = ""
    engine: str = PYTORCH

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, kind in RECIPE_FIELDS.items():
            if kind is str and name not in SETTINGS:
                check_name(name, getattr(self, name))
        check_counts(self)
        check_choice("weight_dtype", self.weight_dtype, WEIGHT_DTYPES)
        check_choice("engine", self.engine, ENGINES)
        check_versions(self.library_versions)
        given = [name for name in self.unused if name in BEFORE and getattr(self, name) != BEFORE[name]]
        check_beginning(self.init_image_sha256, self.surrounding_prompt, self.digital_source_type, given)

    @property
    def is_derived(self) -> bool:
        """Whether the image began from a picture."""
        return bool(self.init_image_sha256)

    @property
    def unused(self) -> tuple[str, ...]:
        """Settings that say nothing of the image."""
        return unused_settings(begins_from_picture=self.is_derived, is_surrounded=bool(self.surrounding_prompt))

    @property
    def notice(self) -> str:
        """What files say of the image: that it is synthetic, and whether it is derived from a picture."""
        return DERIVED_NOTICE if self.is_derived else SYNTHETIC_NOTICE

    @property
    def values(self) -> dict[str, Any]:
        """All values by name, in the order in which files have them."""
        left_out = {*self.unused} | (set() if self.is_derived else {"init_image_sha256"})
        left_out |= {"engine"} if self.engine == PYTORCH else set()
        names = [name for name in RECIPE_FIELDS if name not in left_out]
        return {name: getattr(self, name) for name in names} | {"library_versions": dict(self.library_versions)}

    def to_json(self) -> str:
        """One line of JSON with sorted keys: equal recipes give equal text."""
        return json.dumps(self.values, ensure_ascii=False, sort_keys=True)

    @classmethod
    def from_json(cls, text: object) -> Recipe:
        """Read what ``to_json`` wrote, this version's or an older one's; the text may be anything.

        Raises:
            RequestError: it is not a recipe, or one whose values are not allowed.
        """
        if not isinstance(text, str):
            raise RequestError("the recipe is not text")
        if len(text) > MAX_RECIPE_CHARACTERS:
            raise RequestError(f"the recipe has more than {MAX_RECIPE_CHARACTERS:,} characters")
        try:
            values = json.loads(text, object_pairs_hook=unique_names)
        except (ValueError, RecursionError) as error:
            raise RequestError("the recipe is not the JSON that this program writes into its images") from error
        return cls.from_values(values)

    @classmethod
    def from_values(cls, values: object) -> Recipe:
        """Check the values of a recipe, as JSON or the line of a table gives them.

        Raises:
            RequestError: it is not a table of all values of a recipe and no others, or a value is not allowed.
        """
        if not isinstance(values, Mapping):
            raise RequestError("the recipe is not the JSON that this program writes into its images")
        derived, surrounded = bool(values.get("init_image_sha256")), bool(values.get("surrounding_prompt"))
        unused = unused_settings(begins_from_picture=derived, is_surrounded=surrounded)
        known = RECIPE_FIELDS.keys() - {name for name in unused if name in values and values[name] != BEFORE.get(name)}
        if unknown := sorted(str(name) for name in values if name not in known):
            name = " ".join(unknown[0].split())[:MAX_SHOWN_CHARACTERS]
            raise RequestError(f"the recipe has “{name}”, which newer versions may know")
        if missing := [name for name in RECIPE_FIELDS if name not in values and name not in BEFORE]:
            raise RequestError(f"the recipe has no {missing[0]}; values are missing")
        return cls(**{**BEFORE, **values})

    def request_from(self, init_image: InitImage | None = None) -> GenerationRequest:
        """The request for this image alone.

        Args:
            init_image: the picture that it began from; not used if there was none.
        Raises:
            RequestError: that picture is missing, or it is another one.
        """
        if not self.is_derived:
            return GenerationRequest(**self.image_settings)
        if init_image is None or init_image.sha256 != self.init_image_sha256:
            problem = "is missing" if init_image is None else f"is another picture (hash {init_image.sha256})"
            raise RequestError(f"{problem}; {needed_picture(self)}", field="init_image")
        return GenerationRequest(**self.image_settings, init_image=init_image)

    @property
    def model_source(self) -> str:
        """What finds the model again: its name, or of a Hub model without a name of ours the commit that was used."""
        return self.model_revision if self.model_revision.startswith(f"hub:{self.model}@") else self.model

    @property
    def sha256(self) -> str:
        """Fingerprint of the recipe text."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()


def needed_picture(recipe: Recipe) -> str:
    """What an image began from, as the beginning of a sentence."""
    return f"the image began from a picture with hash {recipe.init_image_sha256}"


BEGINNING_IN_RECIPES = ("strength", "mask_cells")
OF_DERIVED = (*BEGINNING_IN_RECIPES, "init_image_sha256")
NOT_IN_ALL = (*OF_DERIVED, "surrounding_prompt", "engine")
# Rows of metadata.jsonl and columns of Parquet have had this order from the beginning; what is new follows.
_FILE_ORDER = (
    *("prompt", "negative_prompt", "seed", "num_inference_steps", "guidance_scale", "scheduler", "model"),
    *("model_revision", "adapter", "adapter_sha256", "adapter_weight", "width", "height", "weight_dtype", "device"),
    *("micro_batch_size", "library_versions", "digital_source_type", "guidance_stop", "bit_depth", "num_threads"),
    *("reword", "sent_prompt"),
)
# Every field of a recipe and its type, in the order of files.
RECIPE_FIELDS: dict[str, type] = {
    name: get_type_hints(Recipe)[name]
    for name in dict.fromkeys((*_FILE_ORDER, *(entry.name for entry in fields(Recipe))))
}
# What recipes of older versions may lack, and what it was then.
BEFORE: dict[str, object] = {
    **{name: row.before for name, row in SETTINGS.items() if row.before is not None},
    "library_versions": {},
    "digital_source_type": DIGITAL_SOURCE_TYPE,
    "num_threads": 0,
    "init_image_sha256": "",
    "engine": PYTORCH,
}
