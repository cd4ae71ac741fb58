"""Example bodies of the calls that integrators make first, by operation; a test checks each against its schema."""

from typing import Any

BODIES: dict[str, Any] = {
    "createSession": {"email": "ana@example.org", "password": "correct horse battery"},
    "createBooking": {"space": "a-07", "from": "2026-12-01T09:00:00+01:00", "until": "2026-12-01T18:00:00+01:00"},
    "cancelBooking": {"reason": "The space is closed for works"},
    "createVisitorPass": {
        "plate": "1234BCD",
        "from": "2026-12-01T09:00:00+01:00",
        "until": "2026-12-01T18:00:00+01:00",
    },
    "openGate": {"reason": "Delivery for 2B"},
    "createUnit": {"name": "2B"},
    "createResident": {"email": "luis@example.org", "name": "Luis Ortega", "unit_id": 12},
    "createInvitation": {"email": "luis@example.org", "role": "resident", "unit_id": 12},
    "addVehicle": {"plate": "5678FGH", "label": "Blue car"},
    "createApiKey": {"name": "Concierge", "role": "reader"},
}
