"""NNTP."""

from __future__ import annotations

from dataclasses import dataclass

from monitors.kind import Kind, Secure
from monitors.parameters import text


def _word(value: str) -> str:
    return "" if value.isprintable() and " " not in value else f"“{value}” is no name of a newsgroup."


@dataclass(frozen=True, slots=True)
class Parameters:
    """NetScaler's."""

    user_name: str = text(help="Who logs in (AUTHINFO). Empty: nobody.")
    password: str = text(secret=True, help="Password of the user.")
    group: str = text(check=_word, help="Newsgroup that must be there. Empty: the greeting or login is enough.")


KIND = Kind(
    name="NNTP",
    label="NNTP (newsgroup)",
    success="The server greets and, where they are given, accepts the login and has the newsgroup.",
    parameters_type=Parameters,
    default_port=119,
    secure_port=563,
    secure=Secure.OPTIONAL,
)
