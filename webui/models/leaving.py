"""Objects that can be taken out of service slowly: at a moment, or when their last flow has ended."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

from django.db import models
from django.db.models import Q

from webui.choices import AdminState
from webui.models.fields import Timestamped


class Leaving(Timestamped):
    """Base of what has a state and may be disabled with a delay.

    No job ends the delay: whoever looks compares the moment with the clock (:mod:`webui.effective`). Disabled without
    moment and not graceful means at once.
    """

    state = models.CharField(max_length=8, choices=AdminState, default=AdminState.ENABLED)
    out_of_service_at = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="When a disabled object stops serving its clients."
    )
    graceful = models.BooleanField(
        default=False, editable=False, help_text="Whether it stops earlier, as soon as it has no flow left."
    )

    class Meta:
        abstract = True

    def clean_fields(self, exclude: Collection[str] | None = None) -> None:
        """An enabled object leaves at no moment, however it came to be enabled."""
        if self.state == AdminState.ENABLED:
            self.out_of_service_at, self.graceful = None, False
        super().clean_fields(exclude)

    def leaving_json(self) -> dict[str, Any]:
        """State, moment and manner for the audit."""
        at = self.out_of_service_at
        return {
            "state": str(self.state),
            "out_of_service_at": None if at is None else f"{at:%Y-%m-%d %H:%M:%S} UTC",
            "graceful": self.graceful,
        }


def serving(now: datetime, prefix: str = "") -> Q:
    """Rows that still serve clients: enabled, or on their way out. ``prefix`` is a look-up such as ``service__``."""
    return (
        Q(**{f"{prefix}state": AdminState.ENABLED})
        | Q(**{f"{prefix}out_of_service_at__gt": now})
        | Q(**{f"{prefix}out_of_service_at": None, f"{prefix}graceful": True})
    )
