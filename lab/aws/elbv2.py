"""Corrections to moto's Elastic Load Balancing (v2), and the driver's word on target health."""

from __future__ import annotations

from typing import Any

from moto.elbv2.models import FakeHealthStatus, FakeLoadBalancer, FakeTargetGroup

from .hooks import hooks

# Elastic Load Balancing, Application Load Balancers, "Edit attributes for your Application Load Balancer": defaults.
_DEFAULT_ATTRIBUTES = {
    "access_logs.s3.enabled": "false",
    "client_keep_alive.seconds": "3600",
    "connection_logs.s3.bucket": "",
    "connection_logs.s3.enabled": "false",
    "connection_logs.s3.prefix": "",
    "idle_timeout.timeout_seconds": "60",
    "load_balancing.cross_zone.enabled": "true",
    "routing.http.desync_mitigation_mode": "defensive",
    "routing.http.drop_invalid_header_fields.enabled": "false",
    "routing.http.preserve_host_header.enabled": "false",
    "routing.http.x_amzn_tls_version_and_cipher_suite.enabled": "false",
    "routing.http.xff_client_port.enabled": "false",
    "routing.http.xff_header_processing.mode": "append",
    "routing.http2.enabled": "true",
    "waf.fail_open.enabled": "false",
    "zonal_shift.config.enabled": "false",
}


def correct() -> None:
    _default_attributes()
    _measured_health()


def _default_attributes() -> None:
    """A new Application Load Balancer has all its attributes, with their defaults."""
    construct = FakeLoadBalancer.__init__

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        construct(self, *args, **kwargs)
        if self.type == "application":
            self.attrs.update(_DEFAULT_ATTRIBUTES)

    FakeLoadBalancer.__init__ = __init__


def _measured_health() -> None:
    """DescribeTargetHealth reports what the driver measured for a registered target.

    Elastic Load Balancing API Reference, TargetHealth: State, Reason, Description. moto says healthy of everything.
    """
    health_for = FakeTargetGroup.health_for

    def measured_health_for(self: Any, target: dict[str, Any], ec2_backend: Any) -> Any:
        status = health_for(self, target, ec2_backend)
        if hooks.target_health is None or status.status != "healthy":
            return status
        measured = hooks.target_health(self.arn, status.instance_id, int(status.port))
        if measured is None:
            return status
        state, reason, description = measured
        return FakeHealthStatus(status.instance_id, status.port, status.health_check_port, state, reason, description)

    FakeTargetGroup.health_for = measured_health_for
