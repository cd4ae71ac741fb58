"""lab.aws refuses a role's calls that its policies don't allow, in AWS's words, and lets all others through."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from lab import aws

ROLE = "of-a-test"
WHO = f"arn:aws:sts::123456789012:assumed-role/{ROLE}/i-1"
HERE = "eu-west-1:123456789012"
Client = Callable[[str], Any]
Grant = Callable[..., None]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    running = aws.serve([("127.0.0.1", 0)])
    host, port = running.addresses[0]
    yield f"http://{host}:{port}"
    running.shutdown()


def of(url: str, **keys: str) -> Client:
    made: dict[str, Any] = {}

    def client(service: str) -> Any:
        if service not in made:
            made[service] = boto3.client(service, endpoint_url=url, region_name="eu-west-1", **keys)
        return made[service]

    return client


@pytest.fixture(scope="module")
def operator(url: str) -> Client:
    return of(url, aws_access_key_id="operator", aws_secret_access_key="secret")


@pytest.fixture(scope="module")
def role(url: str, operator: Client) -> Iterator[Client]:
    trust = {
        "Statement": {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
    }
    arn = operator("iam").create_role(RoleName=ROLE, AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    found = operator("sts").assume_role(RoleArn=arn, RoleSessionName="i-1")["Credentials"]
    yield of(
        url,
        aws_access_key_id=found["AccessKeyId"],
        aws_secret_access_key=found["SecretAccessKey"],
        aws_session_token=found["SessionToken"],
    )
    operator("iam").delete_role(RoleName=ROLE)


@pytest.fixture
def grant(operator: Client, role: Client) -> Iterator[Grant]:
    """Let the role's one policy have these statements."""

    def put(*statements: dict[str, Any]) -> None:
        document = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
        operator("iam").put_role_policy(RoleName=ROLE, PolicyName="one", PolicyDocument=document)

    put({"Effect": "Allow", "Action": "tag:GetResources", "Resource": "*"})
    yield put
    operator("iam").delete_role_policy(RoleName=ROLE, PolicyName="one")


def refused(call: Callable[..., Any], **given: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as failed:
        call(**given)
    error = failed.value.response["Error"]
    return str(error["Code"]), str(error["Message"])


@pytest.mark.parametrize(
    ("service", "method", "given", "code", "action", "resource"),
    [
        ("ec2", "describe_instances", {}, "UnauthorizedOperation", "ec2:DescribeInstances", ""),
        (
            *(
                "ec2",
                "replace_route",
                {"RouteTableId": "rtb-1", "DestinationCidrBlock": "0.0.0.0/0", "GatewayId": "igw-1"},
            ),
            *("UnauthorizedOperation", "ec2:ReplaceRoute", f"arn:aws:ec2:{HERE}:route-table/rtb-1"),
        ),
        (
            *("dynamodb", "scan", {"TableName": "slots"}, "AccessDeniedException", "dynamodb:Scan"),
            f"arn:aws:dynamodb:{HERE}:table/slots",
        ),
        (
            *("secretsmanager", "get_secret_value", {"SecretId": "none"}, "AccessDeniedException"),
            *("secretsmanager:GetSecretValue", "none"),
        ),
        (
            *("ssm", "get_parameter", {"Name": "/a/b"}, "AccessDeniedException", "ssm:GetParameter"),
            f"arn:aws:ssm:{HERE}:parameter/a/b",
        ),
        (
            "autoscaling",
            "describe_auto_scaling_instances",
            {},
            "AccessDenied",
            "autoscaling:DescribeAutoScalingInstances",
            "",
        ),
        ("s3", "list_buckets", {}, "AccessDenied", "s3:ListBuckets", ""),
    ],
)
def test_a_refusal_has_aws_s_code_and_words(
    role: Client, grant: Grant, service: str, method: str, given: dict[str, Any], code: str, action: str, resource: str
) -> None:
    told, message = refused(getattr(role(service), method), **given)
    where = f" on resource: {resource}" if resource else ""
    words = f"User: {WHO} is not authorized to perform: {action}{where} because no identity-based policy allows the"
    assert told == code
    assert words in message


def test_the_operator_s_key_may_do_all_and_anybody_may_ask_who_they_are(
    operator: Client, role: Client, grant: Grant
) -> None:
    operator("ec2").describe_instances()
    assert role("sts").get_caller_identity()["Arn"] == WHO


def test_a_policy_acts_at_once_and_a_denial_is_told_as_one(role: Client, grant: Grant) -> None:
    look = {"Effect": "Allow", "Action": ["ec2:Describe*"], "Resource": ["*"]}
    grant(look)
    role("ec2").describe_instances()
    grant(look, look | {"Effect": "Deny", "Action": "ec2:DescribeInstances"})
    assert "with an explicit deny in an identity-based policy" in refused(role("ec2").describe_instances)[1]
    role("ec2").describe_vpcs()


def test_a_policy_that_is_attached_counts_too(operator: Client, role: Client, grant: Grant) -> None:
    arn = "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"
    operator("iam").attach_role_policy(RoleName=ROLE, PolicyArn=arn)
    assert refused(role("ssm").get_parameter, Name="/none")[0] == "ParameterNotFound"
    operator("iam").detach_role_policy(RoleName=ROLE, PolicyArn=arn)
    assert refused(role("ssm").get_parameter, Name="/none")[0] == "AccessDeniedException"


def test_a_call_that_names_two_resources_needs_both_of_them(operator: Client, role: Client, grant: Grant) -> None:
    """Service Authorization Reference, Amazon EC2: AssociateAddress takes elastic-ip and instance."""
    ec2 = operator("ec2")
    started = ec2.run_instances(ImageId=aws.BASE_IMAGE_ID, MinCount=2, MaxCount=2)["Instances"]
    mine, another = (each["InstanceId"] for each in started)
    ec2.create_tags(Resources=[mine], Tags=[{"Key": "Role", "Value": "nat"}])
    address = ec2.allocate_address(Domain="vpc")["AllocationId"]
    of_the_instance = {
        "Effect": "Allow",
        "Action": "ec2:AssociateAddress",
        "Resource": f"arn:aws:ec2:{HERE}:instance/*",
        "Condition": {"StringEquals": {"aws:ResourceTag/Role": "nat"}},
    }
    of_the_address = {
        "Effect": "Allow",
        "Action": "ec2:AssociateAddress",
        "Resource": f"arn:aws:ec2:{HERE}:elastic-ip/{address}",
    }
    take = role("ec2").associate_address
    for given in ([of_the_address], [of_the_instance]):
        grant(*given)
        assert refused(take, AllocationId=address, InstanceId=mine)[0] == "UnauthorizedOperation"
    grant(of_the_address, of_the_instance)
    assert f"instance/{another}" in refused(take, AllocationId=address, InstanceId=another)[1]
    take(AllocationId=address, InstanceId=mine, AllowReassociation=True)
    ec2.terminate_instances(InstanceIds=[mine, another])


def test_attributes_and_keys_of_items_can_be_limited(operator: Client, role: Client, grant: Grant) -> None:
    """DynamoDB developer guide, "Using IAM policy conditions for fine-grained access control"."""
    operator("dynamodb").create_table(
        TableName="limited",
        KeySchema=[{"AttributeName": "slot", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "slot", "AttributeType": "N"}],
        BillingMode="PAY_PER_REQUEST",
    )
    grant(
        {
            "Effect": "Allow",
            "Action": "dynamodb:UpdateItem",
            "Resource": f"arn:aws:dynamodb:{HERE}:table/limited",
            "Condition": {
                "ForAllValues:StringEquals": {
                    "dynamodb:Attributes": ["slot", "holder", "place"],
                    "dynamodb:LeadingKeys": ["1", "2"],
                },
                "StringEqualsIfExists": {"dynamodb:ReturnValues": "UPDATED_NEW"},
            },
        }
    )

    def update(expression: str, slot: int = 1, **more: Any) -> None:
        role("dynamodb").update_item(
            TableName="limited", Key={"slot": {"N": str(slot)}}, UpdateExpression=expression, **more
        )

    me: dict[str, Any] = {"ExpressionAttributeValues": {":address": {"S": "i-1"}}}
    update("SET holder = :address", **me)
    update("SET #who = :address", ExpressionAttributeNames={"#who": "holder"}, ReturnValues="UPDATED_NEW", **me)
    update("SET place = if_not_exists(holder, :address)", **me)
    update("SET holder = :address", ConditionExpression="attribute_exists(slot) AND holder = :address", **me)
    denied = "AccessDeniedException"
    assert refused(update, expression="SET address = :address", **me)[0] == denied
    assert refused(update, expression="SET address.inner = :address", **me)[0] == denied
    assert refused(update, expression="SET holder = :address REMOVE leased_at", **me)[0] == denied
    assert refused(update, expression="SET holder = if_not_exists(address, :address)", **me)[0] == denied
    guess: dict[str, Any] = {"ConditionExpression": "begins_with(address, :address)", **me}
    assert refused(update, expression="SET holder = :address", **guess)[0] == denied
    hidden: dict[str, Any] = {"ExpressionAttributeNames": {"#holder": "address"}, **me}
    assert refused(update, expression="SET #holder = :address", **hidden)[0] == denied
    assert refused(update, expression="SET holder = :address", slot=3, **me)[0] == denied
    assert refused(update, expression="SET holder = :address", ReturnValues="ALL_OLD", **me)[0] == denied
    operator("dynamodb").delete_table(TableName="limited")
