"""Corrections to moto's Certificate Manager: certificates are issued when their records are in DNS, and stay in use."""

from __future__ import annotations

import hashlib
from typing import Any

from moto.acm.models import AWSCertificateManagerBackend, CertBundle
from moto.core.exceptions import AWSError
from moto.elbv2 import elbv2_backends
from moto.route53 import route53_backends

from .hooks import hooks


def correct() -> None:
    _validation()
    _use()


def _validation() -> None:
    """A certificate that was requested is issued when the CNAME records of its domains are in a public hosted zone.

    AWS Certificate Manager User Guide, "AWS Certificate Manager DNS validation": the record's name and value are made
    for the domain and the account. moto issues after a minute, and has the same record for all. API Reference,
    RequestCertificate: ValidationMethod is DNS or EMAIL.
    """
    describe = CertBundle.describe

    def described(self: Any) -> dict[str, Any]:
        answer: dict[str, Any] = describe(self)
        for each in answer["Certificate"].get("DomainValidationOptions", []):
            domain = each["DomainName"].removeprefix("*.")
            digest = hashlib.md5(domain.encode(), usedforsecurity=False).hexdigest()
            each["ResourceRecord"] = {
                "Name": f"_{digest}.{domain}.",
                "Type": "CNAME",
                "Value": f"_{digest[::-1]}.lab.acm-validations.aws.",
            }
        return answer

    def check(self: Any) -> None:
        if self.type != "AMAZON_ISSUED" or self.status != "PENDING_VALIDATION":
            return
        account = self.arn.split(":")[4]
        there = {
            (record.name.lower(), value)
            for zone in route53_backends[account]["aws"].zones.values()
            if not zone.private_zone
            for record in zone.rrsets
            if record.type == "CNAME"
            for value in record.records or []
        }
        wanted = [each["ResourceRecord"] for each in described(self)["Certificate"]["DomainValidationOptions"]]
        if all((each["Name"], each["Value"]) in there for each in wanted):
            self.status = "ISSUED"
            if hooks.sign is not None:
                self.cert, self.chain = hooks.sign(self.cert)
                self._cert = self.validate_certificate()

    CertBundle.describe, CertBundle.check = described, check


def _use() -> None:
    """A certificate that a listener has can't be deleted (API Reference, DeleteCertificate: ResourceInUseException)."""
    delete = AWSCertificateManagerBackend.delete_certificate

    def delete_unused(self: Any, arn: str) -> None:
        balancers = elbv2_backends[self.account_id][self.region_name].load_balancers.values()
        used = [
            balancer.arn
            for balancer in balancers
            for listener in balancer.listeners.values()
            if arn in (listener.certificates or []) or arn == listener.certificate
        ]
        if used:
            message = f"Certificate {arn} is in use: {', '.join(used)}."
            raise AWSError(message, exception_type="ResourceInUseException")
        delete(self, arn)

    AWSCertificateManagerBackend.delete_certificate = delete_unused
