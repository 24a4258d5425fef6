"""TFTP; not one of NetScaler's types, made after its FTP-EXTENDED."""

from __future__ import annotations

from dataclasses import dataclass

from monitors.kind import UDP, Kind
from monitors.parameters import text


@dataclass(frozen=True, slots=True)
class Parameters:
    """The file to ask for."""

    file_name: str = text(required=True, limit=400, help="File to ask for; its first block, 512 bytes, is fetched.")


KIND = Kind(
    name="TFTP",
    label="TFTP (file)",
    success="The server sends the first block of the file.",
    parameters_type=Parameters,
    transport=UDP,
    default_port=69,
    command="curl -v tftp://{endpoint}/",
)
