"""What the lab's compute driver adds to lab.aws: images and snapshots made of containers, and health measured on
them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

TargetHealth = tuple[str, str | None, str | None]


@dataclass
class Hooks:
    """Callables that lab.aws calls; None leaves its own answer.

    image_created(image_id, instance_id): called within CreateImage, before the image is available. An exception makes
        the image fail.
    snapshot_created(database_id, snapshot_id, port): called within CreateDBSnapshot and before the last snapshot of
        DeleteDBInstance. An exception fails the call. Called with the state of lab.aws locked: don't call the API.
    acted(): called after the records changed without a request: an instance refresh went on, an image became available.
    target_health(target_group_arn, target_id, port): (state, reason, description) as DescribeTargetHealth reports
        them, e.g. ("unhealthy", "Target.Timeout", "Request timed out"), or None for lab.aws's own answer. It is
        called with the state of lab.aws locked: answer from memory, and don't call the API.
    sign(certificate): a certificate (PEM) with the names and the key of this one, signed by an authority that the lab's
        clients trust, and the authority's own. None leaves certificates that nobody trusts.
    instances_act: whether instances run as hosts, which complete their lifecycle actions themselves.
    failed_zones: names of the zones in which nothing starts (``zones``).
    refreshes_wait: whether instance refreshes make no step (``faults``).
    """

    image_created: Callable[[str, str], None] | None = None
    snapshot_created: Callable[[str, str, int], None] | None = None
    acted: Callable[[], None] | None = None
    target_health: Callable[[str, str, int], TargetHealth | None] | None = None
    sign: Callable[[bytes], tuple[bytes, bytes]] | None = None
    instances_act: bool = False
    failed_zones: frozenset[str] = frozenset()
    refreshes_wait: bool = False


hooks = Hooks()
