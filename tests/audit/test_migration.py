"""Entries of earlier versions are chained as they are, but for their numbers and secrets."""

from __future__ import annotations

from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from tests.audit.samples import entries, sql, without_triggers
from webui.audit.verify import verify
from webui.models import AuditEntry, AuditHead

pytestmark = pytest.mark.django_db

MIGRATION = import_module("webui.migrations.0015_audit_rows")


@pytest.mark.parametrize("batch", [1, 2, 2000])
def test_existing_entries_are_numbered_masked_and_chained(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MIGRATION, "BATCH", batch)
    old: Any = MigrationExecutor(connection).loader.project_state(("webui", "0014_audit_chain")).apps
    url = "https://hooks.example/in?token=s3cr3t"
    with without_triggers():
        made = old.get_model("webui", "AuditEntry")
        for number, verb in ((3, "create"), (4, "refuse"), (9, "update"), (12, "delete")):
            given = {"verb": verb, "kind": "eventtarget", "object_name": f"n{number}", "interface": "page"}
            made.objects.create(pk=number, actor_name="bob", after={"url": url}, source_address="2001:db8::1", **given)
        MIGRATION.chain_entries(old, SimpleNamespace(connection=connection))
    found = list(AuditEntry.objects.order_by("pk"))
    assert [(row.pk, row.object_name, row.outcome) for row in found] == [
        (1, "n3", "success"),
        (2, "n4", "refused"),
        (3, "n9", "success"),
        (4, "n12", "success"),
    ]
    assert {str(row.after) for row in found} == {"{'url': 'https://hooks.example/in?•••'}"}
    entries(2)
    verdict = verify()
    assert (verdict.broken, verdict.entries) == (None, 6)


def test_an_empty_audit_has_a_head() -> None:
    old: Any = MigrationExecutor(connection).loader.project_state(("webui", "0014_audit_chain")).apps
    with without_triggers():
        sql("DELETE FROM webui_audithead")
        MIGRATION.chain_entries(old, SimpleNamespace(connection=connection))
    assert AuditHead.objects.get().sequence == 0
    assert verify().broken is None
