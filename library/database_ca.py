#!/usr/bin/python
"""Ansible module: fetch the certificates of RDS's authorities once, and check them on every run."""

from __future__ import annotations

DOCUMENTATION = r"""
module: database_ca
short_description: Fetch the certificates of RDS's authorities once, and check them on every run
description:
  - A file that is there stays as it is, for another one makes another image. It is checked like one that was fetched.
  - Each certificate must be one of an authority (basic constraints, CA) and valid now.
  - Amazon RDS user guide, "Using SSL/TLS to encrypt a connection to a DB instance", lists the bundles. They are fetched
    over verified TLS only.
options:
  path:
    description: The file, in PEM.
    type: path
    required: true
  url:
    description: Where it is fetched from, over https. Empty to only check it.
    type: str
    default: ""
  refresh:
    description: Whether to fetch it also where it is there.
    type: bool
    default: false
  warn_days:
    description: Days before the first certificate ends from which on this is said.
    type: int
    default: 90
attributes:
  check_mode:
    description: Says whether it would be fetched, and checks what is there.
    support: full
author: parkmesh project (@parkmesh)
"""

EXAMPLES = r"""
- name: Have the certificates of the region's authorities
  database_ca:
    path: /etc/parkmesh-inventory/rds-ca.pem
    url: https://truststore.pki.rds.amazonaws.com/eu-west-1/eu-west-1-bundle.pem
"""

RETURN = r"""
sha256:
  description: Digest of the file, 64 hex digits; empty where a check would fetch it.
  type: str
  returned: always
subjects:
  description: The common names of the authorities.
  type: list
  elements: str
  returned: always
first_end:
  description: When the first certificate ends, in UTC.
  type: str
  returned: always
lines:
  description: What is to be said about it.
  type: list
  elements: str
  returned: always
"""

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple

try:
    from cryptography import x509
except ImportError:  # main() reports it
    x509 = None  # type: ignore[assignment]

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible.module_utils.urls import open_url

MOST_BYTES: Final = 4 * 1024 * 1024
TIMEOUT_S: Final = 30


class CaError(ValueError):
    """The certificates can't be used; the message says which and why."""


class Bundle(NamedTuple):
    sha256: str
    subjects: list[str]
    first_end: datetime


def checked(pem: bytes, now: datetime) -> Bundle:
    """The certificates of a bundle. Raises CaError where one isn't an authority's that is valid at ``now``."""
    try:
        certificates = x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise CaError(f"no certificates in PEM: {error}") from None
    subjects, ends = [], []
    for each in certificates:
        subject = each.subject.rfc4514_string()
        names = each.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        try:
            authority = each.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        except (x509.ExtensionNotFound, ValueError):
            authority = False
        if not authority:
            raise CaError(f"the certificate of {subject} is no authority's")
        if not each.not_valid_before_utc <= now < each.not_valid_after_utc:
            span = f"{each.not_valid_before_utc:%Y-%m-%d} to {each.not_valid_after_utc:%Y-%m-%d}"
            raise CaError(f"the certificate of {subject} is valid from {span} only")
        subjects.append(str(names[0].value) if names else subject)
        ends.append(each.not_valid_after_utc)
    return Bundle(hashlib.sha256(pem).hexdigest(), subjects, min(ends))


def fetched(url: str) -> bytes:
    """What is at an https address. Raises CaError."""
    if not url.startswith("https://"):
        raise CaError(f"{url} is no https address: whoever is on the way could put in an authority of their own")
    try:
        answer = open_url(url, timeout=TIMEOUT_S, follow_redirects="none")
        content: bytes = answer.read(MOST_BYTES + 1)
    except Exception as error:  # noqa: BLE001 (open_url raises what urllib, ssl and socket raise)
        raise CaError(f"{url} can't be fetched: {error}") from None
    if len(content) > MOST_BYTES:
        raise CaError(f"{url} is larger than {MOST_BYTES} bytes")
    return content


def run(path: Path, url: str, *, refresh: bool, warn_days: int, dry: bool, now: datetime) -> tuple[bytes | None, Any]:
    """What is to be written (None for nothing), and the module's result. Raises CaError."""
    before = path.read_bytes() if path.is_file() else None
    wanted = before is None or refresh
    if wanted and not url:
        raise CaError(f"{path} isn't there, and nothing says where to fetch it")
    if before is None and dry:
        line = f"{path} would be fetched from {url}"
        return None, {"changed": True, "sha256": "", "subjects": [], "first_end": "", "lines": [line]}
    content = fetched(url) if wanted else before
    assert content is not None
    try:
        bundle = checked(content, now)
    except CaError as error:
        raise CaError(f"{url if wanted else path}: {error}") from None
    lines = []
    changed = content != before
    if changed:
        lines.append(f"{path}: {len(bundle.subjects)} authorities, SHA-256 {bundle.sha256}, from {url}")
    if bundle.first_end - now < timedelta(days=warn_days):
        lines.append(f"{path}: a certificate ends at {bundle.first_end:%Y-%m-%d}; fetch the file again")
    return (content if changed else None), {
        "changed": changed,
        "sha256": bundle.sha256,
        "subjects": bundle.subjects,
        "first_end": bundle.first_end.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "lines": lines,
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "url": {"type": "str", "default": ""},
            "refresh": {"type": "bool", "default": False},
            "warn_days": {"type": "int", "default": 90},
        },
        supports_check_mode=True,
    )
    if x509 is None:
        module.fail_json(msg=missing_required_lib("cryptography"))
    given, path = module.params, Path(module.params["path"])
    try:
        content, result = run(
            path,
            given["url"],
            refresh=given["refresh"],
            warn_days=given["warn_days"],
            dry=module.check_mode,
            now=datetime.now(UTC),
        )
        if content is not None and not module.check_mode:
            beside = path.with_name(f".{path.name}.new")
            beside.write_bytes(content)
            beside.replace(path)
    except (CaError, OSError) as error:
        module.fail_json(msg=f"The certificates of the database's authorities: {error}")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
