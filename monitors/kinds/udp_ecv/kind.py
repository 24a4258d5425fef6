"""UDP-ECV: extended content verification over UDP."""

from __future__ import annotations

from dataclasses import dataclass

from monitors.kind import UDP, Kind
from monitors.parameters import text
from monitors.wire import pattern


@dataclass(frozen=True, slots=True)
class Parameters:
    """NetScaler 13: 512 characters to send, 128 to receive."""

    send: str = text(
        limit=512,
        check=pattern.escapes_problem,
        help=r"Sent as one datagram; \r, \n, \t, \0, \\ and \xHH are understood. Empty: an empty datagram.",
    )
    recv: str = text(
        limit=128,
        check=pattern.problem,
        help="Text that the answer must contain, or a regular expression (RE2) as /…/. Empty: no answer is needed, "
        "and only an ICMP error (port unreachable) fails.",
    )


KIND = Kind(
    name="UDP-ECV",
    label="UDP-ECV (send and receive)",
    success="A datagram of the answer contains the expected text or matches the expression; with none expected, no "
    "ICMP error comes back within the response timeout.",
    parameters_type=Parameters,
    transport=UDP,
    command="nc -u {address}",
)
