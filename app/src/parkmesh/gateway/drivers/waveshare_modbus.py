"""Waveshare's Modbus relays (Modbus POE ETH Relay and its kin): a coil is flashed on by the board's own timer.

Source: waveshare.com/wiki/Modbus_POE_ETH_Relay: function 5 with 0x02 in the address's high byte ("flash on"), and the
time in tenths of a second as the value; inputs as of ``modbus_tcp``.
"""

import struct

import httpx

from parkmesh.gateway.drivers import modbus_tcp
from parkmesh.gateway.gates import Question, Relay

FLASH_ON = 0x0200


async def pulse(client: httpx.AsyncClient, relay: Relay) -> None:
    """Open the barrier; return when the board confirmed. Raises RelayError otherwise."""
    from pymodbus.pdu.bit_message import WriteSingleCoilRequest

    class FlashOn(WriteSingleCoilRequest):
        """A write whose value isn't on or off, but a time."""

        def encode(self) -> bytes:
            return struct.pack(">HH", self.address, max(1, round(relay.pulse_s * 10)))

    async with modbus_tcp.board(relay) as to:
        request = FlashOn(address=FLASH_ON + int(relay.switch), dev_id=relay.unit)
        await modbus_tcp.answered(relay, to.execute(False, request), moves=True)


async def ask(client: httpx.AsyncClient, relay: Relay, question: Question) -> bool | None:
    """Ask a discrete input; None where none is connected."""
    return await modbus_tcp.ask(client, relay, question)
