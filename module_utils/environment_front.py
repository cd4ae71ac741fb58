"""What stands before an environment's app servers: certificate, name in DNS, firewall and access logs, as AWS has them
and as they should be."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from module_utils import environment_access_logs as logs
    from module_utils import environment_domain as domain
    from module_utils import environment_firewall as firewall
    from module_utils.environment_comparison import ANY, matching
    from module_utils.environment_reader import Reader, policy, tags_of
else:
    from ansible.module_utils import environment_access_logs as logs
    from ansible.module_utils import environment_domain as domain
    from ansible.module_utils import environment_firewall as firewall
    from ansible.module_utils.environment_comparison import ANY, matching
    from ansible.module_utils.environment_reader import Reader, policy, tags_of

Found = dict[str, dict[str, dict[str, Any]]]


def certificate_name(host: str) -> str:
    """What stands for the ARN of the environment's own certificate."""
    return f"certificate of {host}"


def public_records(reader: Reader) -> list[tuple[str, dict[str, Any]]]:
    """The records of all public hosted zones of the account, with the names of the zones."""
    return [
        (domain.plain(zone["Name"]), record)
        for zone in reader.all("route53", "list_hosted_zones", "HostedZones")
        if not zone.get("Config", {}).get("PrivateZone")
        for record in reader.all("route53", "list_resource_record_sets", "ResourceRecordSets", HostedZoneId=zone["Id"])
    ]


def certificates(reader: Reader) -> list[dict[str, Any]]:
    """The environment's certificates, as DescribeCertificate tells of them, each with its Tags."""
    found = []
    for listed in reader.all("acm", "list_certificates", "CertificateSummaryList"):
        arn = listed["CertificateArn"]
        tags = tags_of(reader.answer("acm", "list_tags_for_certificate", CertificateArn=arn)["Tags"])
        if reader.is_ours("", tags):
            described = reader.answer("acm", "describe_certificate", CertificateArn=arn)["Certificate"]
            found.append({**described, "Tags": tags})
    return found


def describe(reader: Reader) -> Found:
    """Read certificates and records. The load balancers are read before, or their records count as astray."""
    found: Found = {}
    records = public_records(reader)
    for each in certificates(reader):
        host, arn = each["DomainName"], each["CertificateArn"]
        kind = found.setdefault("certificate", {})
        # One of a second certificate for the same host is told by its id.
        name = host if host not in kind else f"{host} {arn.rpartition('/')[2]}"
        kind[name] = {
            "status": each["Status"],
            "proved_in_dns": all(
                any(domain.same(record, there) for _, there in records) for record in domain.validation(each)
            ),
            "tags": each["Tags"],
        }
        reader.know(arn, certificate_name(name))
    for zone, record in records:
        if domain.is_of_environment(record, f"{reader.name}-app"):
            target = domain.plain(record["AliasTarget"]["DNSName"]).removeprefix("dualstack.")
            found.setdefault("record", {})[f"{domain.plain(record['Name'])} {record['Type']}"] = {
                "zone": zone,
                "to": reader.names.get(target, target),
            }
    for each in reader.all("wafv2", "list_web_acls", "WebACLs", Scope=firewall.SCOPE):
        if reader.is_ours(each["Name"], {}):
            got = reader.answer("wafv2", "get_web_acl", Name=each["Name"], Scope=firewall.SCOPE, Id=each["Id"])
            kind = found.setdefault("web ACL", {})
            kind[reader.know(each["ARN"], each["Name"])] = firewall.compared(got["WebACL"])
    return found


def firewall_of(reader: Reader, balancer: str) -> str:
    """The name of the web ACL before a load balancer (an ARN); empty for none."""
    found = reader.answer("wafv2", "get_web_acl_for_resource", ResourceArn=balancer).get("WebACL")
    return str(found["Name"]) if found else ""


def logs_bucket(reader: Reader, bucket: str) -> dict[str, Any]:
    """What is to be compared of the bucket of access logs."""
    given = reader.answer("s3", "get_bucket_policy", "NoSuchBucketPolicy", Bucket=bucket).get("Policy")
    rules = reader.answer("s3", "get_bucket_lifecycle_configuration", "NoSuchLifecycleConfiguration", Bucket=bucket)
    account = bucket.rpartition("-")[2]
    return {
        "only_load_balancers_write": policy(given) == policy(logs.bucket_policy(bucket, account)),
        "days": logs.days_of(rules),
    }


def desired(settings: Mapping[str, Any]) -> Found:
    """What role aws_service makes of this: ``settings`` are its inputs without their prefix."""
    zone, name, days = settings["zone"], f"{settings['name']}-app", settings["access_logs_days"]
    found: Found = {
        "bucket": {
            # Without a number of days it stays as it was.
            f"~{re.escape(logs.bucket_name(settings['name'], ''))}[0-9]+": {
                "refuses_to_be_public": True,
                "only_load_balancers_write": True,
                "days": days or ANY,
                "tags": settings["tags"],
            }
        }
    }
    if settings["firewall"]:
        found["web ACL"] = {name: firewall.compared(firewall.acl(settings["name"], settings["firewall_requests"]))}
    if not zone:
        return found
    host = domain.host_of(settings["public_url"])
    kinds = domain.ADDRESSES if settings["dual_stack"] else domain.ADDRESSES[:1]
    own = {host: {"status": "ISSUED", "proved_in_dns": True, "tags": settings["tags"]}}
    return {
        **found,
        "certificate": {} if settings["certificate_arn"] else own,
        "record": {f"{host} {kind}": {"zone": domain.plain(zone), "to": name} for kind in kinds},
    }


def balancer(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The load balancer's own part: its attributes of access logs, and its firewall."""
    bucket = re.escape(logs.bucket_name(settings["name"], "")) + "[0-9]+"
    logged = {"access_logs.s3.enabled": "true", "access_logs.s3.bucket": matching(bucket)}
    return {
        "attributes": logged if settings["access_logs_days"] else {},
        "firewall": f"{settings['name']}-app" if settings["firewall"] else "",
    }
