"""TCP-ECV: extended content verification over TCP."""

from __future__ import annotations

from dataclasses import dataclass

from monitors.kind import Kind, Secure
from monitors.parameters import text
from monitors.wire import pattern


@dataclass(frozen=True, slots=True)
class Parameters:
    """NetScaler 13: 512 characters to send, 128 to receive."""

    send: str = text(
        limit=512,
        check=pattern.escapes_problem,
        help=r"Sent after connecting; \r, \n, \t, \0, \\ and \xHH are understood. Empty: nothing is sent.",
    )
    recv: str = text(
        limit=128,
        check=pattern.problem,
        help="Text that the answer must contain, or a regular expression (RE2) as /…/. Empty: any answer, "
        "or with nothing sent either, the connection alone.",
    )
    trofs_string: str = pattern.trofs_string()


KIND = Kind(
    name="TCP-ECV",
    label="TCP-ECV (send and receive)",
    success="The answer to what is sent contains the expected text or matches the expression, within the first 24 KiB.",
    parameters_type=Parameters,
    secure=Secure.OPTIONAL,
)
