"""After each migrate and flush: the triggers and the head of the audit are there again."""

from __future__ import annotations

from typing import Any

from django.apps import apps as current_apps
from django.db import connections

from webui.audit import triggers


def keep_append_only(apps: Any = current_apps, using: str = "default", **_signal: Any) -> None:
    """Install the triggers that are missing, and the head of an empty chain."""
    try:
        heads = apps.get_model("webui", "AuditHead")
    except LookupError:  # migrated back to before these tables
        return
    last = apps.get_model("webui", "AuditEntry").objects.using(using).order_by("-pk").values("pk", "hash").first()
    given = {"sequence": last["pk"], "hash": last["hash"]} if last else {}
    heads.objects.using(using).get_or_create(pk=1, defaults=given)
    triggers.install(connections[using])
