"""A server: one machine that carries VIPs on its loopback."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Lower

from webui.choices import AdminState
from webui.models.fields import Timestamped, object_name_validator


class Server(Timestamped):
    """A machine on the director's segment, known by its own address (never by a VIP)."""

    name = models.CharField(max_length=127, validators=[object_name_validator])
    address = models.GenericIPAddressField(unique=True, help_text="The server's own address, not the VIP.")
    state = models.CharField(max_length=8, choices=AdminState, default=AdminState.ENABLED)
    comment = models.CharField(max_length=255, blank=True)

    class Meta:
        ordering = ["name"]
        constraints = [models.UniqueConstraint(Lower("name"), name="server_name_unique")]

    def __str__(self) -> str:
        return self.name
