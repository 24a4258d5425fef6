"""MYSQL."""

from __future__ import annotations

from dataclasses import dataclass

from monitors.kind import Kind, Secure
from monitors.parameters import text


@dataclass(frozen=True, slots=True)
class Parameters:
    """NetScaler's."""

    user_name: str = text(required=True, limit=80, help="User to log in.")
    password: str = text(secret=True, help="The user's password. Empty: none.")
    database: str = text(limit=64, help="Database to use. Empty: none.")
    sql_query: str = text(
        "SELECT 1",
        required=True,
        limit=1024,
        option="sqlQuery",
        label="SQL query",
        help="Query that must succeed; its answer must be short (256 KiB).",
    )


KIND = Kind(
    name="MYSQL",
    label="MYSQL (login and query)",
    success="The login and the query succeed.",
    parameters_type=Parameters,
    default_port=3306,
    secure_port=3306,
    secure=Secure.OPTIONAL,
    command="mysql -h {address} -e 'SELECT 1'",
)
