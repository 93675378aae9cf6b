"""The keys of the local cluster: a token, and a certificate of its own for 127.0.0.1.

kubectl sends a token over TLS only, so the loopback port speaks TLS; its certificate is made here, trusted by the
kubeconfig alone, and never leaves the cluster's folder.
"""

from __future__ import annotations

import ipaddress
import os
import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydantic import BaseModel, ConfigDict, SecretStr

_LIFE = timedelta(days=365)
_RENEW = timedelta(days=30)


class ApiAccess(BaseModel):
    """Token and certificate of one cluster; the files are readable by their user only."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    token: SecretStr
    certificate: Path
    key: Path

    @classmethod
    def open(cls, folder: Path) -> ApiAccess:
        """The access kept in `folder`; made where there is none, renewed before it runs out."""
        folder.mkdir(parents=True, exist_ok=True)
        certificate, key, token = folder / "api.crt", folder / "api.key", folder / "api.token"
        if not _fresh(certificate, key):
            _issue(certificate, key)
        text = token.read_text(encoding="ascii").strip() if token.is_file() else ""
        if len(text) < 32:
            text = secrets.token_urlsafe(32)
            write_private(token, text.encode())
        return cls(token=SecretStr(text), certificate=certificate, key=key)


def write_private(path: Path, data: bytes) -> None:
    """Write a file that only its user can read, whole or not at all."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(data)
    temporary.replace(path)


def _fresh(certificate: Path, key: Path) -> bool:
    from cryptography import x509

    if not key.is_file():
        return False
    try:
        found = x509.load_pem_x509_certificate(certificate.read_bytes())
    except (OSError, ValueError):
        return False
    return found.not_valid_after_utc > datetime.now(UTC) + _RENEW


def _issue(certificate: Path, key: Path) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID

    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "hallmark local cluster")])
    names = [
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
        x509.IPAddress(ipaddress.ip_address("::1")),
        x509.DNSName("localhost"),
    ]
    public = private.public_key()
    now = datetime.now(UTC)
    usage = x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        crl_sign=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + _LIFE)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
        .sign(private, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    write_private(key, private.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    write_private(certificate, made.public_bytes(pem))
