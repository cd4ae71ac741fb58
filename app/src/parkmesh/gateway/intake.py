"""From one POST, or one message by MQTT, to the decider: cut into messages with one plate each, and each given to the
camera that it is from.

A recorder, or a program that reads several cameras' pictures, posts everything to one address; the message names the
camera by its channel. Channels that belong to no camera are passed: a recorder has cameras at no gate, too.
"""

from collections.abc import Callable, Sequence

from parkmesh.gateway import drivers
from parkmesh.gateway.config import Camera, Config, Recorder
from parkmesh.gateway.decider import Decider
from parkmesh.gateway.drivers.types import PlateRead, PoisonError
from parkmesh.gateway.spool import Spool, SpoolError


class Address:
    """Where messages come in: ``source`` is the camera or recorder that sends them, ``cameras`` are those that they are
    from, all of one kind."""

    def __init__(self, source: Camera | Recorder, cameras: Sequence[Camera]) -> None:
        self.name, self.secret_path, self.login, self.tls = source.name, source.secret_path, source.login, source.tls
        self.mapping, self.pull = source.mapping, source.pull
        self.cameras = tuple(cameras)
        self.kind = self.cameras[0].kind

    def camera(self, channel: str | None) -> Camera | None:
        """Return the camera that a message is from, None if it is from no camera of ours."""
        if self.cameras[0].recorder is None:
            return self.cameras[0]
        return next((camera for camera in self.cameras if camera.channel == channel), None)

    def messages(self, body: bytes, content_type: str) -> list[bytes]:
        """Return the messages of one POST, with one plate each. Raises PoisonError."""
        return drivers.messages(self.kind, body, content_type, self.mapping)


def addresses(config: Config) -> dict[str, Address]:
    """Return the addresses of cameras that post themselves, and of recorders."""
    alone = [Address(one, [one]) for one in config.cameras if one.recorder is None]
    shared = [Address(one, _of(config, one)) for one in config.recorders if one.topic is None]
    return {address.name: address for address in alone + shared}


def _of(config: Config, recorder: Recorder) -> list[Camera]:
    return [camera for camera in config.cameras if camera.recorder == recorder.name]


def fixed(known: Sequence[Address]) -> dict[str, tuple[Address, ...]]:
    """Return whose messages come to the paths that a brand's cameras post to whatever a person sets: of the only
    address of the kind that needs no secret, or of several that log in, each as another user."""
    found: dict[str, tuple[Address, ...]] = {}
    for path, kind in drivers.PATHS.items():
        candidates = [address for address in known if address.kind == kind and address.secret_path is None]
        users = {address.login.user for address in candidates if address.login}
        if len(candidates) == 1 or (candidates and len(users) == len(candidates)):
            found[path] = tuple(candidates)
    return found


def topics(config: Config) -> dict[str, Address]:
    """Return the topics of the MQTT broker on which recorders send."""
    return {one.topic: Address(one, _of(config, one)) for one in config.recorders if one.topic is not None}


class Intake:
    """Takes what is posted to the addresses of a configuration. ``clock`` gives ms since 1970."""

    def __init__(self, config: Config, spool: Spool, decider: Decider, *, clock: Callable[[], int]) -> None:
        self._spool, self._decider, self._clock = spool, decider, clock
        self.addresses, self.topics = addresses(config), topics(config)
        self.fixed = fixed(list(self.addresses.values()))
        self._senders: dict[str, str] = {}

    def came_from(self, address: Address, sender: str) -> None:
        """Note who posts to an address of ours."""
        self._senders[address.name] = sender

    def sender(self, camera: Camera) -> str | None:
        """Return the network address from which a camera's messages come, None if none has come by HTTP."""
        return self._senders.get(camera.recorder or camera.name)

    def heard(self, address: Address) -> None:
        """Note a sign of life that was no message."""
        for camera in address.cameras:
            self._decider.heard(camera)

    async def take(self, address: Address, body: bytes, content_type: str) -> list[str]:
        """Hand on what one POST holds; return the channels in it that belong to no camera.

        Everything in it that can be read is taken. Raises then SpoolError if something isn't kept, else PoisonError if
        something can't be understood (it is in quarantine).
        """
        try:
            messages = address.messages(body, content_type)
        except PoisonError as error:
            self.heard(address)
            name, now, text = address.name, self._clock(), str(error)
            await self._decider.on_disk(lambda: self._spool.quarantine(name, now, text, body))
            raise
        if not messages:
            self.heard(address)
        strangers: list[str] = []
        unkept: SpoolError | None = None
        poison: PoisonError | None = None
        for message in messages:
            try:
                stranger = await self._hand_on(address, message)
                strangers += [stranger] if stranger else []
            except SpoolError as error:
                unkept = error
            except PoisonError as error:
                poison = error
        if unkept is not None:
            raise unkept
        if poison is not None:
            raise poison
        return strangers

    async def _hand_on(self, address: Address, message: bytes) -> str | None:
        """Give a message to its camera; return its channel if it is a plate of no camera."""
        camera: Camera | None = address.cameras[0]
        if any(one.recorder or one.ignore_directions for one in address.cameras):
            try:
                plate_read = drivers.CAMERAS[address.kind].parse(message)
            except PoisonError:
                plate_read = None  # the decider refuses it, too, and keeps it for a person
            if plate_read is not None:
                camera = address.camera(plate_read.channel)
                if camera is None:
                    return plate_read.channel or "-" if plate_read.anpr else None
                if _goes_elsewhere(camera, plate_read):
                    self._decider.heard(camera)
                    return None
        if camera is not None:
            await self._decider.camera_message(camera, message, "")
        return None


def _goes_elsewhere(camera: Camera, plate_read: PlateRead) -> bool:
    direction = (plate_read.direction or "").casefold()
    return any(direction == ignored.casefold() for ignored in camera.ignore_directions)
