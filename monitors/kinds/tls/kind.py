"""TLS: handshake and certificate, whatever the protocol inside."""

from __future__ import annotations

from monitors.kind import Kind, Secure
from monitors.wire.certificate import CertificateCheck, parameters_problem

KIND = Kind(
    name="TLS",
    label="TLS (handshake and certificate)",
    success="A TLS handshake completes, and the certificate is valid for as many days as are wanted.",
    parameters_type=CertificateCheck,
    default_port=443,
    secure=Secure.ALWAYS,
    command="openssl s_client -connect {endpoint} </dev/null",
    check=parameters_problem,
)
