"""How well a LoRaWAN uplink was heard. Nothing here refuses an uplink: its state counts, whatever the network adds."""

from typing import Any


def best(heard: Any) -> tuple[float | None, float | None]:
    """Return the strongest RSSI (dBm) among the radio gateways that a message lists, with its SNR (dB); None for what
    nobody says. ChirpStack 3 writes ``loRaSNR``, others ``snr``."""
    if not isinstance(heard, list):
        return None, None
    known: list[tuple[float, float | None]] = []
    for one in heard:
        rssi = _number(one, "rssi")
        if rssi is not None:
            snr = _number(one, "snr")
            known.append((rssi, _number(one, "loRaSNR") if snr is None else snr))
    return max(known, key=lambda pair: pair[0]) if known else (None, None)


def _number(one: Any, name: str) -> float | None:
    value = one.get(name) if isinstance(one, dict) else None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
