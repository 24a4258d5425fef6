"""MYSQL."""

from __future__ import annotations

from dataclasses import dataclass

from monitors.kind import Kind, Secure
from monitors.wire import sql


@dataclass(frozen=True, slots=True)
class Parameters:
    """NetScaler's."""

    user_name: str = sql.user_name(80)
    password: str = sql.password()
    database: str = sql.database(64, "none")
    sql_query: str = sql.sql_query()


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
