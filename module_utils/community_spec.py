"""What a community's file may say: its keys, in the form of an argument spec.

An option has a ``type`` (``str``, ``int``, ``float``, ``bool``, ``contact``, ``dict``, ``list``), and may have
``required``, ``choices``, ``pattern`` with ``form`` (the pattern in words), ``least`` and ``most``, ``options`` (of a
dictionary, or of a list's elements), ``elements`` and ``description``. A dictionary without ``options`` takes any keys.

Kinds and rules repeat what the application knows (``gateway/config.py``, ``domain/community_rules.py``), which
isn't installed on a control node. A test compares.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

Option = Mapping[str, Any]

NAME: Final = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_NAME: Final = {
    "type": "str",
    "pattern": NAME,
    "form": "1 to 63 lower-case letters, digits and hyphens, with no hyphen at an end",
}
_IPV4: Final = {"type": "str", "pattern": r"\d{1,3}(\.\d{1,3}){3}", "form": "an IPv4 address"}
_EMAIL: Final = {"type": "str", "pattern": r"[^@\s]+@[^@\s]+", "form": "an e-mail address"}
_SECRET_PATH: Final = {"type": "str", "pattern": r"[A-Za-z0-9_-]{8,128}", "form": "8 to 128 of A-Z a-z 0-9 _ -"}

_LOGIN: Final = {
    "type": "dict",
    "description": "What it must log in with, by digest.",
    "options": {
        "user": {
            "type": "str",
            "required": True,
            "pattern": r"[^:\s\"\\]{1,64}",
            "form": "1 to 64 characters, no colon, space, quote or backslash",
        },
        "password": {"type": "str", "required": True, "pattern": r"[ -~]{8,128}", "form": "8 to 128 ASCII characters"},
        "algorithm": {"type": "str", "choices": ("any", "md5", "sha-256")},
    },
}
_TLS: Final = {"type": "bool", "description": "Whether its messages are taken over TLS only."}

_PULL: Final = {
    "type": "dict",
    "description": "Where the gateway fetches the messages of a camera or recorder that can't post.",
    "options": {
        "url": {
            "type": "str",
            "required": True,
            "pattern": r"https?://[^/\s@]+/?",
            "form": "http://<address>, no path",
        },
        "user": {"type": "str", "pattern": r"[^:\s]{1,64}", "form": "1 to 64 characters, no colon or space"},
        "password": {"type": "str", "required": True},
    },
}

STREAM: Final = r"rtsps?://([A-Za-z0-9.-]{1,253}|\[[0-9a-fA-F:]{2,45}\])(:[0-9]{1,5})?(/[^\s@{}]{0,500})?"
STREAM_FORM: Final = "rtsp://<address>[:<port>][/<path>], no space, @ or brace"
"""Frigate fills in what stands in braces, and looks for the account before the last @."""
STREAM_ACCOUNT: Final = r"@|[?&](user|username|password|passwd|pwd)="
"""How an address looks that has an account, and that no message may show."""
STREAM_PASSWORD: Final = r"[!-~]{1,128}"  # noqa: S105 - what one may have
STREAM_PASSWORD_FORM: Final = "1 to 128 ASCII characters, no space"  # noqa: S105 - the same in words
FRIGATE_CAMERA: Final = r"[a-zA-Z0-9_-]+"
"""What Frigate takes for the name of a camera (its REGEX_CAMERA_NAME)."""
FRIGATE_TOPIC: Final = "/tracked_object_update"
"""How the topic ends to which Frigate publishes plates; before it stands Frigate's prefix."""

RTSP: Final[Option] = {
    "type": "dict",
    "description": "The stream of a plain camera, for the configuration of Frigate that the gateway's role makes.",
    "options": {
        # What is wrong with the address or with the password is said apart, where it isn't shown.
        "url": {"type": "str", "required": True},
        # With another one Frigate leaves a password's special characters as they are (REGEX_RTSP_CAMERA_USER_PASS), and
        # ffmpeg takes them for parts of the address.
        "user": {"type": "str", "pattern": r"[a-zA-Z0-9_-]{1,64}", "form": "1 to 64 letters, digits, _ and -"},
        "password": {"type": "str"},
        "width": {"type": "int", "least": 160, "most": 7680},
        "height": {"type": "int", "least": 120, "most": 4320},
        "fps": {"type": "int", "least": 1, "most": 30},
        "closeup": {"type": "bool"},
    },
}

CAMERA_KINDS: Final = (
    "hikvision",
    "plate_recognizer",
    "milesight",
    "axis_lpv",
    "rekor_scout",
    "dahua_itsapi",
    "dahua_events",
    "frigate",
    "mapped",
)
RELAY_KINDS: Final = (
    "shelly_gen2",
    "shelly_gen1",
    "tasmota",
    "esphome",
    "hikvision_gate",
    "modbus_tcp",
    "waveshare_modbus",
    "gpio",
    "http",
)
SIMULATED_RELAYS: Final = ("shelly_gen2", "shelly_gen1", "tasmota", "esphome", "hikvision_gate", "http")
"""Those that ``parkmesh simulate`` can stand in for: the others are wires."""

SENSOR_KINDS: Final = (
    "bosch_tps110",
    "nwave_nps405",
    "milesight_em310_udl",
    "milesight_em400_mud",
    "libelium_parking",
    "pni_placepod",
    "mapped",
)

SIMULATED_SENSORS: Final = tuple(kind for kind in SENSOR_KINDS if kind != "mapped")
"""Those whose payloads ``parkmesh simulate`` knows: a mapped one says what its installer chose."""

_CAMERA_KIND: Final = {"type": "str", "choices": CAMERA_KINDS, "description": "The format of its messages."}
_DIRECTION: Final = {"type": "str", "choices": ("entry", "exit")}
_TOPIC: Final = {"type": "str", "pattern": r"[^+#]{1,200}", "form": "a topic without + and #"}
_DETECTOR: Final = {
    "type": "dict",
    "description": "A loop or a light barrier.",
    "options": {
        "topic": {**_TOPIC, "required": True},
        "field": {"type": "str"},
        "covered": {"type": "list", "elements": "str"},
        "clear": {"type": "list", "elements": "str"},
        "online": _TOPIC,
    },
}
# The number of a switch or an input in its relay, or the name that the device calls it by.
_CONTACT: Final = {"type": "contact"}

RULES: Final[Mapping[str, Option]] = {
    "lots_per_unit": {"type": "int", "least": 0, "most": 1000},
    "anti_passback": {"type": "str", "choices": ("off", "soft", "hard")},
    "entry_hold_s": {"type": "int", "least": 0, "most": 60},
    "exit_hold_s": {"type": "int", "least": 0, "most": 60},
    "exit_is_free": {"type": "bool"},
    "refusal_hold_s": {"type": "int", "least": 0, "most": 600},
    "same_plate_window_s": {"type": "int", "least": 1, "most": 3600},
    "plate_matching": {"type": "str", "choices": ("exact", "careful", "generous")},
    "residents_open_gates": {"type": "bool"},
    "visitors_open_gates": {"type": "bool"},
    "visitor_codes": {"type": "bool"},
    "accessible_needs_permit": {"type": "bool"},
    "visitor_passes_per_unit": {"type": "int", "least": 0, "most": 10000},
    "visitor_pass_max_hours": {"type": "int", "least": 1, "most": 8760},
    "booking_max_hours": {"type": "int", "least": 1, "most": 8760},
    "booking_days_ahead": {"type": "int", "least": 1, "most": 730},
    "bookings_per_unit": {"type": "int", "least": 0, "most": 1000},
    "no_show_minutes": {"type": "int", "least": 0, "most": 1440},
    "overstay_grace_minutes": {"type": "int", "least": 0, "most": 1440},
    "visitor_nights_in_28_days": {"type": "int", "least": 0, "most": 28},
}

_RELAY: Final[Mapping[str, Option]] = {
    "kind": {"type": "str", "choices": RELAY_KINDS},
    "url": {
        "type": "str",
        "pattern": r"(https?|modbus)://[^/\s@]+/?",
        "form": "http://<address> or modbus://<address>, no path",
    },
    "switch": _CONTACT,
    "pulse_s": {"type": "float", "least": 0.1, "most": 60},
    "closed_input": _CONTACT,
    "clear_input": _CONTACT,
    "close_switch": _CONTACT,
    "user": {"type": "str", "pattern": r"[^:\s]{1,64}", "form": "1 to 64 characters, no colon or space"},
    "password": {"type": "str"},
    "unit": {"type": "int", "least": 0, "most": 247},
    "chip": {"type": "str", "pattern": r"/dev/gpiochip[0-9]{1,3}", "form": "/dev/gpiochip<number>"},
    "active_low": {"type": "bool"},
    "calls": {"type": "dict", "description": "How a barrier of the kind http is opened, closed and asked."},
}

FILE: Final[Mapping[str, Option]] = {
    "title": {"type": "str", "required": True, "description": "What people call the community."},
    "place": {"type": "str", "description": "Where it is; only for the hand-over sheet."},
    "time_zone": {"type": "str", "required": True, "description": "A name of the IANA database: Europe/Madrid."},
    "language": {"type": "str", "choices": ("en", "es"), "description": "Of mails to people who chose none."},
    "administrator": {**_EMAIL, "description": "Who is invited as the first administrator."},
    "overlay": {
        "type": "dict",
        "required": True,
        "description": "The gateway as a member of the overlay.",
        "options": {
            "number": {"type": "int", "required": True, "least": 1, "most": 65535},
            "ip": {**_IPV4, "required": True},
            "address": {"type": "str", "pattern": r"[0-9a-f]{10}", "form": "a node address, 10 hex digits"},
        },
    },
    "gateway": {
        "type": "dict",
        "required": True,
        "description": "The gateway, as a host of Ansible.",
        "options": {
            "name": _NAME,
            "lan": {**_IPV4, "required": True, "description": "Its address on the community's LAN."},
            "console": {
                "type": "dict",
                "description": "How Ansible reaches it before it is a member.",
                "options": {
                    "connection": {"type": "str", "required": True},
                    "host": {"type": "str", "required": True},
                    "user": {"type": "str"},
                    "become": {"type": "bool"},
                },
            },
            "variables": {"type": "dict", "description": "Further variables of the host, by their full names."},
        },
    },
    "gates": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "name": {**_NAME, "required": True},
            "title": {"type": "str"},
            "direction": {"type": "str", "choices": ("entry", "exit", "both"), "required": True},
            "relay": {"type": "dict", "options": _RELAY, "description": "What moves the barrier."},
            "input": {"type": "str", "choices": ("open", "step")},
            "min_gap_s": {"type": "float", "least": 0, "most": 60},
            "still_open_s": {"type": "float", "least": 5, "most": 86_400},
            "others_open": {"type": "bool"},
            "close_after_clear_s": {"type": "float", "least": 0.2, "most": 60},
            "close_unused_s": {"type": "float", "least": 5, "most": 600},
            "hold_open": {
                "type": "list",
                "elements": "dict",
                "options": {
                    "zone": {"type": "str", "required": True},
                    "from": {"type": "str", "required": True},
                    "until": {"type": "str", "required": True},
                    "days": {"type": "list", "elements": "str"},
                },
            },
            "interlock": {"type": "list", "elements": "str"},
        },
    },
    "lanes": {
        "type": "list",
        "elements": "dict",
        "description": "A lane has one gate and one direction; its cameras need name neither.",
        "options": {
            "name": {**_NAME, "required": True},
            "gate": {**_NAME, "required": True},
            "direction": {**_DIRECTION, "required": True},
        },
    },
    "cameras": {
        "type": "list",
        "elements": "dict",
        "options": {
            "name": {**_NAME, "required": True},
            "kind": {**_CAMERA_KIND, "required": True},
            "lane": _NAME,
            "gate": _NAME,
            "direction": _DIRECTION,
            "secret_path": _SECRET_PATH,
            "login": _LOGIN,
            "tls": _TLS,
            "host": {"type": "str", "description": "Its address on the LAN, for the doctor."},
            "recorder": _NAME,
            "channel": {"type": "str"},
            "mapping": {"type": "dict"},
            "pull": _PULL,
            "rtsp": RTSP,
            "ignore_directions": {"type": "list", "elements": "str"},
        },
    },
    "recorders": {
        "type": "list",
        "elements": "dict",
        "options": {
            "name": {**_NAME, "required": True},
            "kind": {**_CAMERA_KIND, "required": True},
            "secret_path": _SECRET_PATH,
            "login": _LOGIN,
            "tls": _TLS,
            "topic": {"type": "str"},
            "mapping": {"type": "dict"},
            "pull": _PULL,
        },
    },
    "readers": {
        "type": "list",
        "elements": "dict",
        "description": "Scanners and keypads for visitors' codes.",
        "options": {
            "name": {**_NAME, "required": True},
            "gate": {**_NAME, "required": True},
            "direction": {**_DIRECTION, "required": True},
            "secret_path": _SECRET_PATH,
            "login": _LOGIN,
            "tls": _TLS,
            "field": {"type": "str"},
            "device": {
                "type": "str",
                "pattern": r"/dev/input/[A-Za-z0-9/._:-]{1,200}",
                "form": "/dev/input/by-id/<name>",
            },
        },
    },
    "sensors": {
        "type": "list",
        "elements": "dict",
        "options": {
            "dev_eui": {"type": "str", "pattern": "[0-9a-fA-F]{16}", "form": "16 hex digits in quotes"},
            "topic": _TOPIC,
            "kind": {"type": "str", "choices": SENSOR_KINDS, "required": True},
            "space": {**_NAME, "required": True},
            "mapping": {"type": "dict"},
            "occupied_below_mm": {"type": "int", "least": 50, "most": 10_000},
            "silence_s": {"type": "float", "least": 60, "most": 2_592_000},
        },
    },
    "counters": {
        "type": "list",
        "elements": "dict",
        "description": "What counts the vehicles in and out.",
        "options": {
            "name": {**_NAME, "required": True},
            "capacity": {"type": "int", "least": 1, "most": 100_000},
            "silence_s": {"type": "float", "least": 60, "most": 2_592_000},
            "points": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "detector": _DETECTOR,
                    "direction": _DIRECTION,
                    "outside": _DETECTOR,
                    "inside": _DETECTOR,
                },
            },
        },
    },
    "spaces": {
        "type": "list",
        "elements": "dict",
        "options": {
            "name": {**_NAME, "required": True},
            "level": {"type": "str"},
            "category": {"type": "str"},
        },
    },
    "rules": {"type": "dict", "options": RULES, "description": "Rules that the new community begins with."},
    "residents": {
        "type": "list",
        "elements": "dict",
        "description": "First residents; usually they are data of the application.",
        "options": {
            "email": {**_EMAIL, "required": True},
            "name": {"type": "str"},
            "unit": {"type": "str"},
            "plates": {"type": "list", "elements": "str"},
        },
    },
    "simulator": {
        "type": "dict",
        "description": "A host that simulates the devices; a real community has none.",
        "options": {
            "host": {**_NAME, "required": True},
            "broker": {
                "type": "dict",
                "description": "The devices' account at the gateway's broker.",
                "options": {
                    "user": {"type": "str", "required": True},
                    "password": {"type": "str", "required": True},
                    "tls": {"type": "bool"},
                },
            },
        },
    },
}
