"""Types of single values, and what the schema says about them: each rule that needs no other value and no other object.

What JSON Schema can say and pydantic would say worse (names, addresses) is checked by the actions, in their words.
"""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Annotated, Any, Final

from pydantic import Field, WithJsonSchema

from dataplane.explain_query import PROTOCOLS

_REST: Final = r"(?:[A-Za-z0-9_#. :@=-]*[A-Za-z0-9_#.:@=-])?$"  # a space at the end nobody can see
_NAME: Final = {"type": "string", "minLength": 1, "maxLength": 127, "pattern": r"^[A-Za-z0-9_]" + _REST}
_LETTERED_NAME: Final = _NAME | {"pattern": r"^[A-Za-z_]" + _REST}
_OF_A_NAME: Final = Field(min_length=1, max_length=127)
Name = Annotated[str, _OF_A_NAME, WithJsonSchema(_NAME)]
# Of services and their groups, as NetScaler has it.
LetteredName = Annotated[str, _OF_A_NAME, WithJsonSchema(_LETTERED_NAME)]
_IPV4: Final = {
    "type": "string",
    "format": "ipv4",
    "not": {"pattern": r"^(?:0|127|22[4-9]|23[0-9])\.|^169\.254\.|^255\.255\.255\.255$"},
}
# Neither what begins with zeros (unspecified, loopback, IPv4-mapped), nor multicast, nor link-local.
_IPV6: Final = {
    "type": "string",
    "format": "ipv6",
    "not": {"pattern": r"^0{0,4}:|^[fF][fF][0-9A-Fa-f]{2}:|^[fF][eE][89abAB][0-9A-Fa-f]:"},
}
_NO_HOST: Final = r"^(?:22[4-9]|23[0-9])\.|^0\.0\.0\.0$"
# Of whoever sends or gets a packet.
Host = Annotated[
    str,
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "format": "ipv4", "not": {"pattern": _NO_HOST}},
                {"type": "string", "format": "ipv6", "not": {"pattern": "^0{0,4}:|^[fF][fF][0-9A-Fa-f]{2}:"}},
            ]
        }
    ),
]
_EMPTY: Final = {"type": "string", "maxLength": 0}
# Of a machine, or a VIP: an address that means one place in the network.
Address = Annotated[str, Field(max_length=39), WithJsonSchema({"anyOf": [_IPV4, _IPV6]})]
# Empty: none.
AnyAddress = Annotated[
    str,
    Field(max_length=39),
    WithJsonSchema({"anyOf": [_EMPTY, *({"type": "string", "format": one} for one in ("ipv4", "ipv6"))]}),
]
# All bits cleared would make all clients one.
Mask = Annotated[
    str,
    Field(max_length=15),
    WithJsonSchema({"type": "string", "format": "ipv4", "not": {"const": str(IPv4Address(0))}}),
]
# A server may be called by its own address, and by nothing else that starts with a digit.
ServerName = Annotated[
    str,
    _OF_A_NAME,
    WithJsonSchema(
        {
            "anyOf": [
                _LETTERED_NAME,
                {"type": "string", "format": "ipv4"},
                {"type": "string", "format": "ipv6", "pattern": "^[0-9]"},
            ]
        }
    ),
]


def text(longest: int | None) -> Any:
    """Text that every database holds: without NUL characters."""
    return Annotated[str, Field(max_length=longest, pattern=r"^[^\x00]*$")]


def _spelled(pattern: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": pattern})


# What these say about a wrong value, who reads them says better.
CURSOR: Final = r"^(?:after-[0-9]{1,18})?$"
Cursor = Annotated[str, _spelled(CURSOR)]
AuditCursor = Annotated[str, _spelled(r"^(?:[0-9]{1,17}\.[01]\.[0-9]{1,18})?$")]
Number = Annotated[str, _spelled(r"^[0-9]{0,18}$")]
_YEARS: Final = "^(?:19|2[0-9])"
# Without leap seconds, which Python has none of.
_TIME: Final = r"T[0-9]{2}:[0-9]{2}:[0-5][0-9](?:\.[0-9]{1,6})?(?:Z|[+-][0-9]{2}:[0-9]{2})$"
Moment = Annotated[
    str,
    WithJsonSchema(
        {
            "anyOf": [
                _EMPTY,
                {"type": "string", "format": "date", "pattern": _YEARS},
                {"type": "string", "format": "date-time", "pattern": _YEARS + "[0-9]{2}-[0-9]{2}-[0-9]{2}" + _TIME},
            ]
        }
    ),
]
_BYTE: Final = "[0-9]|[1-9][0-9]|1[0-9]{2}|2[0-4][0-9]|25[0-5]"
Protocol = Annotated[str, _spelled(f"^(?:{'|'.join(PROTOCOLS)}|{_BYTE})$")]
Port = Annotated[
    str, _spelled("^(?:[0-9]{1,4}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])?$")
]
