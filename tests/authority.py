"""A certificate authority that lives as long as a test."""

import datetime
import ipaddress
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_PEM = serialization.Encoding.PEM


class Authority:
    """Issues certificates.

    Args:
        folder: for the files.
        name: its own.

    Attributes:
        file: its own certificate.
    """

    def __init__(self, folder: Path, name: str = "Test authority") -> None:
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.file = folder / "ca.pem"
        self.file.write_bytes(self._sign(self.name, self.key.public_key(), True, "127.0.0.1", 1).public_bytes(_PEM))

    def _sign(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, authority: bool, host: str, days: float
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=2))
            .not_valid_after(now + datetime.timedelta(days=days))
            .add_extension(x509.BasicConstraints(authority, None), critical=True)
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))]),
                critical=False,
            )
            .sign(self.key, hashes.SHA256())
        )

    def issue(self, name: str, host: str = "127.0.0.1", days: float = 1) -> tuple[str, str]:
        """Write a certificate and its key; return their paths.

        Args:
            name: of the holder, and of the files.
            host: address that it is for.
            days: until it ends; one that has ended has less than none.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        cert, secret = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        cert.write_bytes(self._sign(subject, key.public_key(), False, host, days).public_bytes(_PEM))
        secret.write_bytes(key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
        return str(cert), str(secret)

    def context(self, name: str) -> ssl.SSLContext:
        """What a client needs that trusts this authority and holds a certificate of this name."""
        context = ssl.create_default_context(cafile=str(self.file))
        context.load_cert_chain(*self.issue(name))
        return context
