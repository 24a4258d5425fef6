"""Audit entries as events: sent to targets that ask for them, from then on."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.utils import timezone

from tests import factories
from tests.events.test_store import Post, post, run, target  # noqa: F401 - a fixture and its helpers
from tests.factories import SYSTEM
from webui import auditing
from webui.actions import eventtargets, servers
from webui.choices import AuditVerb
from webui.events import rows, store, syslog
from webui.models import AuditEntry, EventDelivery

pytestmark = pytest.mark.django_db


def audit_ids(given: Post) -> list[str]:
    return [one for one in given.got if one.startswith("audit-")]


def test_entries_go_to_who_asked_for_them_and_from_then_on(post: Post) -> None:  # noqa: F811 - a fixture
    servers.create(SYSTEM, {"name": "before", "address": "10.77.0.10"})
    made = target(audit=False)
    servers.create(SYSTEM, {"name": "still before", "address": "10.77.0.11"})
    assert run() == 0
    eventtargets.update(SYSTEM, made, {"audit": True})
    server = servers.create(SYSTEM, {"name": "S", "address": "10.77.0.12"})
    servers.delete(SYSTEM, server)
    while run():
        pass
    newest = AuditEntry.objects.values_list("pk", flat=True)[:3]  # that it asks for them is the first
    assert audit_ids(post) == [f"audit-{pk}" for pk in reversed(newest)]
    assert EventDelivery.objects.get().audit_upto == AuditEntry.objects.count()


def test_entries_come_again_after_a_failure_and_in_order(post: Post) -> None:  # noqa: F811 - a fixture
    target(audit=True, transitions=False)
    for number in range(4):
        servers.create(SYSTEM, {"name": f"S{number}", "address": f"10.77.0.2{number}"})
    post.fails_after = 2
    run()
    assert len(post.got) == 2
    found = EventDelivery.objects.get()
    post.fails_after = None
    assert found.retry_at is not None
    run(found.retry_at)
    assert post.got == sorted(set(post.got), key=lambda one: int(one.partition("-")[2]))
    assert len(post.got) == AuditEntry.objects.count() == 5  # that the target was made is the first


def test_a_syslog_message_carries_who_what_and_the_hash() -> None:
    actor = factories.actor(factories.owner())
    row = auditing.note(actor, AuditVerb.REFUSE, kind="server", object_name='web"1', reason="not allowed")
    message = syslog.message(rows.of_entry(row), "LOCAL0", "host").decode()
    assert message.startswith("<132>1 ")  # local0, warning
    assert f'[event@32473 id="audit-{row.pk}" sequence="{row.pk}" actor="owner" source="192.0.2.7"' in message
    assert 'object="web\\"1"' in message
    assert f'hash="{row.hash}"' in message
    assert message.endswith('owner (page) was refused server web"1: not allowed')
    body: dict[str, Any] = json.loads(rows.of_entry(row).as_json())
    assert (body["type"], body["data"]["correlation"]) == ("audit", actor.correlation)


def test_nobody_who_does_not_ask_is_busied(post: Post) -> None:  # noqa: F811 - a fixture
    target()
    auditing.note(SYSTEM, AuditVerb.CALL)
    assert store.claim(timezone.now(), 4) == []
    assert post.got == []
