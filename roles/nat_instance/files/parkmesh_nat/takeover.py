"""At boot: become the zone's way out. The address moves first, so that no packet leaves under another one.

One network interface and three calls, instead of a standing interface that each instance attaches as its second one:
replies need no routing by policy, the new instance waits for no detaching from a dying one (AWS: up to minutes unless
forced), and the calls name only what is tagged for them. The price: the route's target changes with the instance.

Sources: Amazon VPC User Guide, "NAT instances" (source/destination check off); Amazon EC2 API Reference,
AssociateAddress (AllowReassociation; the earlier association ends), ReplaceRoute, CreateRoute.
"""

from typing import Any

from botocore.exceptions import ClientError

from parkmesh_nat.settings import Settings

EVERYWHERE = "0.0.0.0/0"


def take(ec2: Any, instance_id: str, settings: Settings) -> list[str]:
    """Make the instance the way out of its zone and return what was done, a line each. Doing it again is harmless.

    ``ec2`` is boto3's client. Raises ClientError or BotoCoreError.
    """
    ec2.modify_instance_attribute(InstanceId=instance_id, SourceDestCheck={"Value": False})
    done = ["source/destination check off"]
    ec2.associate_address(AllocationId=settings.allocation_id, InstanceId=instance_id, AllowReassociation=True)
    done.append(f"address {settings.allocation_id} is here")
    for table in settings.route_tables:
        route = {"RouteTableId": table, "DestinationCidrBlock": EVERYWHERE, "InstanceId": instance_id}
        try:
            ec2.replace_route(**route)
        except ClientError as error:
            # The first instance of the zone finds no route to replace.
            if error.response["Error"]["Code"] not in ("InvalidRoute.NotFound", "InvalidParameterValue"):
                raise
            ec2.create_route(**route)
        done.append(f"default route of {table} leads here")
    return done
