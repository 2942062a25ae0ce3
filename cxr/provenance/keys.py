"""Whose signature it is: the user's own key and certificate, or a pair that this machine makes for itself.

The C2PA library refuses a certificate that has signed itself, so that this machine's comes from a certificate authority
of its own, whose key is thrown away once it has signed that one certificate.

Source: C2PA Technical Specification 2.1, 14.5 (X.509 certificate profile); RFC 5280.
"""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cxr.images.atomic import atomic_file, cannot_write, write_whole
from cxr.images.guarded import read_or_refuse
from cxr.provenance.log import make_signing_folder, signing_folder
from cxr.request.errors import DataError

KEY_NAME, CERTIFICATES_NAME = "key.pem", "certificates.pem"
MAX_BYTES = 100_000
VALID_DAYS = 3_650
ORGANIZATION = "CXR Studio, key made on this machine"  # readers show it as the signer
UNREADABLE = (
    *(TypeError, ValueError, UnsupportedAlgorithm),
    *(x509.InvalidVersion, x509.DuplicateExtension, x509.UnsupportedGeneralNameType),
)
PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey


@dataclass(frozen=True)
class SigningKey:
    """A private key, and the certificates that say whose it is.

    Args:
        key: of RSA, of the curves P-256, P-384 and P-521, or Ed25519.
        certificates: the key's own first, then those that lead to its authority.
        is_own: whether this machine made them for itself, so that nobody else vouches for the name in them.
    """

    key: PrivateKey
    certificates: tuple[x509.Certificate, ...]
    is_own: bool = False

    @property
    def chain_pem(self) -> bytes:
        """The certificates as a PEM file."""
        return pem_of(self.certificates)

    @property
    def key_pem(self) -> bytes:
        """The key as a PEM file, not encrypted."""
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )


def own_key() -> SigningKey:
    """The pair of this machine, made when it is first needed or when it has run out.

    Raises:
        DataError: it is damaged.
        OutputError: it cannot be written.
    """
    folder = signing_folder()
    key, certificates = folder / KEY_NAME, folder / CERTIFICATES_NAME
    if not (key.exists() and certificates.exists()) or _has_expired(read_certificates(certificates)[0]):
        _make_pair(make_signing_folder())
    found = read_key(key, certificates)
    return SigningKey(found.key, found.certificates, is_own=True)


def read_key(key: Path, certificates: Path) -> SigningKey:
    """Read a user's key and certificates.

    Args:
        key: PEM file, not encrypted.
        certificates: PEM file, the key's own certificate first.
    Raises:
        DataError: one cannot be read, or they do not belong together.
    """
    try:
        private = serialization.load_pem_private_key(read_or_refuse(key, MAX_BYTES), password=None)
    except TypeError as error:
        raise DataError(
            f"{key} is encrypted; use a key without a password, in a file that only you can read"
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise DataError(f"{key} holds no private key in PEM format, or one of a kind that is not known") from error
    if not isinstance(private, PrivateKey):
        raise DataError(f"{key} is of a kind that C2PA does not know; use RSA, P-256, P-384, P-521 or Ed25519")
    chain = read_certificates(certificates)
    if chain[0].public_key() != private.public_key():
        raise DataError(f"{certificates} does not begin with the certificate of {key}")
    return SigningKey(private, chain)


def read_certificates(path: Path) -> tuple[x509.Certificate, ...]:
    """Read a PEM file of certificates.

    Raises:
        DataError: it cannot be read, holds none, or one that is damaged or of a kind that is not known.
    """
    try:
        chain = tuple(x509.load_pem_x509_certificates(read_or_refuse(path, MAX_BYTES)))
        for one in chain:  # these are only looked at when they are first asked for
            one.public_key(), one.subject, one.issuer, one.extensions
    except UNREADABLE as error:
        raise DataError(f"{path} holds no certificate in PEM format, or one of a kind that is not known") from error
    return chain


def known_authorities() -> bytes:
    """PEM of the authority of this machine's own key; empty before it has one."""
    path = signing_folder() / CERTIFICATES_NAME
    if not path.exists():
        return b""
    return pem_of(read_certificates(path)[-1:])


def pem_of(certificates: Iterable[x509.Certificate]) -> bytes:
    """Certificates as a PEM file."""
    return b"".join(one.public_bytes(serialization.Encoding.PEM) for one in certificates)


def _has_expired(certificate: x509.Certificate) -> bool:
    return certificate.not_valid_after_utc <= datetime.datetime.now(datetime.UTC)


def _make_pair(folder: Path) -> None:
    authority, leaf = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    name = name_of("certificate authority")
    own = make_certificate(name, name, authority.public_key(), authority)
    signer = make_certificate(name_of("signer"), name, leaf.public_key(), authority)
    with contextlib.suppress(OSError):
        folder.chmod(0o700)
    pair = SigningKey(leaf, (signer, own))
    write_whole(folder / CERTIFICATES_NAME, pair.chain_pem)
    with atomic_file(folder / KEY_NAME) as file:
        _keep_private(file.fileno(), folder / KEY_NAME)
        file.write(pair.key_pem)


def _keep_private(descriptor: int, path: Path) -> None:
    if os.name != "posix":
        return  # Windows gives a user's files to that user alone
    try:
        os.fchmod(descriptor, 0o600)
    except OSError as error:
        raise cannot_write(path, error) from error


def name_of(role: str) -> x509.Name:
    """The name that readers show of this machine's own certificates."""
    return x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, ORGANIZATION), x509.NameAttribute(NameOID.COMMON_NAME, role)]
    )


def make_certificate(
    subject: x509.Name, issuer: x509.Name, public: PublicKey, authority: ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    """Have an authority say whose a key is; where subject and issuer are one, it is the authority's own certificate."""
    now, is_authority = datetime.datetime.now(datetime.UTC), subject == issuer
    usage = dict.fromkeys(_USAGES, False) | dict.fromkeys(_AUTHORITY if is_authority else _SIGNER, True)
    builder = (
        x509.CertificateBuilder(issuer, subject, public, x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=VALID_DAYS))
        .add_extension(x509.BasicConstraints(is_authority, 0 if is_authority else None), critical=True)
        .add_extension(x509.KeyUsage(**usage), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()), critical=False)
    )
    if not is_authority:  # C2PA asks for one of a few purposes, and this is the one that needs no list of its own
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
    return builder.sign(authority, hashes.SHA256())


_SIGNER, _AUTHORITY = ("digital_signature",), ("key_cert_sign", "crl_sign")
_USAGES = (
    *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
    *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
)
