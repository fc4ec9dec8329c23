"""The bed's own certificate authority, and kubeconfigs that hold client certificates of it.

Everything lasts a week and lives in the state folder; nothing here is trusted by anything else.
A client's common name is its Kubernetes user and its organisation its group.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_LIFETIME = dt.timedelta(days=7)


@dataclass(frozen=True)
class KeyPair:
    """Where a certificate and its private key lie, as PEM."""

    certificate: Path
    key: Path


def private_file(path: Path, content: bytes) -> Path:
    """Write a file that only its owner can read."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
    return path


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


class Authority:
    """A certificate authority that lives as long as the bed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(mode=0o700, exist_ok=True)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sluice-cluster-bed")])
        certificate = (
            self._draft(self._name, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.certificate = folder / "ca.crt"
        self.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def _draft(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey
    ) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(minutes=5))
            .not_valid_after(now + _LIFETIME)
        )

    def _issue(
        self, file: str, names: list[x509.NameAttribute[str]], addresses: Sequence[str] = ()
    ) -> KeyPair:
        key = ec.generate_private_key(ec.SECP256R1())
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH]
        draft = self._draft(x509.Name(names), key)
        if addresses:
            usages.append(ExtendedKeyUsageOID.SERVER_AUTH)
            hosts = [x509.IPAddress(ipaddress.ip_address(each)) for each in addresses]
            draft = draft.add_extension(x509.SubjectAlternativeName(hosts), critical=False)
        certificate = draft.add_extension(x509.ExtendedKeyUsage(usages), critical=False).sign(
            self._key, hashes.SHA256()
        )
        public = self._folder / f"{file}.crt"
        public.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return KeyPair(public, private_file(self._folder / f"{file}.key", _pem(key)))

    def server(self, name: str, *addresses: str) -> KeyPair:
        """Issue a certificate for a server at some addresses; it may also call its own kind."""
        return self._issue(name, [x509.NameAttribute(NameOID.COMMON_NAME, name)], addresses)

    def client(self, user: str, group: str | None = None) -> KeyPair:
        """Issue a certificate for one Kubernetes user."""
        names = [x509.NameAttribute(NameOID.COMMON_NAME, user)]
        if group is not None:
            names.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, group))
        return self._issue(user.replace(":", "-"), names)

    def kubeconfig(self, path: Path, server: str, user: str, group: str | None = None) -> Path:
        """Write a kubeconfig for one user at one API server."""
        pair = self.client(user, group)
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": "bed",
                    "cluster": {"server": server, "certificate-authority": str(self.certificate)},
                }
            ],
            "users": [
                {
                    "name": user,
                    "user": {
                        "client-certificate": str(pair.certificate),
                        "client-key": str(pair.key),
                    },
                }
            ],
            "contexts": [{"name": "bed", "context": {"cluster": "bed", "user": user}}],
            "current-context": "bed",
        }
        return private_file(path, yaml.safe_dump(config).encode())


def signing_key(folder: Path) -> KeyPair:
    """Make the key pair that signs service account tokens (ES256)."""
    key = ec.generate_private_key(ec.SECP256R1())
    public = folder / "service-accounts.pub"
    public.write_bytes(
        key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    return KeyPair(public, private_file(folder / "service-accounts.key", _pem(key)))
