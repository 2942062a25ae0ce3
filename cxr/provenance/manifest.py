"""C2PA manifests of generated images: written into PNGs by the C2PA library, and read back from any picture.

Source: C2PA Technical Specification 2.1, 18.14 (actions, version 2: c2pa.created with a digitalSourceType); IPTC
Digital Source Type NewsCodes.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import c2pa

from cxr import __version__
from cxr.images.atomic import write_whole
from cxr.images.guarded import read_or_refuse
from cxr.images.png import read_recipe
from cxr.images.png_signature import unsigned_pieces
from cxr.provenance.keys import SigningKey
from cxr.provenance.signed_facts import INVALID, RECIPE_LABEL
from cxr.request.errors import DataError
from cxr.request.recipe import Recipe

MAX_BYTES = 256_000_000
MANIFEST_MARKS = (b"jumb", b"caBX")  # one of them stands in every picture with a manifest, and is never compressed
ALGORITHMS = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}


class Signer:
    """Signs PNGs of this program, and reads each one back before it takes the place of the unsigned file.

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
            DataError: the file is not a PNG of this program, or the library refuses it.
            OutputError: the disk refused it.
        """
        recipe = read_recipe(path)
        content = read_or_refuse(path, MAX_BYTES)
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
        if _unsigned(signed.getvalue()) != _unsigned(content):
            raise DataError(f"{path} could not be signed: the library would change more than the manifest")
        write_whole(path, signed.getvalue())
        return recipe


def manifest_of(recipe: Recipe) -> dict[str, object]:
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
    """All manifests of a picture as the library describes them; to be called in a limited process.

    Args:
        content: of the picture, which may come from anywhere.
        media_type: of `cxr.provenance.signed_facts.FORMATS`.
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
        if not any(mark in content for mark in MANIFEST_MARKS):
            return None  # what the library cannot read is the picture
        return {"validation_state": INVALID, "validation_status": [{"code": str(error)}]}


def _unsigned(content: bytes) -> bytes:
    return b"".join(unsigned_pieces(io.BytesIO(content)))


def _trusting(authorities: str) -> dict[str, object]:
    return {"trust": {"trust_anchors": authorities}, "verify": {"verify_trust": True}}


def _algorithm(key: SigningKey) -> Any:
    curve = getattr(key.key, "curve", None)
    if curve is None:
        return c2pa.C2paSigningAlg.PS256 if hasattr(key.key, "key_size") else c2pa.C2paSigningAlg.ED25519
    if curve.name not in ALGORITHMS:
        raise DataError(f"the key is of the curve {curve.name}; use P-256, P-384 or P-521")
    return getattr(c2pa.C2paSigningAlg, ALGORITHMS[curve.name])
