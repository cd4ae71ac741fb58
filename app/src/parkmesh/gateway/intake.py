"""From one POST to the decider: cut into messages with one plate each, and each given to the camera that it is from.

A recorder, or a program that reads several cameras' pictures, posts everything to one address; the message names the
camera by its channel. Channels that belong to no camera are passed: a recorder has cameras at no gate, too.
"""

from collections.abc import Sequence

from parkmesh.gateway import drivers
from parkmesh.gateway.config import Camera, Config
from parkmesh.gateway.decider import Decider
from parkmesh.gateway.drivers.types import PoisonError
from parkmesh.gateway.spool import SpoolError


class Address:
    """Where messages come in: ``secret_path`` is what else the address needs, ``cameras`` are those that post there."""

    def __init__(self, name: str, secret_path: str | None, cameras: Sequence[Camera]) -> None:
        self.name, self.secret_path, self.cameras = name, secret_path, tuple(cameras)

    def camera(self, channel: str | None) -> Camera | None:
        """Return the camera that a message is from, None if it is from no camera of ours."""
        if len(self.cameras) == 1 and self.cameras[0].channel is None:
            return self.cameras[0]
        return next((camera for camera in self.cameras if camera.channel == channel), None)


def addresses(config: Config) -> dict[str, Address]:
    """Return the addresses of cameras that post themselves, and of recorders."""
    alone = [Address(one.name, one.secret_path, [one]) for one in config.cameras if one.recorder is None]
    shared = [
        Address(one.name, one.secret_path, [camera for camera in config.cameras if camera.recorder == one.name])
        for one in config.recorders
    ]
    return {address.name: address for address in alone + shared}


async def take(decider: Decider, address: Address, body: bytes, content_type: str) -> list[str]:
    """Hand on what one POST holds; return the channels in it that belong to no camera.

    Everything in it that can be read is taken. Raises then SpoolError if something isn't kept, else PoisonError if
    something can't be understood (it is in quarantine).
    """
    # Cameras of one address are of one kind.
    speaker = address.cameras[0]
    try:
        messages = drivers.messages(speaker.kind, body, content_type)
    except PoisonError:
        await decider.camera_message(speaker, body, content_type)
        raise
    strangers: list[str] = []
    unkept: SpoolError | None = None
    poison: PoisonError | None = None
    for message in messages:
        try:
            camera: Camera | None = speaker
            if speaker.channel is not None:
                plate_read = drivers.CAMERAS[speaker.kind].parse(message)
                camera = address.camera(plate_read.channel)
                if camera is None and plate_read.anpr:
                    strangers.append(plate_read.channel or "-")
            if camera is not None:
                await decider.camera_message(camera, message, "")
        except SpoolError as error:
            unkept = error
        except PoisonError as error:
            poison = error
    if unkept or poison:
        raise unkept or poison  # type: ignore[misc]
    return strangers
