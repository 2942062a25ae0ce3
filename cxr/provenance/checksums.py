"""One signed list of a folder's files, in the form that ``sha256sum -c`` and ``openssl dgst -verify`` read.

It covers what has no place for a C2PA manifest: DICOM files, shards, tables. Three files: the list, its signature, and
the certificates of whoever signed.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.x509.oid import NameOID

from cxr.folders.metadata import CHECKSUMS_NAME, CHECKSUMS_NAMES
from cxr.images.atomic import write_whole
from cxr.images.guarded import open_regular, read_or_refuse, reason_of
from cxr.provenance.keys import SigningKey, read_certificates
from cxr.request.errors import DataError

MAX_BYTES = 200_000_000  # a list of two million files


@dataclass(frozen=True)
class SignedList:
    """A list that was read back.

    Args:
        sha256: by name in the folder, in hex.
        signer: as the certificate has it.
        is_valid: whether the signature is that of the list.
        is_trusted: whether a known authority vouches for the signer.
    """

    sha256: dict[str, str]
    signer: str
    is_valid: bool
    is_trusted: bool


def write_list(folder: Path, key: SigningKey) -> int:
    """List every file of a folder, and sign the list.

    Returns:
        How many files it names.
    Raises:
        DataError: a file cannot be read.
        OutputError: the disk refused it.
    """
    rows = [f"{raw_sha256(path)}  {path.relative_to(folder).as_posix()}\n" for path in _files(folder)]
    content = "".join(rows).encode()
    parts = (content, _sign(key, content), key.chain_pem)
    for name, part in zip(CHECKSUMS_NAMES, parts, strict=True):
        write_whole(folder / name, part)
    return len(rows)


def read_list(folder: Path, authorities: bytes) -> SignedList | None:
    """Read the list of a folder, which may come from anywhere.

    Args:
        folder: that it lies in.
        authorities: PEM of the certificates that are trusted; empty for none.
    Returns:
        None if the folder has none.
    Raises:
        DataError: it cannot be read, or is not what ``write_list`` writes.
    """
    if not (folder / CHECKSUMS_NAME).exists():
        return None
    content, signature = (read_or_refuse(folder / name, MAX_BYTES) for name in CHECKSUMS_NAMES[:2])
    chain = read_certificates(folder / CHECKSUMS_NAMES[2])
    trusted = set(x509.load_pem_x509_certificates(authorities)) if authorities else set()
    return SignedList(
        _parse(content, folder / CHECKSUMS_NAME),
        _name_of(chain[0]),
        _is_valid(chain[0], content, signature),
        bool(trusted) and _leads_to(chain, trusted),
    )


def changed_files(folder: Path, signed: SignedList) -> Iterator[str]:
    """One line for each file that is not as the list has it, is gone, or that it does not name."""
    found = {path.relative_to(folder).as_posix(): path for path in _files(folder)}
    for name, sha256 in signed.sha256.items():
        if name not in found:
            yield f"{folder / name} is missing, {CHECKSUMS_NAME} names it"
        elif raw_sha256(found[name]) != sha256:
            yield f"{folder / name} has changed since {CHECKSUMS_NAME} was signed"
    for name in sorted(found.keys() - signed.sha256.keys()):
        yield f"{folder / name} is not in {CHECKSUMS_NAME}"


def _files(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and not (Path(place) == folder and name in CHECKSUMS_NAMES):
                yield Path(place, name)


def raw_sha256(path: Path) -> str:
    """SHA-256 of a file as it lies there, manifest and all, in hex.

    Raises:
        DataError: it cannot be read.
    """
    try:
        with open_regular(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {reason_of(error)}") from error


def _parse(content: bytes, path: Path) -> dict[str, str]:
    rows: dict[str, str] = {}
    for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), start=1):
        sha256, _, name = line.partition("  ")
        if len(sha256) != 64 or not name or name in rows:
            raise DataError(f"{path} line {number} is not a SHA-256, two spaces and a name that appears once")
        rows[name] = sha256
    return rows


def _sign(key: SigningKey, content: bytes) -> bytes:
    private = key.key
    if isinstance(private, ec.EllipticCurvePrivateKey):
        return private.sign(content, ec.ECDSA(hashes.SHA256()))
    if isinstance(private, rsa.RSAPrivateKey):
        return private.sign(content, padding.PKCS1v15(), hashes.SHA256())
    return private.sign(content)


def _is_valid(certificate: x509.Certificate, content: bytes, signature: bytes) -> bool:
    public = certificate.public_key()
    try:
        if isinstance(public, ec.EllipticCurvePublicKey):
            public.verify(signature, content, ec.ECDSA(hashes.SHA256()))
        elif isinstance(public, rsa.RSAPublicKey):
            public.verify(signature, content, padding.PKCS1v15(), hashes.SHA256())
        elif isinstance(public, ed25519.Ed25519PublicKey):
            public.verify(signature, content)
        else:
            return False
    except InvalidSignature:
        return False
    return True


def _leads_to(chain: tuple[x509.Certificate, ...], trusted: set[x509.Certificate]) -> bool:
    """Whether each certificate is signed by the next, up to one that is trusted."""
    for certificate, issuer in zip(chain, (*chain[1:], None), strict=True):
        if certificate in trusted:
            return True
        if issuer is None:
            return any(_is_issued_by(certificate, authority) for authority in trusted)
        if not _is_issued_by(certificate, issuer):
            return False
    return False


def _is_issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
        return bool(issuer.extensions.get_extension_for_class(x509.BasicConstraints).value.ca)
    except (InvalidSignature, UnsupportedAlgorithm, TypeError, ValueError, x509.ExtensionNotFound):
        return False


def _name_of(certificate: x509.Certificate) -> str:
    names = certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    names += certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value)[:200] if names else "unknown"
