"""HTTPS: HTTP through TLS, with a look at the certificate."""

from __future__ import annotations

from dataclasses import dataclass

from monitors.kind import Kind, Secure
from monitors.parameters import text
from monitors.wire import certificate, http
from monitors.wire.certificate import parameters_problem


@dataclass(frozen=True, slots=True)
class Parameters:
    """Those of HTTP and those of TLS."""

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
        help="Name: value, one on each line. Without Host, the server name or else the VIP is sent as host.",
    )
    sni: str = certificate.sni()
    verify: str = certificate.verify()
    ca_certificates: str = certificate.authorities()
    warn_days: int = certificate.warn_days()
    fail_days: int = certificate.fail_days()


KIND = Kind(
    name="HTTPS",
    label="HTTPS (status code and certificate)",
    success="The certificate is valid for as many days as are wanted, and the answer to the request has one of the "
    "response codes.",
    parameters_type=Parameters,
    default_port=443,
    secure=Secure.ALWAYS,
    command="curl -vk https://{endpoint}/",
    check=parameters_problem,
)
