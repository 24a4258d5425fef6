"""IMAP; not one of NetScaler's types, made after its POP3."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from monitors.kind import Kind, Secure
from monitors.parameters import text
from monitors.spec import ParamValue


@dataclass(frozen=True, slots=True)
class Parameters:
    """As POP3's, and a mailbox."""

    user_name: str = text(help="Who logs in. Empty: the greeting is enough.")
    password: str = text(secret=True, help="Password of the user.")
    mailbox: str = text(
        check=lambda name: "" if name.isascii() else "Only ASCII names are possible.",
        help="Mailbox that must be there, such as INBOX; it is only looked at. Empty: none.",
    )


def _check(values: Mapping[str, ParamValue]) -> dict[str, str]:
    if values["mailbox"] and not values["user_name"]:
        return {"mailbox": "A mailbox can be looked at after a login only: a user name is needed."}
    return {}


KIND = Kind(
    name="IMAP",
    label="IMAP (greeting, login or mailbox)",
    success="The server greets and, with a user name, accepts the login and has the mailbox.",
    parameters_type=Parameters,
    default_port=143,
    secure_port=993,
    secure=Secure.OPTIONAL,
    check=_check,
)
