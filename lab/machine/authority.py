"""The lab's own certificate authority: made with the lab, kept in its state, gone with it. Whoever is to trust the
lab's certificates is given `ca.pem`."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

VALID = timedelta(days=395)
"""As long as a certificate of ACM (user guide, "Certificate characteristics and limitations": 13 months)."""
TOLERANCE = timedelta(minutes=5)
"""Clocks may differ by this much."""


class Authority:
    """Signs certificates. Made on first use.

    Args:
        path: its certificate's file.
        key_path: the key's, which is the owner's only.
        name: in the certificate, for people.
    """

    def __init__(self, path: Path, key_path: Path, name: str) -> None:
        self.path = path
        if key_path.exists() and self.path.exists():
            key = serialization.load_pem_private_key(key_path.read_bytes(), password=None)
            assert isinstance(key, ec.EllipticCurvePrivateKey)  # made below
            self._key, self._certificate = key, x509.load_pem_x509_certificate(self.path.read_bytes())
            return
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._certificate = _self_signed(self._key, name)
        key_path.touch(mode=0o600)
        key_path.write_bytes(
            self._key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        self.path.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))

    def sign(self, certificate: bytes) -> tuple[bytes, bytes]:
        """A certificate (PEM) with subject, names and key of another one, signed here, and the authority's own."""
        given = x509.load_pem_x509_certificate(certificate)
        names = given.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        now = datetime.now(UTC)
        signed = (
            x509.CertificateBuilder()
            .subject_name(given.subject)
            .issuer_name(self._certificate.subject)
            .public_key(given.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - TOLERANCE)
            .not_valid_after(now + VALID)
            .add_extension(names, critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(digital_signature=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return signed.public_bytes(serialization.Encoding.PEM), self.path.read_bytes()


def _self_signed(key: ec.EllipticCurvePrivateKey, name: str) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - TOLERANCE)
        .not_valid_after(now + 10 * VALID)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(key_cert_sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _usage(*, digital_signature: bool = False, key_cert_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=key_cert_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        crl_sign=key_cert_sign,
        encipher_only=False,
        decipher_only=False,
    )
