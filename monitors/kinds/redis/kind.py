"""REDIS."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from monitors.kind import Kind, Secure
from monitors.parameters import choice, text
from monitors.spec import ParamValue

ANY, MASTER, REPLICA = "ANY", "MASTER", "REPLICA"


@dataclass(frozen=True, slots=True)
class Parameters:
    """User and password as elsewhere; NetScaler's REDIS type has none."""

    user_name: str = text(help="User of the access control list. Empty: the default user.")
    password: str = text(secret=True, help="Password (AUTH). Empty: none.")
    role: str = choice(ANY, (ANY, MASTER, REPLICA), help="Role that the server must have; for writes, MASTER.")


def _check(values: Mapping[str, ParamValue]) -> dict[str, str]:
    if values["user_name"] and not values["password"]:
        return {"password": "A user name needs a password."}
    return {}


KIND = Kind(
    name="REDIS",
    label="REDIS (PING, role)",
    success="The server answers PING with PONG and has the wanted role.",
    parameters_type=Parameters,
    default_port=6379,
    secure_port=6379,
    secure=Secure.OPTIONAL,
    command="redis-cli -h {address} ping",
    check=_check,
)
