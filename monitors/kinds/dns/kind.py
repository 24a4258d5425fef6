"""DNS."""

from __future__ import annotations

from monitors.kind import UDP, Kind
from monitors.wire.dns import Parameters, parameters_problem

KIND = Kind(
    name="DNS",
    label="DNS (query over UDP)",
    success="The answer to the query has a record of the type, and one of the expected addresses if there are any.",
    parameters_type=Parameters,
    transport=UDP,
    default_port=53,
    command="dig @{address} example.org",
    check=parameters_problem,
)
