"""HTTPS: HTTP through TLS, with a look at the certificate."""

from __future__ import annotations

from dataclasses import dataclass

from monitors.kind import Kind, Secure
from monitors.kinds.http import kind as plain
from monitors.wire import http
from monitors.wire.certificate import CertificateCheck, parameters_problem


@dataclass(frozen=True)
class Parameters(CertificateCheck, plain.Parameters):
    """Those of HTTP and those of TLS."""

    custom_headers: str = http.custom_headers("the server name or else the VIP")


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
