"""The edition of users, roles and sessions: raised with each change of them, so open websockets are asked again."""

from __future__ import annotations

from django.db import transaction
from django.db.models import F

from webui import live
from webui.models import AccessEdition

ROW = 1


def read() -> int:
    """The edition. One query; raises django.db.Error."""
    found: int | None = AccessEdition.objects.filter(pk=ROW).values_list("edition", flat=True).first()
    return found or 0


def raise_edition() -> None:
    """Count a change, and tell open websockets of it once it is committed."""
    if not AccessEdition.objects.filter(pk=ROW).update(edition=F("edition") + 1):
        AccessEdition.objects.get_or_create(pk=ROW, defaults={"edition": 1})
    transaction.on_commit(_tell, robust=True)


def lock() -> None:
    """Lock access until the transaction ends, so that rules on several users hold when two people work at once."""
    # SQLite has no row locks: there the transaction took the write lock when it began (see the settings).
    AccessEdition.objects.select_for_update().get_or_create(pk=ROW)


def _tell() -> None:
    live.publish({"type": "live.access"})
