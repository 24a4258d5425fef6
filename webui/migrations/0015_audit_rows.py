"""Chain the entries that are there, and keep them from then on."""

from __future__ import annotations

from typing import Any

from django.db import migrations

from webui.audit import chain, masking, triggers

BATCH = 2000


def chain_entries(apps: Any, schema_editor: Any) -> None:
    """Number entries without gaps, in their order, mask what earlier versions wrote, and give each its hash."""
    alias = schema_editor.connection.alias
    entries = apps.get_model("webui", "AuditEntry").objects.using(alias)
    sequence, previous, last = 0, chain.GENESIS, 0
    while rows := list(entries.filter(pk__gt=last).order_by("pk")[:BATCH]):
        last = rows[-1].pk
        for row in rows:
            old, row.pk = row.pk, sequence + 1
            row.before = chain.plain(masking.values(row.kind, row.before))
            row.after = chain.plain(masking.values(row.kind, row.after))
            row.object_name, row.reason = masking.text(row.object_name)[:255], masking.text(row.reason)
            row.outcome = "refused" if row.verb == "refuse" else "success"
            row.previous = previous
            row.hash = chain.digest(chain.content(row))
            sequence, previous = row.pk, row.hash
            names = ("before", "after", "object_name", "reason", "outcome", "previous", "hash")
            # A number never grows, so the new one is free.
            entries.filter(pk=old).update(id=sequence, **{name: getattr(row, name) for name in names})
    heads = apps.get_model("webui", "AuditHead").objects.using(alias)
    heads.update_or_create(pk=1, defaults={"sequence": sequence, "hash": previous})
    # Who asks for audit entries from now on is not sent what was before.
    apps.get_model("webui", "EventDelivery").objects.using(alias).update(audit_upto=sequence)


def install(_apps: Any, schema_editor: Any) -> None:
    triggers.install(schema_editor.connection)


def remove(_apps: Any, schema_editor: Any) -> None:
    triggers.remove(schema_editor.connection)


class Migration(migrations.Migration):
    dependencies = [("webui", "0014_audit_chain")]

    operations = [
        migrations.RunPython(chain_entries, migrations.RunPython.noop),
        migrations.RunPython(install, remove),
    ]
