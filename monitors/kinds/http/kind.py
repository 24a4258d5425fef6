"""HTTP."""

from __future__ import annotations

from dataclasses import dataclass

from monitors.kind import Kind, Secure
from monitors.parameters import text
from monitors.wire import http


@dataclass(frozen=True, slots=True)
class Parameters:
    """NetScaler's, with its defaults."""

    http_request: str = text(
        "HEAD /", required=True, check=http.request_problem, label="HTTP request", help="Method and path."
    )
    resp_code: str = text(
        "200",
        required=True,
        check=http.codes_problem,
        label="Response codes",
        help="Status codes that pass, such as 200-299, 301.",
    )
    custom_headers: str = text(
        limit=1024,
        multiline=True,
        check=http.headers_problem,
        help="Name: value, one on each line. Without Host, the VIP is sent as host.",
    )


KIND = Kind(
    name="HTTP",
    label="HTTP (status code)",
    success="The answer to the request has one of the response codes. Redirections are not followed.",
    parameters_type=Parameters,
    default_port=80,
    secure_port=443,
    secure=Secure.OPTIONAL,
    command="curl -v http://{endpoint}/",
)
