"""How simulated devices publish to the gateway's broker."""

import ssl
from collections.abc import Iterable
from pathlib import Path

import aiomqtt

from parkmesh.simulator.site import Broker

TIMEOUT_S = 5


async def publish(broker: Broker, messages: Iterable[tuple[str, bytes]]) -> None:
    """Publish messages, each with its topic; return when the broker has all of them (QoS 1). Raises aiomqtt.MqttError,
    also where the account's password can't be read.

    MQTT 3.1.1 has no refusal of a message: a broker takes one that the account may not publish, and drops it.
    """
    async with aiomqtt.Client(
        broker.host,
        broker.port,
        username=broker.user,
        password=_password(broker),
        tls_context=_any_certificate() if broker.tls else None,
        timeout=TIMEOUT_S,
    ) as client:
        for topic, message in messages:
            await client.publish(topic, message, qos=1, timeout=TIMEOUT_S)


def _password(broker: Broker) -> str | None:
    if broker.password_file is None:
        return broker.password
    try:
        return Path(broker.password_file).read_text().strip()
    except OSError as error:
        raise aiomqtt.MqttError(f"{broker.password_file}: {error.strerror}") from None


def _any_certificate() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context
