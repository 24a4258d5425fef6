"""FTP."""

from __future__ import annotations

from dataclasses import dataclass

from monitors.kind import Kind, Secure
from monitors.parameters import text


@dataclass(frozen=True, slots=True)
class Parameters:
    """NetScaler's."""

    user_name: str = text("anonymous", required=True, help="Who logs in.")
    password: str = text(secret=True, help="Password of the user; anonymous servers take any.")


KIND = Kind(
    name="FTP",
    label="FTP (login)",
    success="The login succeeds.",
    parameters_type=Parameters,
    default_port=21,
    secure_port=990,
    secure=Secure.OPTIONAL,
    command="curl -v ftp://{endpoint}/",
)
