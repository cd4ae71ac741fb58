"""HTTPS at the load balancer with a certificate of the lab's own authority, and who trusts it."""

import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from .conftest import FIRST, ROOT, RunningLab, eventually

NAME = "parking.parkmesh.example"


@dataclass
class Balancer:
    """A load balancer that answers by itself: its private address, and the file of the lab's authority."""

    lab: RunningLab
    address: str
    authority: str

    def curl(self, url: str, *options: str) -> str:
        """What ``ops`` sees: status, protocol version and location, or curl's error code."""
        port = 443 if url.startswith("https") else 80
        words = " ".join(options)
        return self.lab.shell(
            "ops",
            f"curl --silent --max-time 5 --output /dev/null --resolve {NAME}:{port}:{self.address} {words} "
            f"--write-out '%{{http_code}} %{{http_version}} %{{redirect_url}}' '{url}' || echo \" error $?\"",
        ).strip()


@pytest.fixture(scope="module")
def balancer(lab: RunningLab) -> Iterator[Balancer]:
    ec2, elb, acm, route53 = (lab.client(name) for name in ("ec2", "elbv2", "acm", "route53"))
    vpc, subnets = lab.vpc_in_two_zones(50)
    group = ec2.create_security_group(GroupName="people", Description="-", VpcId=vpc)["GroupId"]
    everybody = [{"CidrIp": "0.0.0.0/0"}]
    ec2.authorize_security_group_ingress(
        GroupId=group,
        IpPermissions=[
            {"IpProtocol": "tcp", "FromPort": port, "ToPort": port, "IpRanges": everybody} for port in (80, 443)
        ],
    )
    zone = route53.create_hosted_zone(Name="parkmesh.example", CallerReference="one")["HostedZone"]["Id"]
    certificate = acm.request_certificate(DomainName=NAME, ValidationMethod="DNS")["CertificateArn"]
    (option,) = acm.describe_certificate(CertificateArn=certificate)["Certificate"]["DomainValidationOptions"]
    record = option["ResourceRecord"]
    route53.change_resource_record_sets(
        HostedZoneId=zone,
        ChangeBatch={
            "Changes": [
                {
                    "Action": "CREATE",
                    "ResourceRecordSet": {
                        "Name": record["Name"],
                        "Type": record["Type"],
                        "TTL": 60,
                        "ResourceRecords": [{"Value": record["Value"]}],
                    },
                }
            ]
        },
    )
    assert acm.describe_certificate(CertificateArn=certificate)["Certificate"]["Status"] == "ISSUED"
    made = elb.create_load_balancer(Name="encrypted", Subnets=subnets, SecurityGroups=[group])["LoadBalancers"][0]
    arn = made["LoadBalancerArn"]
    answer = {"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "200", "MessageBody": "here"}}
    redirect = {"Protocol": "HTTPS", "Port": "443", "StatusCode": "HTTP_301"}
    elb.create_listener(
        LoadBalancerArn=arn,
        Protocol="HTTPS",
        Port=443,
        Certificates=[{"CertificateArn": certificate}],
        DefaultActions=[answer],
    )
    elb.create_listener(
        LoadBalancerArn=arn,
        Protocol="HTTP",
        Port=80,
        DefaultActions=[{"Type": "redirect", "RedirectConfig": redirect}],
    )
    thing = "lb-encrypted"
    eventually(lambda: lab.running(thing), "the load balancer's container")
    eventually(lambda: lab.shell(thing, "systemctl is-active haproxy || true").strip() == "active", "HAProxy")
    authority = ROOT / ".lab" / FIRST / "ca.pem"
    lab.shell("ops", f"cat > /run/ca.pem <<'E'\n{authority.read_text()}E")
    yield Balancer(lab, lab.shell(thing, "hostname -I").split()[0], str(authority))
    elb.delete_load_balancer(LoadBalancerArn=arn)
    acm.delete_certificate(CertificateArn=certificate)
    lab.await_gone(thing)


def test_whoever_trusts_the_labs_authority_is_answered_and_nobody_else(balancer: Balancer) -> None:
    assert balancer.curl(f"https://{NAME}/", "--cacert /run/ca.pem") == "200 2"
    assert balancer.curl(f"https://{NAME}/") == "000 0  error 60", "curl: the certificate isn't trusted"
    assert balancer.curl(f"https://{NAME}/", "--cacert /run/ca.pem", "--tls-max 1.1").startswith("000 0")


def test_plain_http_leads_to_https(balancer: Balancer) -> None:
    assert balancer.curl(f"http://{NAME}/a?b=c") == f"301 1.1 https://{NAME}:443/a?b=c"


def test_people_on_this_machine_reach_the_encrypted_listener(balancer: Balancer) -> None:
    port = int(balancer.lab.facts["load_balancer_url"].rpartition(":")[2])
    trusting = ssl.create_default_context(cafile=balancer.authority)
    with (
        socket.create_connection(("127.0.0.1", port), timeout=5) as plain,
        trusting.wrap_socket(plain, server_hostname=NAME) as connection,
    ):
        connection.sendall(f"GET / HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n".encode())
        assert b"".join(iter(lambda: connection.recv(1000), b"")).endswith(b"here")


def test_the_authoritys_key_is_the_owners_only(balancer: Balancer) -> None:
    assert (ROOT / ".lab" / FIRST / "secrets" / "ca-key.pem").stat().st_mode & 0o077 == 0
