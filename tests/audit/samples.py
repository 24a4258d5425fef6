"""Entries for tests of the audit, and ways to tamper with them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection

from tests.factories import SYSTEM
from webui import auditing
from webui.audit import triggers
from webui.choices import AuditVerb
from webui.models import AuditEntry


def entries(count: int, **details: Any) -> list[AuditEntry]:
    """So many entries of a server that is changed again and again."""
    made = []
    for number in range(1, count + 1):
        given: Any = {"kind": "server", "object_id": 1, "object_name": "web1", "after": {"comment": f"rack {number}"}}
        made.append(auditing.note(SYSTEM, AuditVerb.UPDATE, **(given | details)))
    return made


@contextmanager
def without_triggers() -> Iterator[None]:
    """What an attacker does who owns the tables."""
    triggers.remove(connection)
    yield
    triggers.install(connection)


def sql(statement: str, *values: Any) -> int:
    """Run a statement; returns how many rows it was about."""
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return int(cursor.rowcount)
