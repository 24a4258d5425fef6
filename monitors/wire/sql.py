"""Parameters that the kinds of databases share, and the words for an answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from monitors.parameters import text
from monitors.wire.stream import shown


def user_name(limit: int) -> Any:
    """``user_name``, of at most ``limit`` characters."""
    return text(required=True, limit=limit, help="User (role) to log in.")


def password() -> Any:
    """``password``."""
    return text(secret=True, help="The user's password. Empty: none.")


def database(limit: int, empty: str) -> Any:
    """``database``; ``empty`` says which is used without one."""
    return text(limit=limit, help=f"Database to use. Empty: {empty}.")


def sql_query() -> Any:
    """``sql_query``."""
    return text(
        "SELECT 1",
        required=True,
        limit=1024,
        option="sqlQuery",
        label="SQL query",
        help="Query that must succeed; its answer must be short (256 KiB).",
    )


def rows_in_words(count: int, first: Sequence[object]) -> str:
    """``2 rows: kettle, 3``; ``first`` is the first row."""
    return f"{count} {'row' if count == 1 else 'rows'}: {shown(', '.join(map(str, first)))}"
