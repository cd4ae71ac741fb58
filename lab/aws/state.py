"""The lock around the emulator's state: held for each request, and by whoever touches moto's backends itself."""

from __future__ import annotations

import threading

state_lock = threading.RLock()
