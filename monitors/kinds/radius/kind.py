"""RADIUS."""

from __future__ import annotations

import re
from dataclasses import dataclass

from monitors.kind import UDP, Kind
from monitors.parameters import text
from monitors.wire import radius

_CODES = re.compile(r"\s*(\d{1,3})\s*(?:-\s*(\d{1,3})\s*)?")


def parse_codes(given: str) -> list[range]:
    """Ranges of ``2, 11-12``. Raises ValueError with a sentence."""
    ranges = []
    for part in given.split(","):
        match = _CODES.fullmatch(part)
        low = int(match[1]) if match else 0
        high = int(match[2] or match[1]) if match else 0
        if not 1 <= low <= high <= 255:
            raise ValueError(f"“{part.strip()}” is no RADIUS code: 1 to 255, or a range as in 2-3.")
        ranges.append(range(low, high + 1))
    return ranges


def _codes_problem(given: str) -> str:
    try:
        parse_codes(given)
    except ValueError as error:
        return str(error)
    return ""


def _password_problem(given: str) -> str:
    return "" if len(given.encode()) <= 128 else "A RADIUS password has at most 128 bytes."


@dataclass(frozen=True, slots=True)
class Parameters:
    """NetScaler's."""

    user_name: str = radius.user_name("User to log in.", required=True)
    password: str = text(secret=True, required=True, check=_password_problem, help="The user's password (PAP).")
    rad_key: str = radius.rad_key()
    rad_nas_id: str = radius.rad_nas_id()
    rad_nas_ip: str = radius.rad_nas_ip()
    resp_code: str = text(
        "2",
        required=True,
        check=_codes_problem,
        label="Response codes",
        help="Codes that pass: 2 is Access-Accept, 3 Access-Reject, 11 Access-Challenge.",
    )


KIND = Kind(
    name="RADIUS",
    label="RADIUS (login)",
    success="The answer to the login has one of the response codes and is signed with the shared secret.",
    parameters_type=Parameters,
    transport=UDP,
    default_port=1812,
    command="radtest user password {address} 0 secret",
)
