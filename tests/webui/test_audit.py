"""The audit: what it says, and that it stays."""

from __future__ import annotations

import pytest
from django.contrib.auth import authenticate
from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.test import RequestFactory

from tests import factories
from tests.factories import SYSTEM
from webui.actions import servers, services, vservers
from webui.choices import AuditVerb, Interface, State
from webui.models import AuditEntry, HealthTransition, Installation

pytestmark = pytest.mark.django_db


def last() -> AuditEntry:
    entry = AuditEntry.objects.first()
    assert entry is not None
    return entry


def test_a_change_names_who_what_from_where_and_the_revision() -> None:
    user = factories.owner()
    server = servers.create(factories.actor(user, Interface.API), {"name": "S", "address": "10.77.0.11"})
    entry = last()
    assert (entry.actor, entry.actor_name, entry.source_address) == (user, "owner", "192.0.2.7")
    assert (entry.interface, entry.verb, entry.kind) == (Interface.API, AuditVerb.CREATE, "server")
    assert (entry.object_id, entry.object_name) == (server.pk, "S")
    assert entry.revision == Installation.objects.get().revision
    assert entry.before is None
    assert entry.after == {"name": "S", "address": "10.77.0.11", "state": "ENABLED", "comment": ""}


def test_an_update_shows_only_what_changed_before_and_after() -> None:
    servers.update(SYSTEM, factories.server(), {"comment": "rack 4", "address": "10.77.0.11"})
    assert (last().before, last().after) == ({"comment": ""}, {"comment": "rack 4"})


def test_a_deletion_keeps_all_that_was_there() -> None:
    vserver = factories.vserver(factories.service())
    pk = vserver.pk
    vservers.delete(SYSTEM, vserver)
    entry = last()
    assert (entry.object_id, entry.after) == (pk, None)
    assert entry.before is not None
    assert (entry.before["address"], entry.before["services"]) == ("10.77.0.10", ["service_Server1_ANY"])


def test_enable_disable_bind_and_unbind_have_their_own_verbs() -> None:
    service = factories.service()
    services.disable(SYSTEM, service)
    assert (last().verb, last().before, last().after) == ("disable", {"state": "ENABLED"}, {"state": "DISABLED"})
    services.enable(SYSTEM, service)
    assert last().verb == AuditVerb.ENABLE
    vserver = factories.vserver(service)
    assert (last().verb, last().after) == (AuditVerb.BIND, {"service": service.name, "weight": 1})
    vservers.unbind_service(SYSTEM, vserver, service)
    assert (last().verb, last().before) == (AuditVerb.UNBIND, {"service": service.name, "weight": 1})


def test_an_entry_outlives_its_user() -> None:
    user = factories.owner()
    servers.create(factories.actor(user), {"name": "S", "address": "10.77.0.11"})
    pk = user.pk
    user.delete()
    # Not even that the user is gone may change it.
    assert (last().actor_id, last().actor_name) == (pk, "owner")


def test_audit_and_history_can_be_neither_changed_nor_deleted() -> None:
    servers.create(SYSTEM, {"name": "S", "address": "10.77.0.11"})
    history = HealthTransition.objects.create(
        service_name="s", monitor_name="m", vip="10.77.0.10", old=State.UNKNOWN, new=State.UP, reason="r"
    )
    for row in (last(), history):
        with pytest.raises(TypeError, match="append-only"):
            row.save()
        with pytest.raises(TypeError, match="append-only"):
            row.delete()
        with pytest.raises(TypeError, match="append-only"):
            type(row).objects.update(reason="other")
        with pytest.raises(TypeError, match="append-only"):
            type(row).objects.all().delete()
    assert AuditEntry.objects.count() == 1


def test_logins_and_logouts_are_recorded_with_the_address() -> None:
    user = factories.owner()
    request = RequestFactory().get("/", REMOTE_ADDR="192.0.2.9")
    user_logged_in.send(type(user), request=request, user=user)
    assert (last().verb, last().actor, last().source_address) == (AuditVerb.LOGIN, user, "192.0.2.9")
    user_logged_out.send(type(user), request=request, user=user)
    assert last().verb == AuditVerb.LOGOUT


def test_a_failed_login_is_recorded_without_the_password() -> None:
    factories.owner()
    request = RequestFactory().post("/", REMOTE_ADDR="")
    assert authenticate(request, username="owner", password="a wrong secret") is None
    entry = last()
    assert (entry.verb, entry.actor, entry.actor_name, entry.source_address) == ("fail", None, "owner", None)
    assert entry.reason == "Login failed: no such user, wrong password, or inactive."
    assert "secret" not in repr([entry.before, entry.after, entry.reason])
