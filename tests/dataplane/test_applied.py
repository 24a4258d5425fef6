"""Applied revisions in the audit: one entry a director and revision, tied to the change that made it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from django.db import OperationalError

from dataplane import worker
from dataplane.applied import Applied
from dataplane.reconcile import Round
from tests import factories
from tests.dataplane.test_worker import FakeKernel, events, kernel, running  # noqa: F401 - fixtures
from tests.factories import SYSTEM
from webui import auditing
from webui.actions import servers
from webui.audit.verify import verify
from webui.models import AuditEntry, DataplaneStatus, Installation, Server

pytestmark = pytest.mark.django_db


def applied() -> list[AuditEntry]:
    return list(AuditEntry.objects.filter(verb="apply").order_by("pk"))


def test_each_applied_revision_has_an_entry_with_the_correlation_of_the_change(
    running: worker.Worker,  # noqa: F811 - a fixture
) -> None:
    running.look()
    (first,) = applied()
    assert (first.actor_name, first.object_name, first.revision) == (
        "director director",
        "director",
        Installation.objects.get().revision,
    )
    assert first.after is not None
    assert first.after["map writes"] > 3
    running.look()
    assert len(applied()) == 1  # nothing new
    actor = factories.actor(factories.owner())
    servers.update(actor, Server.objects.get(name="Server1"), {"comment": "rack 4"})
    running.look()
    assert [(row.revision, row.correlation) for row in applied()][1:] == [
        (Installation.objects.get().revision, actor.correlation)
    ]
    assert applied()[1].before == {"revision": first.revision}
    assert "applied on director in" in applied()[1].reason
    assert verify().broken is None


def test_a_restarted_worker_does_not_repeat_what_was_applied(
    running: worker.Worker,  # noqa: F811 - a fixture
) -> None:
    running.look()
    again = worker.Worker(running.kernel, "director", running.reconciler)
    again.look()
    assert len(applied()) == 1


def round_of(running: worker.Worker, revision: int, **values: Any) -> Round:  # noqa: F811 - no fixture
    desired = running.reconciler.last
    assert desired is not None
    given: Any = {"summary": "", "error": "", "drift": False} | values
    return Round(replace(desired, revision=revision), **given)


def test_failed_rounds_are_counted_into_the_one_that_succeeds(
    running: worker.Worker,  # noqa: F811 - a fixture
) -> None:
    running.look()
    noted = Applied("director")
    noted.take(round_of(running, 90, error="vips: no room", seconds=0.5, writes=2))
    assert noted.waiting == []
    noted.take(round_of(running, 90, seconds=0.25, writes=3))
    noted.write()
    assert applied()[-1].after == {"revision": 90, "milliseconds": 750.0, "map writes": 5}


def test_entries_wait_while_another_appends(
    running: worker.Worker,  # noqa: F811 - a fixture
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def busy(*_args: Any, **_kwargs: Any) -> None:
        raise OperationalError("could not obtain lock")

    with monkeypatch.context() as patch:
        patch.setattr(auditing, "append", busy)
        running.look()
        assert DataplaneStatus.objects.get().applied_revision > 0
    assert applied() == []
    servers.create(SYSTEM, {"name": "another", "address": "10.77.0.99"})
    running.look()
    assert len(applied()) == 2
