"""POSTGRESQL; not one of NetScaler's types, made after its MYSQL."""

from __future__ import annotations

from dataclasses import dataclass

from monitors.kind import Kind, Secure
from monitors.parameters import text


@dataclass(frozen=True, slots=True)
class Parameters:
    """As those of MYSQL."""

    user_name: str = text(required=True, limit=63, help="Role to log in.")
    password: str = text(secret=True, help="The role's password. Empty: none.")
    database: str = text(limit=63, help="Database to use. Empty: that of the role's name.")
    sql_query: str = text(
        "SELECT 1",
        required=True,
        limit=1024,
        option="sqlQuery",
        label="SQL query",
        help="Query that must succeed; its answer must be short (256 KiB).",
    )


KIND = Kind(
    name="POSTGRESQL",
    label="POSTGRESQL (login and query)",
    success="The login and the query succeed.",
    parameters_type=Parameters,
    default_port=5432,
    secure_port=5432,
    secure=Secure.OPTIONAL,
    command="psql -h {address} -c 'SELECT 1'",
)
