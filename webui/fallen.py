"""Which checks that are DOWN were UP before: the history tells."""

from __future__ import annotations

from django.db.models import Exists, OuterRef

from webui.choices import State
from webui.models import HealthState, HealthTransition


def fallen() -> frozenset[int]:
    """Keys of the health rows whose last change was from UP to DOWN. One query, by the index of a service's history.

    A transition bears the very moment that its row has in ``since``.
    """
    falls = HealthTransition.objects.filter(
        service=OuterRef("service"), vip=OuterRef("target__vip"), at=OuterRef("since"), old=State.UP, new=State.DOWN
    )
    down = HealthState.objects.filter(Exists(falls), state=State.DOWN).order_by()
    return frozenset(down.values_list("pk", flat=True))
