#!/usr/bin/python
"""Ansible module: keep an environment's name in DNS and its certificate."""

from __future__ import annotations

DOCUMENTATION = r"""
module: environment_domain
short_description: Keep an environment's name in DNS and its certificate
description:
  - Requests a certificate in ACM, proves it in a hosted zone of Route 53, and points the host there to the load
    balancer.
  - M(community.aws.acm_certificate) only imports certificates, so requesting and validating one needs a module.
options:
  state:
    description:
      - V(checked) looks whether zone and host can be used. V(certified) makes the certificate and waits until it is
        issued. V(pointed) makes the host's alias records. V(absent) removes records and certificate.
    type: str
    choices: [checked, certified, pointed, absent]
    default: checked
  name:
    description: The environment's name, which the load balancer's begins with.
    type: str
    required: true
  zone:
    description: Name of the public hosted zone. V(absent) finds it by itself.
    type: str
    default: ""
  url:
    description: Address at which people reach the application; its host is what is named.
    type: str
    default: ""
  dual_stack:
    description: Whether the load balancer has IPv6 addresses.
    type: bool
    default: true
  wait_s:
    description: Seconds to wait for the certificate.
    type: int
    default: 1800
  tags:
    description: Tags of the certificate. C(Project) and C(Environment) are how it is found again.
    type: dict
    required: true
attributes:
  check_mode:
    description: Says what would be made and removed.
    support: full
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
author: parkmesh project (@parkmesh)
"""

EXAMPLES = r"""
- name: Have a certificate
  environment_domain:
    state: certified
    name: parkmesh-production
    zone: example.org
    url: https://parking.example.org
    tags: {Project: parkmesh, Environment: production}
"""

RETURN = r"""
lines:
  description: What was or would be made, corrected and removed, a line for each.
  type: list
  elements: str
  returned: always
certificate_arn:
  description: The certificate.
  type: str
  returned: for V(certified)
"""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

try:
    import botocore.exceptions
except ImportError:  # AnsibleAWSModule reports it
    botocore = None

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

if TYPE_CHECKING:
    from module_utils import environment_domain as domain
    from module_utils.environment_reader import tags_of
else:
    from ansible.module_utils import environment_domain as domain
    from ansible.module_utils.environment_reader import tags_of

Client = Callable[[str], Any]

USABLE = ("PENDING_VALIDATION", "ISSUED")
LOOK_AFTER_S = 3


def zones(client: Client) -> list[dict[str, Any]]:
    pages = client("route53").get_paginator("list_hosted_zones").paginate()
    return [each for page in pages for each in page["HostedZones"]]


def records(client: Client, zone_id: str, name: str = "") -> Iterator[dict[str, Any]]:
    """The records of a zone, or those of one name."""
    start = {"StartRecordName": name} if name else {}
    pages = client("route53").get_paginator("list_resource_record_sets").paginate(HostedZoneId=zone_id, **start)
    for page in pages:
        for each in page["ResourceRecordSets"]:
            if name and domain.plain(each["Name"]) != domain.plain(name):
                return
            yield each


def zone_of(client: Client, options: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    """The zone and the host. Raises DomainError, also where something else answers for the host."""
    host = domain.host_of(options["url"])
    zone = domain.chosen_zone(zones(client), options["zone"], host)
    others = domain.strangers(records(client, zone["Id"], host), host, f"{options['name']}-app")
    if others:
        raise domain.DomainError(
            f"{host} has records already that aren't of {options['name']}: {'; '.join(others)}. Remove them from the "
            f"hosted zone {options['zone']}, or choose another parkmesh_public_url"
        )
    return zone, host


def own_certificates(client: Client, tags: Mapping[str, str]) -> list[dict[str, Any]]:
    """The environment's certificates, as DescribeCertificate tells of them."""
    acm = client("acm")
    found = []
    for page in acm.get_paginator("list_certificates").paginate():
        for each in page["CertificateSummaryList"]:
            arn = each["CertificateArn"]
            its = tags_of(acm.list_tags_for_certificate(CertificateArn=arn)["Tags"])
            if all(its.get(key) == tags.get(key) for key in ("Project", "Environment")):
                found.append(acm.describe_certificate(CertificateArn=arn)["Certificate"])
    return found


def set_records(client: Client, zone_id: str, action: str, wanted: list[dict[str, Any]]) -> None:
    changes = [{"Action": action, "ResourceRecordSet": each} for each in wanted]
    client("route53").change_resource_record_sets(HostedZoneId=zone_id, ChangeBatch={"Changes": changes})


def certify(
    client: Client, options: Mapping[str, Any], region: str, *, dry: bool, sleep: Callable[[float], None] = time.sleep
) -> dict[str, Any]:
    """Have a certificate that is issued. Raises DomainError."""
    zone, host = zone_of(client, options)
    acm = client("acm")
    usable = [
        each
        for each in own_certificates(client, options["tags"])
        if each["DomainName"] == host and each["Status"] in USABLE
    ]
    # An issued one before one that waits.
    certificate = next(iter(sorted(usable, key=lambda each: str(each["Status"]))), None)
    lines = []
    if certificate is None:
        lines.append(f"there is no certificate of {host}")
        if dry:
            placeholder = f"arn:aws:acm:{region}:000000000000:certificate/that-would-be-made"
            return {"changed": True, "lines": lines, "certificate_arn": placeholder}
        arn = acm.request_certificate(
            DomainName=host,
            ValidationMethod="DNS",
            Tags=[{"Key": key, "Value": value} for key, value in options["tags"].items()],
        )["CertificateArn"]
        certificate = acm.describe_certificate(CertificateArn=arn)["Certificate"]
    arn = certificate["CertificateArn"]
    deadline = time.monotonic() + options["wait_s"]
    # The records to make are there some seconds after the request.
    while not domain.validation(certificate) and time.monotonic() < deadline:
        sleep(LOOK_AFTER_S)
        certificate = acm.describe_certificate(CertificateArn=arn)["Certificate"]
    for record in domain.validation(certificate):
        there = list(records(client, zone["Id"], record["Name"]))
        if not any(domain.same(record, each) for each in there):
            lines.append(f"record {domain.plain(record['Name'])}, which proves the certificate, is missing or another")
            if not dry:
                set_records(client, zone["Id"], "UPSERT", [record])
    while not dry and certificate["Status"] == "PENDING_VALIDATION":
        if time.monotonic() > deadline:
            servers = client("route53").get_hosted_zone(Id=zone["Id"])["DelegationSet"]["NameServers"]
            raise domain.DomainError(
                f"the certificate of {host} wasn't issued within {options['wait_s']} s. Do the name servers of "
                f"{options['zone']} at its registrar name {', '.join(servers)}? Then run this again: it goes on with "
                "the same certificate"
            )
        sleep(LOOK_AFTER_S)
        certificate = acm.describe_certificate(CertificateArn=arn)["Certificate"]
    if not dry and certificate["Status"] != "ISSUED":
        why = certificate.get("FailureReason", "no reason given")
        raise domain.DomainError(f"the certificate of {host} is {certificate['Status']} ({why})")
    return {"changed": bool(lines), "lines": lines, "certificate_arn": arn}


def point(client: Client, options: Mapping[str, Any], *, dry: bool) -> dict[str, Any]:
    """Have the host's alias records. Raises DomainError."""
    zone, host = zone_of(client, options)
    elb, name = client("elbv2"), f"{options['name']}-app"
    try:
        (balancer,) = elb.describe_load_balancers(Names=[name])["LoadBalancers"]
    except elb.exceptions.LoadBalancerNotFoundException as error:
        raise domain.DomainError(f"there is no load balancer {name} to point {host} to") from error
    wanted = domain.aliases(host, balancer, dual_stack=options["dual_stack"])
    there = {each["Type"]: each for each in records(client, zone["Id"], host) if each["Type"] in domain.ADDRESSES}
    missing = [record for kind, record in wanted.items() if kind not in there or not domain.same(record, there[kind])]
    surplus = [record for kind, record in there.items() if kind not in wanted]
    lines = [f"record {host} {each['Type']} is missing or another" for each in missing]
    lines += [f"record {host} {each['Type']} goes" for each in surplus]
    if not dry:
        for action, some in (("UPSERT", missing), ("DELETE", surplus)):
            if some:
                set_records(client, zone["Id"], action, some)
    return {"changed": bool(lines), "lines": lines}


def remove(client: Client, options: Mapping[str, Any], *, dry: bool) -> dict[str, Any]:
    """Remove what ``certify`` and ``point`` make. The load balancer is gone, or it uses the certificate."""
    lines = []
    certificates = own_certificates(client, options["tags"])
    own = {each["CertificateArn"] for each in certificates}
    proofs = [record for each in certificates for record in domain.validation(each)]
    acm = client("acm")
    others = {
        each["DomainName"]
        for page in acm.get_paginator("list_certificates").paginate()
        for each in page["CertificateSummaryList"]
        if each["CertificateArn"] not in own
    }
    # Of another certificate of the same host the record is needed still.
    needed = {each["DomainName"] for each in certificates} & others
    for zone in zones(client):
        if zone.get("Config", {}).get("PrivateZone"):
            continue
        going = [
            each
            for each in records(client, zone["Id"])
            if domain.is_of_environment(each, f"{options['name']}-app")
            or (not needed and any(domain.same(each, record) for record in proofs))
        ]
        lines += [f"record {domain.plain(each['Name'])} {each['Type']} goes" for each in going]
        if going and not dry:
            set_records(client, zone["Id"], "DELETE", going)
    for each in certificates:
        lines.append(f"certificate of {each['DomainName']} goes")
        if not dry:
            acm.delete_certificate(CertificateArn=each["CertificateArn"])
    return {"changed": bool(lines), "lines": lines}


def run(client: Client, options: Mapping[str, Any], region: str, *, dry: bool) -> dict[str, Any]:
    """The module's result. Raises DomainError."""
    match options["state"]:
        case "checked":
            zone_of(client, options)
            return {"changed": False, "lines": []}
        case "certified":
            return certify(client, options, region, dry=dry)
        case "pointed":
            return point(client, options, dry=dry)
        case _:
            return remove(client, options, dry=dry)


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "state": {"type": "str", "choices": ["checked", "certified", "pointed", "absent"], "default": "checked"},
            "name": {"type": "str", "required": True},
            "zone": {"type": "str", "default": ""},
            "url": {"type": "str", "default": ""},
            "dual_stack": {"type": "bool", "default": True},
            "wait_s": {"type": "int", "default": 1800},
            "tags": {"type": "dict", "required": True},
        },
        supports_check_mode=True,
    )
    clients: dict[str, Any] = {}

    def client(service: str) -> Any:
        if service not in clients:
            clients[service] = module.client(service)
        return clients[service]

    try:
        result = run(client, module.params, module.region, dry=module.check_mode)
    except domain.DomainError as error:
        module.fail_json(msg=str(error))
    except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError) as error:
        module.fail_json_aws(error, msg=f"The name of {module.params['name']} in DNS can't be kept")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
