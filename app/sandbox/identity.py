"""Who the sandbox is to its clients: a certificate of its own authority, one bearer token, and the kubeconfig.

kubectl sends a token over TLS only. The authority signs this one certificate and its key is thrown away, so nothing
that is left in the folder can sign another. All files are readable by their owner alone.
"""

from __future__ import annotations

import base64
import datetime as dt
import ipaddress
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

# Of cluster, user and context in the kubeconfig: merged with others, it still says what it is.
NAME = "reverser-sandbox"
USER = "admin"
GROUPS = ("system:masters", "system:authenticated")
# Longer than anybody keeps a sandbox.
_VALID = dt.timedelta(days=3650)
# Clocks of virtual machines jump.
_BACKDATED = dt.timedelta(days=1)


@dataclass(frozen=True)
class Identity:
    """The files in one folder."""

    folder: Path

    @property
    def authority(self) -> Path:
        """The certificate that clients trust."""
        return self.folder / "ca.crt"

    @property
    def certificate(self) -> Path:
        """The server's certificate."""
        return self.folder / "server.crt"

    @property
    def key(self) -> Path:
        """The server's key."""
        return self.folder / "server.key"

    @property
    def kubeconfig(self) -> Path:
        """What clients are given."""
        return self.folder / "kubeconfig"

    @property
    def token(self) -> str:
        """The bearer token of the one user."""
        return (self.folder / "token").read_text(encoding="ascii").strip()

    def write_kubeconfig(self, url: str) -> None:
        """Say where the server listens now."""
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": NAME, "cluster": {"server": url, "certificate-authority-data": self._authority()}}],
            "users": [{"name": NAME, "user": {"token": self.token}}],
            "contexts": [{"name": NAME, "context": {"cluster": NAME, "user": NAME}}],
            "current-context": NAME,
        }
        _write(self.kubeconfig, yaml.safe_dump(document, sort_keys=False).encode())

    def _authority(self) -> str:
        return base64.b64encode(self.authority.read_bytes()).decode()


def at(folder: Path) -> Identity:
    """The identity in a folder that is ours alone; what is missing is made. Raises OSError."""
    found = Identity(folder)
    if not (folder / "token").is_file():
        _write(folder / "token", secrets.token_urlsafe(32).encode())
    if not all(path.is_file() for path in (found.authority, found.certificate, found.key)):
        _make_certificates(found)
    return found


def _make_certificates(files: Identity) -> None:
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = _authority(authority_key)
    pem = serialization.Encoding.PEM
    _write(
        files.key,
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )
    _write(files.certificate, _server(key, authority=authority, authority_key=authority_key).public_bytes(pem))
    # The last one: the three are whole when it is there.
    _write(files.authority, authority.public_bytes(pem))


def _authority(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{NAME}-authority")])
    return (
        _builder(name, issuer=name, key=key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _server(
    key: ec.EllipticCurvePrivateKey, *, authority: x509.Certificate, authority_key: ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    reached_as = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]
    signer = authority_key.public_key()
    return (
        _builder(name, issuer=authority.subject, key=key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer), critical=False)
        .add_extension(x509.SubjectAlternativeName(reached_as), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(authority_key, hashes.SHA256())
    )


def _builder(name: x509.Name, *, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + _VALID)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    """Python 3.13 verifies strictly: an authority needs to say that it signs certificates."""
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _write(path: Path, content: bytes) -> None:
    """Write a file of ours alone, whole or not at all."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.unlink(missing_ok=True)
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    beside.replace(path)
