"""Who changed what, and the installation's own row."""

from __future__ import annotations

import secrets

from django.conf import settings
from django.db import models
from django.utils import timezone

from webui.choices import AuditVerb, ForwardingMode, Interface
from webui.models.fields import AppendOnly, AppendOnlyQuerySet


class AuditEntry(AppendOnly):
    """One change, refused attempt, login or logout. Append-only; names are copied."""

    at = models.DateTimeField(default=timezone.now)
    actor = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    actor_name = models.CharField(max_length=150)
    source_address = models.GenericIPAddressField(null=True)
    interface = models.CharField(max_length=8, choices=Interface, default=Interface.SYSTEM)
    verb = models.CharField(max_length=8, choices=AuditVerb)
    kind = models.CharField(max_length=32, blank=True, help_text="Model name, such as “server”.")
    object_id = models.BigIntegerField(null=True)
    object_name = models.CharField(max_length=255, blank=True)
    before = models.JSONField(null=True)
    after = models.JSONField(null=True)
    reason = models.TextField(blank=True, help_text="Why it was refused.")
    revision = models.PositiveBigIntegerField(null=True, help_text="Configuration revision that this change made.")

    objects = AppendOnlyQuerySet.as_manager()

    class Meta:
        ordering = ["-pk"]
        indexes = [models.Index(fields=["kind", "object_id", "-id"], name="audit_of_object")]

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M:%S} {self.actor_name} {self.get_verb_display()} {self.kind} {self.object_name}"


def new_hash_key() -> str:
    """32 hexadecimal digits: the SipHash key of this installation, so nobody outside can aim at one server."""
    return secrets.token_hex(16)


class Installation(models.Model):
    """The one row of this installation (pk 1): configuration revision and hash key."""

    revision = models.PositiveBigIntegerField(default=0)
    hash_key = models.CharField(max_length=32, default=new_hash_key, editable=False)
    saved_revision = models.PositiveBigIntegerField(
        null=True, editable=False, help_text="Marked by “save ns config”; nothing else depends on it."
    )
    saved_at = models.DateTimeField(null=True, editable=False)
    saved_by = models.CharField(max_length=150, blank=True, editable=False)
    ttl_rule = models.BooleanField(
        "drop packets whose TTL is used up",
        default=False,
        help_text="A packet for a VIP whose time to live (IPv6: hop limit) is 1 or 0 is dropped and counted instead of "
        "forwarded. It ends loops between directors; traceroute to a VIP then stops one hop early.",
    )

    forwarding_mode = models.CharField(
        "forwarding",
        max_length=4,
        choices=ForwardingMode.choices,
        default=ForwardingMode.AUTO,
        help_text="XDP works in the network card's driver and costs less a frame; tc works everywhere. Some drivers "
        "restart the card's queues when XDP is switched on or off, which takes the link down for a moment; the switch "
        "itself loses no packet. XDP on virtual interfaces needs preparation, see “Forwarding by tc or XDP” in the "
        "concepts.",
    )

    class Meta:
        permissions = [
            ("rollback_installation", "Can bring back an earlier revision, and confirm or end a trial"),
            ("save_installation", "Can mark the configuration as saved"),
        ]

    def __str__(self) -> str:
        return f"revision {self.revision}"

    @property
    def name(self) -> str:
        """What messages and the audit call it."""
        return "settings of all directors"
