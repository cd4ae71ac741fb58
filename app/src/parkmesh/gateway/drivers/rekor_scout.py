"""Rekor Scout and the OpenALPR agent, which read plates in the pictures of plain cameras: their webhook.

``data_type`` says what a message is: ``alpr_group`` is one car, ``alpr_results`` one picture, of which the group tells
the best; ``heartbeat`` comes every minute. One agent can serve several cameras; ``camera_id`` names them.

Source: the agent's documentation of its JSON (doc.openalpr.com, "Web server integration").
"""

from parkmesh.gateway.drivers import camera_values
from parkmesh.gateway.drivers.camera_json import at, document, extract
from parkmesh.gateway.drivers.types import PlateRead, PoisonError

__all__ = ["extract", "parse"]


def parse(message: bytes) -> PlateRead:
    """Read one message. Raises PoisonError."""
    found = document(message)
    kind = camera_values.text(at(found, "data_type"))
    if kind is None:
        raise PoisonError("the JSON has no data_type")
    best = at(found, "best_plate")
    # Older agents write best_plate as a text.
    plate = camera_values.text(at(found, "best_plate_number")) or camera_values.text(at(best, "plate") or best)
    sure, moment = at(found, "best_confidence"), camera_values.epoch_ms(at(found, "epoch_start"), 1000)
    channel = camera_values.text(at(found, "camera_id"))
    uuid = camera_values.text(at(found, "best_uuid"))
    return PlateRead(
        event_id=camera_values.event_id(uuid) or camera_values.digest(message),
        anpr=kind == "alpr_group",
        plate=plate,
        confidence=camera_values.share(at(best, "confidence") if sure is None else sure, 100),
        at=moment,
        direction=camera_values.text(at(found, "travel_direction")),
        channel=channel,
    )
