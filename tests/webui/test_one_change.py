"""Many actions as one change: one revision, one roll-back, one wake; and nothing is left of an action that failed."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_network
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pytest_django import DjangoCaptureOnCommitCallbacks

from tests import factories
from tests.examples import examples
from tests.factories import SYSTEM
from tests.webui.test_revisions import current, everything
from webui import revisions as reading
from webui.actions import revisions, servers, services, vservers
from webui.actions.base import Actor, find, one_change
from webui.actions.errors import ConflictError, PermissionRefused
from webui.audit.verify import verify
from webui.choices import Interface
from webui.models import (
    AuditEntry,
    ConfigurationRevision,
    HealthState,
    PendingConfirmation,
    RevisionRow,
    Server,
    Service,
    VServer,
)
from webui.nscli.conf import import_configuration
from webui.nscli.export import configuration
from webui.nscli.session import Session

pytestmark = pytest.mark.django_db

LINES = (
    *(f"add server s{n} 10.1.0.{n} -comment c{n}" for n in range(1, 4)),
    *(f"add service a{n} s{n} TCP 80" for n in range(1, 4)),
    *(f"add lb vserver v{n} TCP 10.2.0.{n} 80" for n in range(1, 3)),
    *("add lb monitor m TCP", "add serviceGroup g TCP", "bind serviceGroup g s1 80", "bind serviceGroup g s2 *"),
    *("bind lb vserver v1 a1", "bind lb vserver v1 a2 -weight 3", "bind lb vserver v2 g", "unbind lb vserver v1 a1"),
    *("bind service a1 -monitorName m", "unbind service a1 -monitorName m", "set lb vserver v1 -backupVServer v2"),
    *(
        "set server s1 -comment x",
        "rename server s1 s9",
        "rename server s9 s1",
        "disable service a1",
        "set service a1 y",
    ),
    *("rm service a1 a2", "rm server s1", "rm lb vserver v1", "rm serviceGroup g", "enable service a1", "rm monitor m"),
    *("set ns param -ttlRule ENABLED", "unset ns param -ttlRule", "rename serviceGroup g h", "set lb vserver v1 -IP x"),
    "add server s[5-6] 10.1.1.[5-6]",
)


def test_all_actions_are_one_revision_that_one_roll_back_takes_back(
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    before, number = everything(), current()
    with django_capture_on_commit_callbacks() as told, one_change(SYSTEM, "a new site"):
        server = servers.create(SYSTEM, {"name": "s", "address": "10.1.0.1"})
        service = services.create(SYSTEM, {"name": "a", "server": server, "service_type": "TCP", "port": 80})
        given = {"name": "v", "address": "10.2.0.1", "service_type": "TCP", "port": 80}
        vserver = vservers.create(SYSTEM, given)
        vservers.bind_service(SYSTEM, vserver, service)
        assert HealthState.objects.count() == 0
    assert len(told) == 2  # the wake and the event, once
    assert current() == number + 1
    made = ConfigurationRevision.objects.get()
    assert made.summary == "a new site: created server s; created service a; bound service a; created vserver v; " + (
        "bound vserver v"
    )
    assert set(AuditEntry.objects.values_list("revision", flat=True)) == {number + 1}
    assert HealthState.objects.count() == 1
    assert [Server.objects.get().version, Service.objects.get().version, VServer.objects.get().version] == [1, 1, 1]
    revisions.rollback(SYSTEM, number)
    assert everything() == before
    assert HealthState.objects.count() == 0


def test_of_an_action_that_fails_nothing_is_left_and_the_others_stay() -> None:
    server = factories.server(1)
    rows = RevisionRow.objects.count()
    with one_change(SYSTEM, "some of it") as whole:
        servers.update(SYSTEM, server, {"comment": "kept"})
        with suppress(ValidationError), whole.attempt():
            servers.create(SYSTEM, {"name": "gone", "address": "10.1.0.7"})
            servers.update(SYSTEM, server, {"comment": "gone"})
            servers.create(SYSTEM, {"name": "gone", "address": "10.1.0.8"})
        with pytest.raises(ValidationError):
            servers.update(SYSTEM, server, {"address": "127.0.0.1"})
        found = find(Server, server.name)
        assert (found.comment, found.address) == ("kept", server.address)
        servers.create(SYSTEM, {"name": "more", "address": "10.1.0.9"})
    assert sorted(Server.objects.values_list("name", "comment")) == [(server.name, "kept"), ("more", "")]
    assert not AuditEntry.objects.filter(object_name="gone").exists()
    assert {one.name for one in RevisionRow.objects.order_by("pk")[rows:]} == {server.name, "more"}
    assert verify().broken is None


def test_all_is_taken_back_when_the_change_itself_fails(
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    before, number = everything(), current()
    with django_capture_on_commit_callbacks() as told, suppress(ZeroDivisionError), one_change(SYSTEM, "nothing"):
        servers.create(SYSTEM, {"name": "s", "address": "10.1.0.1"})
        raise ZeroDivisionError
    assert (everything(), current(), AuditEntry.objects.count(), told) == (before, number, 0, [])
    servers.create(SYSTEM, {"name": "s", "address": "10.1.0.1"})
    assert current() == number + 1


def test_each_action_needs_its_own_permission_and_has_its_own_command() -> None:
    server = factories.server(1)
    member = Actor(factories.member(), Interface.CLI, command="all of it")
    with one_change(member, "what one may"):
        servers.update(replace(member, command="set server"), server, {"comment": "x"})
        with pytest.raises(PermissionRefused, match="may not add a server"):
            servers.create(member, {"name": "s", "address": "10.1.0.1"})
    entry = AuditEntry.objects.filter(kind="server").latest("pk")
    assert (entry.verb, entry.command, entry.actor_name) == ("update", "set server", "member")
    assert not Server.objects.filter(name="s").exists()


def test_what_works_with_revisions_is_refused_within_a_change_of_many_actions() -> None:
    factories.server(1)
    number = current()
    with one_change(SYSTEM, "no revision yet"):
        for action in (
            lambda: revisions.rollback(SYSTEM, number - 1),
            lambda: revisions.save(SYSTEM),
            lambda: revisions.begin_trial(SYSTEM, 5),
            lambda: one_change(SYSTEM, "another").__enter__(),
        ):
            with pytest.raises(RuntimeError, match="it is no revision before it ends"):
                action()
    assert current() == number


def test_versions_count_revisions_so_that_a_form_is_told_of_that_change_alone() -> None:
    server = factories.server(1)
    servers.update(SYSTEM, server, {"comment": "before the form"})
    version = Server.objects.get().version
    with one_change(SYSTEM, "twice"):
        servers.update(SYSTEM, server, {"comment": "one"})
        servers.update(SYSTEM, server, {"comment": "two"})
    assert Server.objects.get().version == version + 1
    with pytest.raises(ConflictError) as caught:
        servers.update(SYSTEM, server, {"comment": "mine"}, version)
    assert len(caught.value.changes) == 2
    assert caught.value.before == {"comment": "before the form"}


def test_a_trial_takes_back_what_one_change_did() -> None:
    before = everything()
    trial = revisions.begin_trial(SYSTEM, "5")
    assert import_configuration(SYSTEM, "\n".join(LINES), apply=True, skip_refused=True).done
    PendingConfirmation.objects.filter(pk=trial.pk).update(until=timezone.now() - timedelta(seconds=1))
    assert revisions.expire() is True
    assert everything() == before


def told() -> tuple[Any, ...]:
    """What can be seen of the configuration and of what was done, but for revisions and who waits for a check."""
    return (
        configuration(),
        sorted(
            HealthState.objects.values_list("target__vip", "target__server__name", "service__name", "monitor__name")
        ),
        [
            *AuditEntry.objects.filter(revision__isnull=False)
            .order_by("pk")
            .values_list("verb", "kind", "object_name", "before", "after", "reason", "command")
        ],
    )


def one_by_one(lines: list[str]) -> tuple[list[tuple[str, str]], tuple[Any, ...]]:
    """Each line as a change of its own."""
    session, outcomes = Session(SYSTEM), []
    for line in lines:
        answer = session.run(line)
        why = "" if answer.ok else answer.lines[-1].removeprefix("ERROR: ")
        outcomes.append(("applied" if answer.ok else "refused", why))
    return outcomes, told()


@given(st.lists(st.sampled_from(LINES), max_size=25), st.integers(0, len(LINES)))
@settings(max_examples=examples(40), suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_an_import_is_what_its_lines_are_one_by_one_and_one_roll_back_undoes_it(some: list[str], first: int) -> None:
    lines = [*LINES[:first], *some]
    with transaction.atomic():
        expected = one_by_one(lines)
        transaction.set_rollback(True)
    with transaction.atomic():
        before, number = everything(), current()
        report = import_configuration(SYSTEM, "\n".join(lines), apply=True, skip_refused=True)
        outcomes = [(one.outcome, one.why if one.outcome == "refused" else "") for one in report.lines]
        assert (outcomes, told()) == expected
        assert current() <= number + 1
        if reading.difference(number, current()):
            revisions.rollback(SYSTEM, number)
        assert everything() == before
        transaction.set_rollback(True)


def test_what_no_line_alone_is_to_blame_for_refuses_the_import(settings: Any) -> None:
    settings.PROBE_NETWORK = ip_network("198.18.0.0/30")  # two addresses
    text = "\n".join(
        [
            *(f"add server s{n} 10.1.0.{n}\nadd service a{n} s{n} TCP 80" for n in range(1, 4)),
            "add lb vserver v TCP 10.2.0.1 80",
            *(f"bind lb vserver v a{n}" for n in range(1, 4)),
        ]
    )
    for apply in (False, True):
        report = import_configuration(SYSTEM, text, apply=apply, skip_refused=True)
        assert (report.done, report.counts) == (False, {"applied": 10, "ignored": 0, "refused": 1})
        assert report.lines[-1].why.startswith("The probe network 198.18.0.0/30 has no free address left")
    assert not Server.objects.exists()


def test_progress_is_told_after_each_line() -> None:
    seen: list[tuple[int, int]] = []
    import_configuration(SYSTEM, "\n".join(LINES[:3]), progress=lambda at, lines: seen.append((at, lines)))
    assert seen == [(1, 3), (2, 3), (3, 3)]
