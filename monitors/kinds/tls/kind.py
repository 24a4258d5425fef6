"""TLS: handshake and certificate, whatever the protocol inside."""

from __future__ import annotations

from dataclasses import dataclass

from monitors.kind import Kind, Secure
from monitors.wire import certificate
from monitors.wire.certificate import parameters_problem


@dataclass(frozen=True, slots=True)
class Parameters:
    """Not NetScaler's: there the TLS profile has some of them."""

    sni: str = certificate.sni()
    verify: str = certificate.verify()
    ca_certificates: str = certificate.authorities()
    warn_days: int = certificate.warn_days()
    fail_days: int = certificate.fail_days()


KIND = Kind(
    name="TLS",
    label="TLS (handshake and certificate)",
    success="A TLS handshake completes, and the certificate is valid for as many days as are wanted.",
    parameters_type=Parameters,
    default_port=443,
    secure=Secure.ALWAYS,
    command="openssl s_client -connect {endpoint} </dev/null",
    check=parameters_problem,
)
