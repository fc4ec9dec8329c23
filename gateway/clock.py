"""Identifiers and times, in the two forms the whole product uses.

Ids are UUIDv7 (RFC 9562 section 5.7); times are RFC 3339 in UTC with milliseconds. Neither orders
anything: order is by log sequence number.
"""

from __future__ import annotations

import os
import time
import uuid
from datetime import UTC, datetime


def new_id() -> str:
    """Return a fresh UUIDv7 in its usual text form."""
    value = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | 0x7 << 76  # version
    value = value & ~(0x3 << 62) | 0x2 << 62  # variant
    return str(uuid.UUID(int=value))


def now() -> datetime:
    """Return the current time, aware, in UTC."""
    return datetime.now(UTC)


def rfc3339(moment: datetime) -> str:
    """Write a moment as ``2026-11-22T08:15:00.123Z``."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_rfc3339(text: str) -> datetime:
    """Read what ``rfc3339`` wrote."""
    return datetime.fromisoformat(text)
