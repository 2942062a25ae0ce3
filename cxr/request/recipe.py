"""Everything needed to make one image again, as one line of JSON."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field

from cxr.request.errors import RequestError

SYNTHETIC_NOTICE = "Synthetic images, made by a generative model. Not for diagnosis."
DIGITAL_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"


@dataclass(frozen=True)
class Recipe:
    """Everything needed to make one image again, and to tell whether it is the same one.

    ``library_versions`` maps package name to version. ``weight_dtype`` is torch's name without the prefix ("float32").
    ``micro_batch_size`` and ``num_threads`` (of the CPU; 0 on other devices or where it is not known) are part of the
    recipe because the last bits of a result depend on them.
    """

    prompt: str
    negative_prompt: str
    seed: int
    num_inference_steps: int
    guidance_scale: float
    scheduler: str
    model: str
    model_revision: str
    adapter: str
    adapter_sha256: str
    adapter_weight: float
    width: int
    height: int
    weight_dtype: str
    device: str
    micro_batch_size: int
    library_versions: dict[str, str] = field(default_factory=dict)
    digital_source_type: str = DIGITAL_SOURCE_TYPE
    guidance_stop: float = 1.0  # these have defaults: images made before they existed had no others
    bit_depth: int = 8
    num_threads: int = 0

    def to_json(self) -> str:
        """One line of JSON with sorted keys: equal recipes give equal text."""
        return json.dumps(asdict(self), ensure_ascii=False, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Recipe:
        """Read what ``to_json`` wrote.

        Raises:
            RequestError: the text is not a recipe.
        """
        try:
            return cls(**json.loads(text))
        except (TypeError, ValueError) as error:
            raise RequestError("the recipe text is not the JSON that this program writes into its images") from error

    @property
    def model_source(self) -> str:
        """What finds the model again: its name, or of a Hub model without a name of ours the commit that was used."""
        return self.model_revision if self.model_revision.startswith(f"hub:{self.model}@") else self.model

    @property
    def sha256(self) -> str:
        """Fingerprint of the recipe text."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()
