"""C2PA manifests of generated images: written into PNGs by the C2PA library, and read back from any picture.

Source: C2PA Technical Specification 2.1, 18.14 (actions, version 2: c2pa.created with a digitalSourceType); IPTC
Digital Source Type NewsCodes.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import c2pa

from cxr import __version__
from cxr.folders.metadata import file_sha256
from cxr.images.atomic import atomic_file
from cxr.images.guarded import read_regular, reason_of
from cxr.images.png import read_recipe
from cxr.provenance.keys import SigningKey
from cxr.request.errors import DataError, OutputError
from cxr.request.recipe import Recipe

RECIPE_LABEL = "org.cxr-studio.recipe"
TRUSTED, VALID, INVALID = "Trusted", "Valid", "Invalid"  # the library's own words
FORMATS = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
    ".tif": "image/tiff",
}
MAX_BYTES = 256_000_000
ALGORITHMS = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}


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


class Signer:
    """Signs PNGs of this program, and reads each one back before it takes the place of the unsigned file.

    Args:
        key: whose signature it is.
    Raises:
        DataError: the library refuses the key or its certificates.
    """

    def __init__(self, key: SigningKey) -> None:
        self.key = key
        info = c2pa.C2paSignerInfo(_algorithm(key), key.chain_pem, key.key_pem, None)
        anchor = key.chain_pem.decode()
        self._settings = {"builder": {"thumbnail": {"enabled": False}}, **_trusting(anchor)}
        try:
            self._signer = c2pa.Signer.from_info(info)
        except c2pa.C2paError as error:
            raise DataError(f"the C2PA library refuses the key or its certificates: {error}") from error

    def sign(self, path: Path) -> Recipe:
        """Put a manifest into a PNG, in place of one that it has.

        Returns:
            The recipe in it.
        Raises:
            DataError: the file is no PNG of this program, or the library refuses it.
            OutputError: the disk refused it.
        """
        recipe = read_recipe(path)
        content = _content(path)
        signed = io.BytesIO()
        try:
            context = c2pa.Context(c2pa.Settings.from_dict(self._settings))
            builder = c2pa.Builder(json.dumps(manifest_of(recipe)), context=context)
            builder.sign(self._signer, "image/png", io.BytesIO(content), signed)
            with c2pa.Reader("image/png", io.BytesIO(signed.getvalue()), context=context) as reader:
                state = reader.get_validation_state()
        except c2pa.C2paError as error:
            raise DataError(f"{path} could not be signed: {error}") from error
        if state == INVALID:
            raise DataError(f"{path} could not be signed: the library does not accept its own signature")
        before = file_sha256(path)
        with atomic_file(path) as file:
            file.write(signed.getvalue())
        if file_sha256(path) != before:
            raise OutputError(f"{path} has changed while it was being signed; make it again")
        return recipe


def manifest_of(recipe: Recipe) -> dict[str, Any]:
    """The manifest of an image: what made it, from what, and of which kind it is."""
    agent = {"name": "CXR Studio", "version": __version__}
    model = {"model": recipe.model, "revision": recipe.model_revision}
    model |= {"adapter": recipe.adapter, "adapter_sha256": recipe.adapter_sha256}
    created = {
        "action": "c2pa.created",
        "digitalSourceType": recipe.digital_source_type,
        "softwareAgent": agent,
        "parameters": {"org.cxr-studio.model": model},
    }
    return {
        "claim_generator_info": [agent],
        "title": "Synthetic chest radiograph",
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": [created]}},
            {"label": RECIPE_LABEL, "data": {"recipe": recipe.to_json()}},
        ],
    }


def read_store(content: bytes, media_type: str, authorities: str) -> dict[str, Any] | None:
    """All manifests of a picture as the library tells of them; to be called in a limited process.

    Args:
        content: of the picture, which may be anybody's.
        media_type: of `FORMATS`.
        authorities: PEM of the certificates that are trusted; empty for none.
    Returns:
        None if it has no manifest.
    """
    context = c2pa.Context(c2pa.Settings.from_dict(_trusting(authorities) if authorities else {}))
    try:
        with c2pa.Reader(media_type, io.BytesIO(content), context=context) as reader:
            store: dict[str, Any] = json.loads(reader.json())
            return store
    except c2pa.C2paError.ManifestNotFound:
        return None
    except c2pa.C2paError as error:
        return {"validation_state": INVALID, "validation_status": [{"code": str(error)}]}


def facts_of(store: Mapping[str, Any]) -> SignedFacts:
    """The active manifest of a store as the library describes it; a stranger's may lack anything."""
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


def _trusting(authorities: str) -> dict[str, Any]:
    return {"trust": {"trust_anchors": authorities}, "verify": {"verify_trust": True}}


def _algorithm(key: SigningKey) -> Any:
    curve = getattr(key.key, "curve", None)
    if curve is None:
        return c2pa.C2paSigningAlg.PS256 if hasattr(key.key, "key_size") else c2pa.C2paSigningAlg.ED25519
    if curve.name not in ALGORITHMS:
        raise DataError(f"the key is of the curve {curve.name}; use P-256, P-384 or P-521")
    return getattr(c2pa.C2paSigningAlg, ALGORITHMS[curve.name])


def _content(path: Path) -> bytes:
    try:
        return read_regular(path, MAX_BYTES)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {reason_of(error)}") from error
