"""Which base model and which LoRA answer, described without loading them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

EARLIER_FOLDER = "earlier/cxr/embedded"
EARLIER_ADAPTER = "local:earlier/lora_weights/clinical"  # of that time


@dataclass(frozen=True)
class EarlierWeights:
    """A commit of the program's repository, and the weights in it that have shipped with the program and no longer do.

    Args:
        commit: the last one that holds them.
        model_revision: None while the model still ships.
        adapter_sha256: "" where the model alone tells the commit.
    """

    commit: str
    model_revision: str | None
    adapter_sha256: str = ""


# The newest first: of one model without a LoRA that is known, it is named.
EARLIER = (
    EarlierWeights("9a17c91", None, "00263d331fb80c171a053b64799295bcffdef03a8bc10b9e5dc545d1c95c2bf8"),  # 1.2.0
    EarlierWeights(  # 1.1.0 and 1.1.1
        "20f7a24",
        "sha256:5e07628a4fcf34304777aef4d9e96c888a8cd6131654c47983bbaab93199d77d",
        "6f7d54b21f72f86f08f5cdaa276edf2de0aea1e955c1fa000f78d94eeea77281",
    ),
    EarlierWeights(  # 1.0.0
        "38726d7",
        "sha256:5e07628a4fcf34304777aef4d9e96c888a8cd6131654c47983bbaab93199d77d",
        "7af53e1491744abed73ed498320e026adb79447d9a13a60e6115387526be6368",
    ),
    EarlierWeights("b0382da", "sha256:509c6f5401cd210ae9df5d6137c34339323ba804af974341ba8b38cb1e565e2d"),  # 0.9.0
    EarlierWeights(
        "dbef4b6", "sha256:302931fb4f35cce0d51cff37969e6795f51782fd7a99275c99bd4b51894a8467"
    ),  # 0.4.0 to 0.6.0
)


def is_earlier_model(model_revision: str) -> bool:
    """Whether a model shipped with the program, and no longer does."""
    return any(weights.model_revision == model_revision for weights in EARLIER)


def earlier_commit(model_revision: str, adapter_sha256: str) -> str | None:
    """The commit that holds weights which no longer ship with the program; None for all others.

    It holds the model, and of those that do the one with the LoRA; for other models the LoRA alone.

    Args:
        model_revision: as a recipe names it.
        adapter_sha256: as a recipe names it, hashes joined by commas.
    """
    loras = set(adapter_sha256.split(",")) - {""}
    hits = [(weights.model_revision == model_revision, weights.adapter_sha256 in loras) for weights in EARLIER]
    best = max(hits)
    return EARLIER[hits.index(best)].commit if any(best) else None


def where_to_find(model_revision: str, adapter_sha256: str) -> str:
    """How to get weights that no longer ship with the program, in one sentence; "" for all others."""
    if (commit := earlier_commit(model_revision, adapter_sha256)) is None:
        return ""
    model = f"--model {EARLIER_FOLDER} and, for the LoRA clinical, " if is_earlier_model(model_revision) else ""
    return (
        f"commit {commit} of this program's repository holds the weights that it was made with: run "
        f"“git worktree add earlier {commit}”, then use {model}--adapter {EARLIER_ADAPTER}"
    )


@dataclass(frozen=True)
class ModelInfo:
    """Which base model and which LoRA answer, for the page, the API and the recipes.

    ``model_revision`` is "hub:owner/name@commit" of the Hub or "sha256:<hex>" of a local model's weights.
    ``adapter`` is "none" and ``adapter_sha256`` is "" when no LoRA is loaded. ``engine`` is what runs the denoising
    network, of `cxr.request.recipe.ENGINES`.
    """

    model: str
    model_revision: str
    adapter: str
    adapter_sha256: str
    resolution: int
    scheduler: str
    weight_dtype: str
    device: str
    engine: str = "pytorch"

    @property
    def in_recipes(self) -> dict[str, Any]:
        """What recipes repeat of it, by name; the resolution is their width and height."""
        return {name: value for name, value in vars(self).items() if name != "resolution"}


@dataclass(frozen=True)
class AdapterInfo:
    """One LoRA file, described without loading it into a model.

    ``rank`` is the largest and ``min_rank`` the smallest of its layers. Without an alpha in the file ``has_alpha`` is
    False and ``lora_alpha`` is the rank. What the card says (base, licence, data) is plain text by third parties.
    """

    name: str
    path: Path
    sha256: str
    rank: int
    lora_alpha: float
    num_tensors: int
    size_bytes: int
    base_model: str = "unknown"
    license: str = "unknown"
    notes: tuple[str, ...] = ()
    training_data: str = "unknown"
    components: tuple[str, ...] = ()
    num_layers: int = 0
    min_rank: int = 0
    has_alpha: bool = True
