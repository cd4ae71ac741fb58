"""The certificates of RDS's authorities: fetched once over verified TLS, checked on every run."""

from __future__ import annotations

import hashlib
import importlib.util
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

ROOT = Path(__file__).resolve().parents[3]
NOW = datetime(2026, 11, 30, tzinfo=UTC)
URL = "https://truststore.example/bundle.pem"


def pem(name: str, *, ca: bool | None = True, days: int = 3650, begins: int = -10) -> bytes:
    """A certificate that a key of its own has signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW + timedelta(days=begins))
        .not_valid_after(NOW + timedelta(days=days))
    )
    if ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@pytest.fixture(scope="module")
def module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("library_database_ca", ROOT / "library" / "database_ca.py")
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def run(module: ModuleType, path: Path, **given: Any) -> tuple[bytes | None, dict[str, Any]]:
    options = {"refresh": False, "warn_days": 90, "dry": False, "now": NOW, **given}
    url = options.pop("url", URL)
    answer: tuple[bytes | None, dict[str, Any]] = module.run(path, url, **options)
    return answer


def test_it_is_fetched_once_and_again_when_asked(
    module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, bundle, other = tmp_path / "rds-ca.pem", pem("one") + pem("two"), pem("three")
    monkeypatch.setattr(module, "fetched", lambda _: bundle)
    content, result = run(module, path, dry=True)
    assert (content, result["changed"], result["sha256"]) == (None, True, "")
    content, result = run(module, path)
    assert (content, result["subjects"]) == (bundle, ["one", "two"])
    assert result["sha256"] == hashlib.sha256(bundle).hexdigest()
    assert result["lines"] == [f"{path}: 2 authorities, SHA-256 {result['sha256']}, from {URL}"]
    path.write_bytes(bundle)
    monkeypatch.setattr(module, "fetched", lambda _: other)
    assert run(module, path)[0] is None
    assert run(module, path, refresh=True)[0] == other


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no certificates in PEM"),
        (b"-----BEGIN CERTIFICATE-----\nbm8=\n-----END CERTIFICATE-----\n", "no certificates in PEM"),
        (pem("leaf", ca=False), "of CN=leaf is no authority's"),
        (pem("old-format", ca=None), "of CN=old-format is no authority's"),
        (pem("good") + pem("over", days=-1), r"of CN=over is valid from 2026-11-20 to 2026-11-29 only"),
        (pem("early", begins=1), "of CN=early is valid from 2026-12-01"),
    ],
    ids=["empty", "malformed", "leaf", "no-constraints", "expired", "not-yet"],
)
@pytest.mark.parametrize("there", [True, False], ids=["there", "fetched"])
def test_what_no_server_should_trust_is_refused(
    module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, words: str, there: bool
) -> None:
    path = tmp_path / "rds-ca.pem"
    if there:
        path.write_bytes(content)
    monkeypatch.setattr(module, "fetched", lambda _: content)
    with pytest.raises(module.CaError, match=words):
        run(module, path)


def test_the_end_of_a_certificate_is_said_before(module: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "rds-ca.pem"
    path.write_bytes(pem("long") + pem("short", days=30))
    assert run(module, path)[1]["lines"] == [f"{path}: a certificate ends at 2026-12-30; fetch the file again"]
    assert run(module, path, warn_days=10)[1]["lines"] == []


def test_it_comes_over_tls_or_not_at_all(module: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(module.CaError, match="is no https address"):
        run(module, tmp_path / "none", url="http://truststore.example/bundle.pem")
    with pytest.raises(module.CaError, match="nothing says where to fetch it"):
        run(module, tmp_path / "none", url="")
    with pytest.raises(module.CaError, match="can't be fetched"):
        run(module, tmp_path / "none", url="https://127.0.0.1:1/bundle.pem")
