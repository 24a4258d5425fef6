"""POSTGRESQL; not one of NetScaler's types, made after its MYSQL."""

from __future__ import annotations

from dataclasses import dataclass

from monitors.kind import Kind, Secure
from monitors.wire import sql


@dataclass(frozen=True, slots=True)
class Parameters:
    """As those of MYSQL."""

    user_name: str = sql.user_name(63)
    password: str = sql.password()
    database: str = sql.database(63, "that of the role's name")
    sql_query: str = sql.sql_query()


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
