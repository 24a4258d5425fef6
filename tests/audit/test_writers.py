"""Several who write at once: no gap, no fork of the chain, no deadlock."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction

from tests import factories
from tests.factories import SYSTEM
from webui import auditing
from webui.actions import servers
from webui.audit.verify import verify
from webui.choices import AuditVerb
from webui.models import AuditEntry, AuditHead, Server

pytestmark = pytest.mark.django_db(transaction=True)

EACH = 12


def at_once(*jobs: Callable[[], Any]) -> None:
    """Run the jobs in threads of their own, and fail with what failed in them."""
    errors: list[BaseException] = []
    start = threading.Barrier(len(jobs))

    def run(job: Callable[[], Any]) -> None:
        try:
            start.wait(30)
            job()
        except BaseException as error:  # noqa: BLE001 - told below
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive(), "a deadlock"
    assert errors == []


def test_concurrent_writers_make_one_chain_without_gaps() -> None:
    one, two = (factories.server(number) for number in (1, 2))

    def notes() -> None:
        for _ in range(EACH):
            auditing.note(SYSTEM, AuditVerb.CALL)

    def changes(server: Server) -> Callable[[], None]:
        def run() -> None:
            for number in range(EACH):
                servers.update(SYSTEM, server, {"comment": str(number)})

        return run

    def notes_first_then_changes() -> None:
        for number in range(EACH):
            with transaction.atomic():  # the order that would deadlock with a lock of the head alone
                auditing.note(SYSTEM, AuditVerb.CALL)
                servers.update(SYSTEM, two, {"comment": f"b{number}"})

    at_once(notes, changes(one), notes_first_then_changes, changes(one))
    verdict = verify()
    assert verdict.broken is None
    assert verdict.entries == AuditEntry.objects.count() == AuditHead.objects.get().sequence
    assert AuditEntry.objects.filter(verb="call").count() == 2 * EACH


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite has one writer, and waits for it")
def test_who_will_not_wait_is_told_at_once() -> None:
    entered, done = threading.Event(), threading.Event()

    def holds() -> None:
        with transaction.atomic():
            auditing.note(SYSTEM, AuditVerb.CALL)
            entered.set()
            assert done.wait(60)

    def hurries() -> None:
        assert entered.wait(60)
        try:
            with pytest.raises(OperationalError):
                auditing.append([auditing.draft(SYSTEM, AuditVerb.APPLY)], wait=False)
        finally:
            done.set()

    at_once(holds, hurries)
    auditing.append([auditing.draft(SYSTEM, AuditVerb.APPLY)], wait=False)
    assert verify().entries == 2
