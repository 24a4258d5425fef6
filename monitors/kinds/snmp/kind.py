"""SNMP."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from monitors.kind import UDP, Kind
from monitors.parameters import choice, text

V1, V2 = "V1", "V2"
_OID = re.compile(r"\.?[0-2](\.\d{1,10}){1,126}")
_NUMBER = re.compile(r"-?\d{1,20}")
_SUBIDENTIFIER_LIMIT: Final = 1 << 32  # RFC 2578, 3.5


def _oid_problem(oid: str) -> str:
    if not _OID.fullmatch(oid):
        return f"“{oid}” is not an object identifier: numbers with dots, as in 1.3.6.1.2.1.1.3.0."
    first, second, *rest = (int(part) for part in oid.strip(".").split("."))
    if (first < 2 and second > 39) or any(part >= _SUBIDENTIFIER_LIMIT for part in (second, *rest)):
        return f"“{oid}” is not an object identifier: a number in it is too large."
    return ""


def _threshold_problem(threshold: str) -> str:
    return "" if _NUMBER.fullmatch(threshold) else f"“{threshold}” is not a whole number."


@dataclass(frozen=True, slots=True)
class Parameters:
    """NetScaler's; the version V2 is SNMPv2c."""

    snmp_oid: str = text(
        "1.3.6.1.2.1.1.3.0",
        option="snmpOID",
        label="OID",
        required=True,
        check=_oid_problem,
        help="Object to get, with its instance. 1.3.6.1.2.1.1.3.0 is the time since the agent started.",
    )
    snmp_community: str = text("public", label="Community", required=True, secret=True, help="Community of the agent.")
    snmp_threshold: str = text(
        label="Threshold",
        check=_threshold_problem,
        help="The value must be a number of at most this. Empty: any value passes.",
    )
    snmp_version: str = choice(V2, (V1, V2), label="Version", help="V1, or V2 for version 2c.")


KIND = Kind(
    name="SNMP",
    label="SNMP (value of an object)",
    success="The agent answers with the object's value, which is at most the threshold if there is one.",
    parameters_type=Parameters,
    transport=UDP,
    default_port=161,
    command="snmpget -v2c -c public {address} 1.3.6.1.2.1.1.3.0",
)
