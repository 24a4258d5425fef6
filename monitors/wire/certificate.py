"""Parameters that the kinds about certificates share, and their check."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from monitors.parameters import choice, integer, text
from monitors.spec import ParamValue
from monitors.wire.stream import Conversation
from monitors.wire.tls import Tls, authorities_problem, check_dates, server_name_problem

NONE, AUTHORITIES = "NONE", "CA"


@dataclass(frozen=True)
class CertificateCheck:
    """The parameters, not NetScaler's (its TLS profile has some of them), and what is done with them."""

    sni: str = text(
        option="sni",
        label="Server name",
        check=server_name_problem,
        help="Sent in the handshake (SNI), and, with a CA, the name that the certificate must have. Empty: none.",
    )
    verify: str = choice(
        NONE,
        (NONE, AUTHORITIES),
        help="CA: the certificate's chain must end in one of the certificates below. NONE: only its dates are checked.",
    )
    ca_certificates: str = text(
        limit=65_536,
        multiline=True,
        check=authorities_problem,
        option="caCertificates",
        label="CA certificates",
        help="PEM, one or more.",
    )
    warn_days: int = integer(30, low=0, high=3650, label="Warn below", help="Days left at which the message warns.")
    fail_days: int = integer(
        0, low=0, high=3650, label="Fail below", help="Days left at which the check fails; 0: when it ended."
    )

    @property
    def tls(self) -> Tls:
        """How to shake hands."""
        return Tls(server_name=self.sni, authorities=self.ca_certificates if self.verify == AUTHORITIES else "")

    def check_certificate(self, conversation: Conversation) -> str:
        """What to say about the server's certificate. Raises CertificateError."""
        return check_dates(conversation.certificate, warn_days=self.warn_days, fail_days=self.fail_days)


def parameters_problem(values: Mapping[str, ParamValue]) -> dict[str, str]:
    """Rules that look at several of these parameters."""
    if values["verify"] == AUTHORITIES and not values["ca_certificates"]:
        return {"ca_certificates": "CA certificates are needed to verify against them."}
    return {}
