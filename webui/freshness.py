"""When each check last had a result."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from webui.models import HealthState

# Beyond, all rows are read: SQLite takes no longer lists.
_LONGEST_LIST = 500


def last_checked(pks: Collection[int]) -> dict[int, datetime]:
    """Moments of the latest results by health row, those never checked left out. One query."""
    wanted = frozenset(pks)
    rows = HealthState.objects.exclude(checked_at=None).order_by()
    if len(wanted) <= _LONGEST_LIST:
        rows = rows.filter(pk__in=wanted)
    return {pk: at for pk, at in rows.values_list("pk", "checked_at") if pk in wanted and at is not None}
