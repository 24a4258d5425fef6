"""The entries of the database in the order of the chain."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from webui.audit import chain
from webui.models import AuditEntry

BATCH: Final = 2000


def rows(after: int, limit: int | None = None) -> Iterator[dict[str, Any]]:
    """Entries of the database beyond a sequence number, in order, as :func:`webui.audit.links.follow` wants them."""
    given = 0
    while limit is None or given < limit:
        size = BATCH if limit is None else min(BATCH, limit - given)
        found = list(AuditEntry.objects.filter(pk__gt=after).order_by("pk")[:size])
        for row in found:
            yield chain.content(row) | {"hash": row.hash}
        if len(found) < size:
            return
        after, given = found[-1].pk, given + len(found)
