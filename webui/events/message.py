"""An event as targets get it: where it came from, how grave it is, and what happened in words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

# Severities of RFC 5424, section 6.2.1.
CRITICAL: Final = 2
ERROR: Final = 3
WARNING: Final = 4
NOTICE: Final = 5
INFORMATIONAL: Final = 6


@dataclass(frozen=True, slots=True)
class Event:
    """One event. ``id`` is the same whenever it is sent, so that a receiver can tell a repetition.

    ``type`` is one of the words of :class:`webui.choices.EventKind`; ``data`` its values by name.
    """

    id: str
    at: datetime
    type: str
    severity: int
    text: str
    data: Mapping[str, str] = field(default_factory=dict)

    @property
    def time(self) -> str:
        """RFC 3339 in UTC, with microseconds."""
        return f"{self.at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}Z"

    def as_json(self) -> bytes:
        """Body of a webhook, as the Standard Webhooks specification proposes: type, timestamp and data."""
        body = {"type": self.type.lower(), "timestamp": self.time, "data": {"text": self.text, **self.data}}
        return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def one_line(text: str) -> str:
    """The text without control characters: what servers answer must not write lines of a log or a header."""
    return "".join(character if character.isprintable() else " " for character in text).strip()
