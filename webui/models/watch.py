"""Wishes to see a virtual server's flows live. Short-lived: a page renews its row while somebody looks."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils import timezone

from webui.models.vserver import VServer


class FlowWatch(models.Model):
    """Somebody looks at the flows of a virtual server until ``until``; the dataplane worker tells them so long."""

    vserver = models.ForeignKey(VServer, on_delete=models.CASCADE, related_name="watches")
    requested_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    started_at = models.DateTimeField(default=timezone.now)
    until = models.DateTimeField(db_index=True)  # the worker asks every second whose is not over
    frames_until = models.DateTimeField(null=True)  # until then the beginning of each frame is wanted, too

    class Meta:
        constraints = [models.UniqueConstraint(fields=["vserver", "requested_by"], name="flow_watch_unique")]

    def __str__(self) -> str:
        return f"{self.requested_by} watches {self.vserver} until {self.until:%H:%M:%S} UTC"
