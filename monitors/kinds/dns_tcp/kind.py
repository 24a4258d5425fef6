"""DNS-TCP."""

from __future__ import annotations

from monitors.kind import Kind
from monitors.wire.dns import Parameters, parameters_problem

KIND = Kind(
    name="DNS-TCP",
    label="DNS-TCP (query over TCP)",
    success="The answer to the query has a record of the type, and one of the expected addresses if there are any.",
    parameters_type=Parameters,
    default_port=53,
    command="dig +tcp @{address} example.org",
    check=parameters_problem,
)
