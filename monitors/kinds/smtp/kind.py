"""SMTP."""

from __future__ import annotations

from dataclasses import dataclass

from monitors.kind import Kind, Secure
from monitors.parameters import switch, text


@dataclass(frozen=True, slots=True)
class Parameters:
    """NetScaler's, and STARTTLS."""

    user_name: str = text(help="Who logs in (AUTH PLAIN or LOGIN). Empty: nobody.")
    password: str = text(secret=True, help="Password of the user.")
    start_tls: bool = switch(False, label="STARTTLS", help="Begin TLS before the login; any certificate will do.")


KIND = Kind(
    name="SMTP",
    label="SMTP (greeting or login)",
    success="The server greets, accepts EHLO and, with a user name, the login. No mail is sent.",
    parameters_type=Parameters,
    default_port=25,
    secure_port=465,
    secure=Secure.OPTIONAL,
)
