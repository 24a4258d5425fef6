"""NTP; not one of NetScaler's types."""

from __future__ import annotations

from dataclasses import dataclass

from monitors.kind import UDP, Kind
from monitors.parameters import integer


@dataclass(frozen=True, slots=True)
class Parameters:
    """How good the server's time must be."""

    max_stratum: int = integer(
        15, low=1, high=15, label="Largest stratum", help="Steps from a clock that the server may be away: 1 has one."
    )
    max_offset: int = integer(
        0,
        low=0,
        high=86_400_000,
        label="Largest offset (ms)",
        help="By how much its time may differ from the director's, in ms. 0: any.",
    )


KIND = Kind(
    name="NTP",
    label="NTP (time)",
    success="The server tells the time, is synchronised itself, and is within the largest stratum and offset.",
    parameters_type=Parameters,
    transport=UDP,
    default_port=123,
    command="chronyd -Q 'server {address} iburst'",
)
