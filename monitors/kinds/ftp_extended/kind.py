"""FTP-EXTENDED."""

from __future__ import annotations

from dataclasses import dataclass

from monitors.kind import Kind
from monitors.parameters import text


@dataclass(frozen=True, slots=True)
class Parameters:
    """NetScaler's."""

    user_name: str = text("anonymous", required=True, help="Who logs in.")
    password: str = text(secret=True, help="Password of the user; anonymous servers take any.")
    file_name: str = text(required=True, help="File to fetch; its first 64 KiB are.")


KIND = Kind(
    name="FTP-EXTENDED",
    label="FTP-EXTENDED (login and file)",
    success="The login succeeds, and the file can be fetched in passive mode.",
    parameters_type=Parameters,
    default_port=21,
    command="curl -v ftp://{endpoint}/",
)
