"""What a C2PA manifest says, out of what the C2PA library reports; the library itself is not needed here.

Source: C2PA Technical Specification 2.1, 18.14 (actions), 14 (signatures).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

RECIPE_LABEL = "org.cxr-studio.recipe"
TRUSTED, VALID, INVALID = "Trusted", "Valid", "Invalid"  # the library's own words
FORMATS = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
    ".tif": "image/tiff",
}


@dataclass(frozen=True)
class SignedFacts:
    """What a C2PA manifest says.

    Args:
        state: `TRUSTED` where a known authority vouches for the signer, `VALID` where nobody here knows it, `INVALID`
            where picture or manifest has changed since, or the signature is wrong.
        signer: as the certificate has it.
        generator: the program that made the claim.
        digital_source_types: IPTC's addresses, of all actions.
        recipe: text of this program's own assertion, or None.
        reasons: why it is invalid, in the library's codes.
    """

    state: str
    signer: str
    generator: str
    digital_source_types: tuple[str, ...]
    recipe: str | None
    reasons: tuple[str, ...]


def facts_of(store: Mapping[str, Any]) -> SignedFacts:
    """The active manifest of a store as the library describes it; a third party's may lack anything."""
    manifest = _table(_table(store.get("manifests")).get(str(store.get("active_manifest"))))
    assertions = {
        str(one.get("label")): _table(one.get("data")) for one in map(_table, manifest.get("assertions") or ())
    }
    actions = [
        _table(action)
        for label, data in assertions.items()
        if label.startswith("c2pa.actions")
        for action in data.get("actions") or ()
    ]
    signature = _table(manifest.get("signature_info"))
    generators = [_table(one) for one in manifest.get("claim_generator_info") or ()]
    recipe = assertions.get(RECIPE_LABEL, {}).get("recipe")
    return SignedFacts(
        state=str(store.get("validation_state") or INVALID),
        signer=str(signature.get("issuer") or signature.get("common_name") or "unknown")[:200],
        generator=" ".join(str(generators[0].get(name) or "") for name in ("name", "version")).strip()[:200]
        if generators
        else str(manifest.get("claim_generator") or "")[:200],
        digital_source_types=tuple(
            str(action["digitalSourceType"])[:200] for action in actions if action.get("digitalSourceType")
        ),
        recipe=recipe if isinstance(recipe, str) else None,
        reasons=tuple(str(_table(one).get("code"))[:200] for one in store.get("validation_status") or ()),
    )


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
