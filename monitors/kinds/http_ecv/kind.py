"""HTTP-ECV: extended content verification over HTTP."""

from __future__ import annotations

from dataclasses import dataclass

from monitors.kind import Kind, Secure
from monitors.parameters import text
from monitors.wire import http, pattern


@dataclass(frozen=True, slots=True)
class Parameters:
    """NetScaler 13: 512 characters to send, 128 to receive."""

    send: str = text("GET /", limit=512, required=True, check=http.request_problem, help="Method and path.")
    recv: str = text(
        limit=128,
        check=pattern.problem,
        help="Text that the answer's body must contain, or a regular expression (RE2) as /…/. Empty: any answer.",
    )
    trofs_string: str = pattern.trofs_string()
    custom_headers: str = http.custom_headers()


KIND = Kind(
    name="HTTP-ECV",
    label="HTTP-ECV (content)",
    success="The body of the answer, whatever its status code, contains the expected text or matches the expression, "
    "within the first 24 KiB.",
    parameters_type=Parameters,
    default_port=80,
    secure_port=443,
    secure=Secure.OPTIONAL,
    command="curl -v http://{endpoint}/",
)
