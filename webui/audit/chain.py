"""The hash chain of the audit; pure.

The hash of an entry is the SHA-256 (FIPS 180-4) of its canonical encoding, which holds every field, the sequence number
and the hash of the entry before. An entry cannot be altered, removed, inserted or moved without changing every hash
after it.

SHA-256 and not an HMAC: the chain is to be verified by anybody who has the entries, from an archive file and with no
secret, years after the key of an HMAC was changed; and who can rewrite the database of a console can as a rule read
its key as well. What neither could show by itself, a chain that was rewritten as a whole from some entry on, is shown
by a head that was exported or forwarded earlier.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any, Final

GENESIS: Final = "0" * 64  # what the first entry names as the hash before it
# In the order of export. ``previous`` is part of the encoding, ``hash`` its result.
FIELDS: Final = (
    *("sequence", "at", "actor_id", "actor_name", "source_address", "interface", "verb", "outcome"),
    *("kind", "object_id", "object_name", "before", "after", "reason", "command", "correlation", "revision"),
    "previous",
)
_EXACT: Final = 1e15  # from here on a database may give a float of this size back as a whole number


def content(entry: Any) -> dict[str, Any]:
    """The hashed fields of a row of AuditEntry, as JSON has them."""
    found = {name: getattr(entry, name) for name in FIELDS[2:]}
    address = entry.source_address
    return (
        {"sequence": entry.pk, "at": stamp(entry.at)}
        | found
        | {"source_address": str(ip_address(address)) if address else None}
    )


def stamp(at: datetime) -> str:
    """RFC 3339 in UTC with microseconds, which is all that databases keep."""
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}Z"


def canonical(fields: Mapping[str, Any]) -> bytes:
    """JSON (RFC 8259) of FIELDS with sorted names, without spaces, in ASCII."""
    values = {name: fields[name] for name in FIELDS}
    return json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()


def digest(fields: Mapping[str, Any]) -> str:
    """The hash of an entry, 64 hexadecimal digits."""
    return hashlib.sha256(canonical(fields)).hexdigest()


def plain(value: Any) -> Any:
    """A value that every database gives back as it is: JSON's types, no NUL, no surrogate, floats in a safe range.

    PostgreSQL's jsonb refuses NUL and lone surrogates and keeps numbers as decimals; what is no JSON becomes text.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return _float(value)
    if isinstance(value, Mapping):
        return {text(str(key)): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(one) for one in (sorted(value, key=str) if isinstance(value, set | frozenset) else value)]
    return text(str(value))


def text(value: str) -> str:
    """Text without what PostgreSQL cannot hold."""
    return value.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def _float(value: float) -> Any:
    if not math.isfinite(value):
        return str(value)
    if abs(value) >= _EXACT and value.is_integer():
        return int(value)
    return value + 0.0  # jsonb knows no negative zero
