"""HTTP."""

from __future__ import annotations

from dataclasses import dataclass

from monitors.kind import Kind, Secure
from monitors.wire import http


@dataclass(frozen=True, slots=True)
class Parameters:
    """NetScaler's, with its defaults."""

    http_request: str = http.http_request()
    resp_code: str = http.resp_code()
    trofs_code: int = http.trofs_code()
    custom_headers: str = http.custom_headers()


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
