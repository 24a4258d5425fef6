"""Who changed what, and the installation's own row."""

from __future__ import annotations

import json
import secrets
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import F
from django.db.models.functions import Lower
from django.utils import timezone

from webui.audit.chain import GENESIS
from webui.choices import AuditVerb, ForwardingMode, Interface, Outcome
from webui.models.fields import AppendOnly, AppendOnlyQuerySet


class Utf8Encoder(json.JSONEncoder):
    """Writes letters as they are, so that the database can search for them."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**(options | {"ensure_ascii": False}))


class AuditEntry(AppendOnly):
    """One thing that somebody or something did, or tried to do. Append-only; names are copied.

    The primary key is the sequence number: 1, 2, 3 … without gaps, given by :func:`webui.auditing.append`, which alone
    adds rows. ``hash`` is the SHA-256 of all the other fields, ``previous`` (the hash of the entry before) included:
    see :mod:`webui.audit.chain`. Triggers of the database refuse UPDATE and DELETE: see :mod:`webui.audit.triggers`.
    """

    at = models.DateTimeField(default=timezone.now)
    # Stays when the user is deleted, since no row here may change: ask for actor_name, not for the user.
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name="+",
    )
    actor_name = models.CharField(max_length=150)
    source_address = models.GenericIPAddressField(null=True)
    interface = models.CharField(max_length=8, choices=Interface, default=Interface.SYSTEM)
    verb = models.CharField(max_length=16, choices=AuditVerb)
    outcome = models.CharField(max_length=8, choices=Outcome, default=Outcome.SUCCESS)
    kind = models.CharField(max_length=32, blank=True, help_text="Model name, such as “server”.")
    object_id = models.BigIntegerField(null=True)
    object_name = models.CharField(max_length=255, blank=True)
    before = models.JSONField(null=True, encoder=Utf8Encoder)
    after = models.JSONField(null=True, encoder=Utf8Encoder)
    reason = models.TextField(blank=True, help_text="Why it was refused.")
    command = models.TextField(blank=True, help_text="As typed on the command line, or method and path of the API.")
    correlation = models.CharField(max_length=32, blank=True, help_text="The same for all that one request caused.")
    revision = models.PositiveBigIntegerField(
        null=True, help_text="Configuration revision that this change made, or that a director applied."
    )
    previous = models.CharField(max_length=64, default=GENESIS, help_text="Hash of the entry before, hexadecimal.")
    hash = models.CharField(max_length=64, default="", help_text="SHA-256 of this entry, hexadecimal.")

    objects = AppendOnlyQuerySet.as_manager()

    class Meta:
        ordering = ["-pk"]
        indexes = [
            # The history of an object, and what made its versions.
            models.Index(fields=["kind", "object_id", "-id"], name="audit_of_object"),
            # One for each filter of the review page, all in its order: see webui.audit.search.
            models.Index(fields=["-at", "-id"], name="audit_at"),
            models.Index(fields=["kind", "-at", "-id"], name="audit_kind"),
            models.Index(Lower("object_name"), F("at").desc(), F("id").desc(), name="audit_object_name"),
            models.Index(fields=["object_id", "-at", "-id"], name="audit_object_id"),
            models.Index(fields=["actor_name", "-at", "-id"], name="audit_actor"),
            models.Index(fields=["verb", "-at", "-id"], name="audit_verb"),
            models.Index(fields=["interface", "-at", "-id"], name="audit_interface"),
            models.Index(fields=["outcome", "-at", "-id"], name="audit_outcome"),
            models.Index(fields=["correlation", "-at", "-id"], name="audit_correlation"),
            models.Index(fields=["revision", "-at", "-id"], name="audit_revision"),
        ]

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M:%S} {self.actor_name} {self.get_verb_display()} {self.kind} {self.object_name}"

    def save(self, *_args: Any, **_kwargs: Any) -> None:
        """Refused: an entry is append-only, and is appended with its hash by webui.auditing."""
        msg = "AuditEntry rows are append-only: webui.auditing.note adds them, and nothing changes them."
        raise TypeError(msg)


class AuditHead(models.Model):
    """The one row (pk 1) with the end of the chain; its lock makes appending one after the other."""

    sequence = models.PositiveBigIntegerField(default=0)
    hash = models.CharField(max_length=64, default=GENESIS)

    def __str__(self) -> str:
        return f"{self.sequence} {self.hash}"


class AuditArchive(AppendOnly):
    """An anchor: the entries ``first`` to ``last`` are in a file, and may be deleted here. Append-only by triggers."""

    first = models.PositiveBigIntegerField()
    last = models.PositiveBigIntegerField(unique=True)
    previous = models.CharField(max_length=64, help_text="Hash of the entry before the first.")
    hash = models.CharField(max_length=64, help_text="Hash of the last entry.")
    path = models.CharField(max_length=1024, help_text="Where the file was written.")
    at = models.DateTimeField(default=timezone.now)

    objects = AppendOnlyQuerySet.as_manager()

    class Meta:
        ordering = ["first"]

    def __str__(self) -> str:
        return f"entries {self.first} to {self.last} in {self.path}"


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
