"""The lock around the state of lab.aws: held for each request, and by code that touches moto's backends itself."""

from __future__ import annotations

import threading

state_lock = threading.RLock()
