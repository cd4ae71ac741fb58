"""Corrections to moto's EC2: images, subnets, launch templates, terminated instances, and what may not be deleted."""

from __future__ import annotations

import logging
import threading
from datetime import UTC, datetime
from typing import Any

from moto.core.responses import ActionResult
from moto.ec2 import utils as ec2_utils
from moto.ec2.exceptions import DependencyViolationError, EC2ClientError
from moto.ec2.models.amis import Ami, AmiBackend
from moto.ec2.models.elastic_ip_addresses import ElasticAddressBackend
from moto.ec2.models.elastic_network_interfaces import NetworkInterfaceBackend
from moto.ec2.models.instances import Instance, InstanceBackend
from moto.ec2.models.launch_templates import LaunchTemplate, LaunchTemplateBackend
from moto.ec2.models.nat_gateways import NatGatewayBackend
from moto.ec2.models.route_tables import Route
from moto.ec2.models.security_groups import SecurityGroupBackend
from moto.ec2.models.subnets import Subnet, SubnetBackend
from moto.ec2.responses.amis import AmisResponse
from moto.ec2.responses.launch_templates import LaunchTemplates
from moto.ec2.responses.security_groups import SecurityGroups
from moto.ec2.utils import parse_user_data
from moto.elbv2 import elbv2_backends

from lab.machine.names import PUBLIC_ADDRESSES

from .hooks import hooks
from .state import state_lock

_log = logging.getLogger(__name__)

# The one public image the lab offers: Debian's, as its cloud team publishes it (wiki.debian.org/Cloud/AmazonEC2Image).
BASE_IMAGE_ID = "ami-0deb1a13000000001"
BASE_IMAGE_NAME = "debian-13-amd64-20260901-2222"
BASE_IMAGE_OWNER = "136693071363"

# CreateImage answers at once when the driver is quick; a slower one goes on behind an image that is `pending`, as on
# AWS, before clients time out and ask again.
_IMAGE_PATIENCE_S = 40.0


def correct() -> None:
    _base_image()
    _create_image()
    _subnet_ipv6()
    _elastic_addresses()
    _nat_gateway()
    _routes_to_nowhere()
    _rule_descriptions()
    _groups_of_interfaces()
    _volumes_of_images()
    _launch_template_data()
    _launch_template_version_deletion()
    _terminated_instances()
    _dependency_violations()


def _base_image() -> None:
    def _load_amis(self: Any) -> None:
        self.amis[BASE_IMAGE_ID] = Ami(
            self,
            BASE_IMAGE_ID,
            name=BASE_IMAGE_NAME,
            description="Debian 13 (the lab's base container image)",
            owner_id=BASE_IMAGE_OWNER,
            public=True,
            architecture="x86_64",
            virtualization_type="hvm",
            hypervisor="xen",
            root_device_type="ebs",
            root_device_name="/dev/xvda",
            creation_date=datetime(2026, 9, 1, tzinfo=UTC),
        )

    AmiBackend._load_amis = _load_amis


def _create_image() -> None:
    """CreateImage tags snapshots, refuses a name in use, and is `available` when the driver has made the image.

    Amazon EC2 API Reference, CreateImage: TagSpecification ("tag the AMI, the snapshots, or both"), and the error code
    InvalidAMIName.Duplicate.
    """
    create = AmiBackend.create_image

    def create_image(
        self: Any, instance_id: str, name: str, description: str, tag_specifications: list[dict[str, Any]]
    ) -> Any:
        if any(image.name == name and image.owner_id == self.account_id for image in self.amis.values()):
            raise EC2ClientError("InvalidAMIName.Duplicate", f"AMI name {name} is already in use by this account")
        of_snapshots = [spec for spec in tag_specifications if spec["ResourceType"] == "snapshot"]
        others = [spec for spec in tag_specifications if spec["ResourceType"] != "snapshot"]
        image = create(self, instance_id, name, description, others)
        for spec in of_snapshots:
            image.ebs_snapshot.add_tags({tag["Key"]: tag["Value"] for tag in spec["Tags"]})
        if hooks.image_created is not None:
            image.state = "pending"
        return image

    answer = AmisResponse.create_image

    def answer_create_image(self: Any) -> Any:
        result = answer(self)
        image = self.ec2_backend.amis[result._result["ImageId"]]
        if image.state == "pending":
            worker = threading.Thread(target=_make_image, args=(image,), name=f"image-{image.id}", daemon=True)
            worker.start()
            # Others may use the API meanwhile: the driver needs it, and so do the instances.
            state_lock.release()
            try:
                worker.join(_IMAGE_PATIENCE_S)
            finally:
                state_lock.acquire()
        return result

    AmiBackend.create_image = create_image
    AmisResponse.create_image = answer_create_image


def _make_image(image: Any) -> None:
    assert hooks.image_created is not None
    try:
        hooks.image_created(image.id, image.instance_id)
    except Exception:  # noqa: BLE001 (whatever went wrong, the image failed)
        _log.exception("image %s of instance %s failed", image.id, image.instance_id)
        image.state = "failed"
    else:
        image.state = "available"
    if hooks.acted is not None:
        hooks.acted()


def _subnet_ipv6() -> None:
    """DescribeSubnets reports the state of an IPv6 block as a word, and filters by it.

    Amazon EC2 API Reference, SubnetCidrBlockState, and DescribeSubnets, Filters: ipv6-cidr-block-association.*.
    """

    def associations(self: Any) -> list[dict[str, Any]]:
        return [
            {
                "ipv6CidrBlock": association["ipv6CidrBlock"],
                "associationId": association["associationId"],
                "ipv6CidrBlockState": {"state": association["ipv6CidrBlockState"]["State"]},
            }
            for association in self.ipv6_cidr_block_associations.values()
            if association["ipv6CidrBlockState"]["State"] == "associated"
        ]

    filter_value = Subnet.get_filter_value

    def get_filter_value(self: Any, filter_name: str, method_name: str | None = None) -> Any:
        match filter_name:
            case "ipv6-cidr-block-association.ipv6-cidr-block":
                return [association["ipv6CidrBlock"] for association in associations(self)]
            case "ipv6-cidr-block-association.association-id":
                return [association["associationId"] for association in associations(self)]
            case "ipv6-cidr-block-association.state":
                return [association["ipv6CidrBlockState"]["state"] for association in associations(self)]
        return filter_value(self, filter_name, method_name)

    Subnet.ipv6_cidr_block_association_set = property(associations)
    Subnet.get_filter_value = get_filter_value


def _elastic_addresses() -> None:
    """Addresses are public ones, and a re-associated or released one leaves the instance that had it.

    Amazon EC2 API Reference, AssociateAddress: with AllowReassociation, an address "is automatically disassociated"
    from the instance that has it. moto gives loopback addresses, and leaves them on the earlier interface too.
    """
    allocate, associate = ElasticAddressBackend.allocate_address, ElasticAddressBackend.associate_address

    def allocate_address(self: Any, domain: str, address: str | None = None, tags: dict[str, str] | None = None) -> Any:
        used = {each.public_ip for each in self.addresses}
        free = next((str(each) for each in PUBLIC_ADDRESSES.hosts() if str(each) not in used), None)
        if address is None and free is None:
            raise EC2ClientError("AddressLimitExceeded", "The maximum number of addresses has been reached.")
        return allocate(self, domain, address or free, tags)

    def associate_address(self: Any, *args: Any, **kwargs: Any) -> Any:
        held = {each.allocation_id: each.eni for each in self.addresses}
        address = associate(self, *args, **kwargs)
        before = held.get(address.allocation_id)
        if before is not None and before is not address.eni:
            before.public_ip = None
        return address

    ElasticAddressBackend.allocate_address = allocate_address
    ElasticAddressBackend.associate_address = associate_address


def _routes_to_nowhere() -> None:
    """A route to a terminated instance is a black hole.

    Amazon EC2 API Reference, Route: State, "The blackhole state indicates that the route's target isn't available (for
    example, [...] the specified NAT instance has been terminated)". moto says active.
    """

    def state(self: Any) -> str:
        gone = self.instance is not None and self.instance.state == "terminated"
        return "blackhole" if gone else "active"

    Route.state = property(state)


def _nat_gateway() -> None:
    """A NAT gateway can be tagged and found by tags, and takes its network interface and address with it when deleted.

    Amazon VPC User Guide, "Work with NAT gateways": "Deleting a NAT gateway disassociates its Elastic IP address".
    Amazon EC2 API Reference, DescribeNatGateways, Filter: tag:<key>.
    """
    ec2_utils.EC2_PREFIX_TO_RESOURCE["nat"] = "natgateway"
    describe = NatGatewayBackend.describe_nat_gateways

    def describe_nat_gateways(self: Any, filters: Any, nat_gateway_ids: list[str] | None) -> list[Any]:
        tags = {key.removeprefix("tag:"): values for key, values in (filters or {}).items() if key.startswith("tag:")}
        found: list[Any] = describe(self, filters, nat_gateway_ids)
        return [
            gateway
            for gateway in found
            for own in [{tag["key"]: tag["value"] for tag in gateway.get_tags()}]
            if all(own.get(key) in values for key, values in tags.items())
        ]

    NatGatewayBackend.describe_nat_gateways = describe_nat_gateways
    delete = NatGatewayBackend.delete_nat_gateway

    def delete_nat_gateway(self: Any, nat_gateway_id: str) -> Any:
        gateway = delete(self, nat_gateway_id)
        for address in self.addresses:
            if address.eni is gateway._eni:
                self.disassociate_address(association_id=address.association_id)
        self.enis.pop(gateway._eni.id, None)
        return gateway

    NatGatewayBackend.delete_nat_gateway = delete_nat_gateway


def _rule_descriptions() -> None:
    """UpdateSecurityGroupRuleDescriptions{Ingress,Egress} answer with `return`.

    Amazon EC2 API Reference, UpdateSecurityGroupRuleDescriptionsEgress, Response Elements.
    """

    def with_return(answer: Any) -> Any:
        def update(self: Any) -> Any:
            answer(self)
            return ActionResult({"Return": True})

        return update

    for name in ("update_security_group_rule_descriptions_ingress", "update_security_group_rule_descriptions_egress"):
        setattr(SecurityGroups, name, with_return(getattr(SecurityGroups, name)))


def _groups_of_interfaces() -> None:
    """An instance's groups are those of its first interface, and a change of either is one of both.

    Amazon EC2 API Reference, ModifyInstanceAttribute, GroupId.N: "Replaces the security groups of the instance with the
    specified security groups"; ModifyNetworkInterfaceAttribute, SecurityGroupId.N. moto keeps two lists and adds them.
    """
    modify = NetworkInterfaceBackend.modify_network_interface_attribute

    def modify_instance_security_groups(self: Any, instance_id: str, new_group_id_list: list[str]) -> Any:
        instance = self.get_instance(instance_id)
        instance.security_groups = [self.get_security_group_from_id(each) for each in new_group_id_list]
        instance.nics[0]._group_set = list(instance.security_groups)
        return instance

    def modify_network_interface_attribute(
        self: Any, eni_id: str, group_ids: list[str], *args: Any, **more: Any
    ) -> None:
        modify(self, eni_id, group_ids, *args, **more)
        interface = self.get_network_interface(eni_id)
        if group_ids and interface.instance and interface.device_index == 0:
            interface.instance.security_groups = list(interface._group_set)

    InstanceBackend.modify_instance_security_groups = modify_instance_security_groups
    NetworkInterfaceBackend.modify_network_interface_attribute = modify_network_interface_attribute


def _volumes_of_images() -> None:
    """A device of a launch that names no size has its image's: 8 GiB here.

    Amazon EC2 API Reference, EbsBlockDevice: VolumeSize is the snapshot's unless it is given.
    """
    add = Instance.add_block_device

    def add_block_device(self: Any, size: int | None, device_path: str, *arguments: Any, **options: Any) -> None:
        add(self, size or 8, device_path, *arguments, **options)

    Instance.add_block_device = add_block_device


def _launch_template_data() -> None:
    """A version's data is what was sent as LaunchTemplateData: not the template's own tags.

    Amazon EC2 API Reference, CreateLaunchTemplate: TagSpecification is "the tags to apply to the launch template on
    creation". moto adds them to the data, so that a client that compares makes a new version on each run.
    """
    create_version = LaunchTemplate.create_version

    def create_clean_version(self: Any, data: dict[str, Any], description: str) -> Any:
        specifications = data.get("TagSpecifications")
        if specifications is not None:
            data["TagSpecifications"] = [
                specification for specification in specifications if specification["ResourceType"] != "launch-template"
            ]
            if not data["TagSpecifications"]:
                del data["TagSpecifications"]
        if isinstance(data.get("UserData"), str):
            data["UserData"] = parse_user_data(data["UserData"])
        return create_version(self, data, description)

    LaunchTemplate.create_version = create_clean_version


def _launch_template_version_deletion() -> None:
    """DeleteLaunchTemplateVersions, which moto has not; the numbers of deleted versions aren't used again, and the
    latest version is the one with the highest number that is left.

    Amazon EC2 API Reference, DeleteLaunchTemplateVersions: the default version can't be deleted.
    """
    describe = LaunchTemplateBackend.describe_launch_template_versions
    get = LaunchTemplate.get_version

    def latest_version(self: Any) -> Any:
        return next(version for version in reversed(self.versions) if not getattr(version, "deleted", False))

    def get_version(self: Any, num: Any) -> Any:
        return latest_version(self) if str(num).lower() == "$latest" else get(self, num)

    def describe_launch_template_versions(self: Any, **kwargs: Any) -> Any:
        versions = describe(self, **kwargs)
        return [(template, version) for template, version in versions if not getattr(version, "deleted", False)]

    def delete_launch_template_versions(self: Any) -> Any:
        name, template_id = self._get_param("LaunchTemplateName"), self._get_param("LaunchTemplateId")
        backend = self.ec2_backend
        template = (
            backend.get_launch_template(template_id) if template_id else backend.get_launch_template_by_name(name)
        )
        deleted = []
        for number in self._get_param("Versions") or []:
            version = template.get_version(number)
            if template.is_default(version):
                raise EC2ClientError("OperationNotPermitted", "The default version cannot be deleted.")
            version.deleted = True
            deleted.append(
                {
                    "LaunchTemplateId": template.id,
                    "LaunchTemplateName": template.name,
                    "VersionNumber": version.number,
                }
            )
        return ActionResult(
            {
                "SuccessfullyDeletedLaunchTemplateVersions": deleted,
                "UnsuccessfullyDeletedLaunchTemplateVersions": [],
            }
        )

    LaunchTemplate.latest_version, LaunchTemplate.get_version = latest_version, get_version
    LaunchTemplateBackend.describe_launch_template_versions = describe_launch_template_versions
    LaunchTemplates.delete_launch_template_versions = delete_launch_template_versions


def _terminated_instances() -> None:
    """A terminated instance leaves every target group, and takes its primary network interface with it.

    Elastic Load Balancing, "Register targets": "If you terminate a registered instance, the load balancer
    automatically deregisters it" (moto does so for TerminateInstances only, not for Auto Scaling). Amazon EC2 User
    Guide, "Elastic network interfaces": the primary interface is deleted with its instance.
    """
    terminate = InstanceBackend.terminate_instances

    def terminate_instances(self: Any, instance_ids: list[str]) -> Any:
        terminated = terminate(self, instance_ids)
        for instance, _ in terminated:
            self.enis.pop(instance.nics[0].id, None)
        elbv2_backends[self.account_id][self.region_name].notify_terminate_instances(instance_ids)
        return terminated

    InstanceBackend.terminate_instances = terminate_instances


def _dependency_violations() -> None:
    """Subnets and security groups in use can't be deleted: the order of a teardown matters.

    Amazon EC2 API Reference, Error codes, DependencyViolation: "The specified object has dependent resources".
    """
    delete_subnet = SubnetBackend.delete_subnet
    delete_security_group = SecurityGroupBackend._delete_security_group

    def delete_unused_subnet(self: Any, subnet_id: str) -> Any:
        users = [interface.id for interface in self.enis.values() if interface.subnet.id == subnet_id]
        balancers = elbv2_backends[self.account_id][self.region_name].load_balancers.values()
        users += [balancer.name for balancer in balancers if subnet_id in [subnet.id for subnet in balancer.subnets]]
        if users:
            raise DependencyViolationError(f"The subnet '{subnet_id}' has dependencies and cannot be deleted.")
        return delete_subnet(self, subnet_id)

    def delete_unused_security_group(self: Any, vpc_id: str | None, group_id: str) -> Any:
        if _security_group_users(self, group_id):
            raise DependencyViolationError(f"resource {group_id} has a dependent object")
        return delete_security_group(self, vpc_id, group_id)

    SubnetBackend.delete_subnet = delete_unused_subnet
    SecurityGroupBackend._delete_security_group = delete_unused_security_group


def _security_group_users(backend: Any, group_id: str) -> list[str]:
    """Names of what holds a security group: interfaces, load balancers and rules of other groups."""
    users = [
        interface.id
        for interface in backend.enis.values()
        if group_id in [group.id for group in interface.group_set if group is not None]
    ]
    balancers = elbv2_backends[backend.account_id][backend.region_name].load_balancers.values()
    users += [balancer.name for balancer in balancers if group_id in (balancer.security_groups or [])]
    for groups in backend.groups.values():
        for other in groups.values():
            rules = [*other.ingress_rules, *other.egress_rules]
            if other.id != group_id and any(rule.source_group.get("GroupId") == group_id for rule in rules):
                users.append(other.id)
    return users
