"""POP3."""

from __future__ import annotations

from dataclasses import dataclass

from monitors.kind import Kind, Secure
from monitors.parameters import text


@dataclass(frozen=True, slots=True)
class Parameters:
    """NetScaler's."""

    user_name: str = text(help="Who logs in. Empty: the greeting is enough.")
    password: str = text(secret=True, help="Password of the user.")


KIND = Kind(
    name="POP3",
    label="POP3 (greeting or login)",
    success="The server greets and, with a user name, accepts the login.",
    parameters_type=Parameters,
    default_port=110,
    secure_port=995,
    secure=Secure.OPTIONAL,
)
