"""Certificates and tokens of one test cluster, made anew each time."""

from __future__ import annotations

import ipaddress
import secrets
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

ADDRESS, SERVICE = "10.0.0.1", "10.96.0.1"
"""The API server's own address, and that of the Service `kubernetes`."""
MASTERS = "system:masters"
USERS = {
    "admin": MASTERS,
    "system:kube-controller-manager": "",
    "system:kube-scheduler": "",
    "system:serviceaccount:kserve:kserve-controller-manager": MASTERS,
    "system:serviceaccount:knative-serving:controller": MASTERS,
    "system:serviceaccount:istio-system:istiod": MASTERS,
    "node-agent": MASTERS,
    "gateway": MASTERS,
}
"""Who has a token, and a group."""
_NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "conformance")])


class Credentials:
    """A certificate authority, the API server's certificate (which KServe's webhooks show too), a key for tokens of accounts."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._root = ec.generate_private_key(ec.SECP256R1())
        self.tokens = {user: secrets.token_hex(16) for user in USERS}
        self.authority = folder / "ca.crt"
        self.certificate, self.key = folder / "tls.crt", folder / "tls.key"
        self.signer = folder / "accounts.key"
        self.passwords = folder / "tokens.csv"
        self._write()

    def kubeconfig(self, user: str) -> Path:
        """A kubeconfig of one of `USERS`."""
        return self.kubeconfig_of(user.rpartition(":")[2], self.tokens[user])

    def kubeconfig_of(self, name: str, token: str) -> Path:
        """A kubeconfig with a token, in a file of that name."""
        path = self.folder / f"{name}.kubeconfig"
        cluster = {"server": "https://127.0.0.1:6443", "certificate-authority": str(self.authority)}
        written = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "real",
            "clusters": [{"name": "real", "cluster": cluster}],
            "users": [{"name": "real", "user": {"token": token}}],
            "contexts": [{"name": "real", "context": {"cluster": "real", "user": "real"}}],
        }
        path.write_text(yaml.safe_dump(written), encoding="utf-8")
        return path

    def issued(self, name: str, *hosts: str) -> tuple[bytes, bytes]:
        """Certificate and key of a server, both as PEM. hosts: names, or IPv4 addresses."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            _begun(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), key)
            .add_extension(x509.SubjectAlternativeName([_called(each) for each in hosts]), critical=False)
            .issuer_name(_NAME)
            .sign(self._root, hashes.SHA256())
        )
        return certificate.public_bytes(serialization.Encoding.PEM), _pem(key)

    def _write(self) -> None:
        authority = (
            _begun(_NAME, self._root)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .issuer_name(_NAME)
            .sign(self._root, hashes.SHA256())
        )
        hosts = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")
        certificate, key = self.issued("kube-apiserver", *hosts, "127.0.0.1", ADDRESS, SERVICE)
        self.authority.write_bytes(authority.public_bytes(serialization.Encoding.PEM))
        self.certificate.write_bytes(certificate)
        self.key.write_bytes(key)
        self.signer.write_bytes(_pem(rsa.generate_private_key(public_exponent=65537, key_size=2048)))
        rows = [f'{self.tokens[user]},{user},{user},"{group}"\n' for user, group in USERS.items()]
        self.passwords.write_text("".join(rows), encoding="utf-8")


class MeshAuthority:
    """A certificate authority of the mesh: names workloads as Istio does, by a SPIFFE address."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            _begun(_NAME, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .issuer_name(_NAME)
            .sign(self._key, hashes.SHA256())
        )
        self._trusted = certificate.public_bytes(serialization.Encoding.PEM)

    def hand(self, place: Path) -> None:
        """Write what istiod takes as an authority of one's own."""
        place.mkdir(parents=True, exist_ok=True)
        (place / "ca-key.pem").write_bytes(_pem(self._key))
        for name in ("ca-cert.pem", "root-cert.pem", "cert-chain.pem"):
            (place / name).write_bytes(self._trusted)

    def context(self, principal: str) -> ssl.SSLContext:
        """TLS context of a client of that name."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"spiffe://{principal}")])
        certificate = (
            _begun(x509.Name([]), key)
            .add_extension(name, critical=True)
            .issuer_name(_NAME)
            .sign(self._key, hashes.SHA256())
        )
        path = self._folder / f"{principal.replace('/', '_')}.pem"
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + _pem(key))
        found = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        found.check_hostname = False
        found.load_verify_locations(cadata=self._trusted.decode())
        found.load_cert_chain(path)
        return found


def _called(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _begun(name: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
    )


def _pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
