"""Events and certificates for the tests."""

from __future__ import annotations

from datetime import UTC, datetime

from webui.events.message import ERROR, Event

AT = datetime(2026, 11, 23, 12, 0, 1, 234567, tzinfo=UTC)


def event(
    number: int = 1, text: str = "service web1 at 10.77.0.10: monitor tcp UP -> DOWN: refused", **data: str
) -> Event:
    return Event(f"transition-{number}", AT, "TRANSITION", ERROR, text, data or {"service": "web1", "new": "DOWN"})
