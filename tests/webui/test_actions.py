"""What an action does besides its change: permission, version, revision, audit, wake."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import connection, transaction

from tests import factories
from tests.factories import SYSTEM
from webui import live
from webui.actions import base, monitors, servers, services, vservers
from webui.actions.base import Actor, ConflictError, NotFoundError, PermissionRefused, find
from webui.choices import AuditVerb, Interface
from webui.models import AuditEntry, Installation, Monitor, Server, Service, VServer
from webui.options import refuse_proxy_options

pytestmark = pytest.mark.django_db


def revision() -> int:
    return Installation.objects.get().revision


def bound_monitors(service: Service) -> list[str]:
    return list(service.monitor_bindings.values_list("monitor__name", flat=True))


def test_names_are_found_whatever_their_case() -> None:
    server = factories.server()
    assert find(Server, "sErVeR1") == server
    with pytest.raises(NotFoundError, match="No such resource: server “Server2”"):
        find(Server, "Server2")


@pytest.mark.parametrize("name", ["", "x" * 1000, "a\0b", "10.77.0", "a:b", "::"])
def test_names_that_nothing_can_have_are_no_such_resource(name: str) -> None:
    with pytest.raises(NotFoundError):
        find(Server, name)
    with pytest.raises((NotFoundError, ValidationError)):
        services.create(SYSTEM, {"name": "s", "server": name})
    with pytest.raises(PermissionRefused):
        services.create(factories.actor(factories.outsider()), {"name": name, "server": "x"})
    assert not Server.objects.exists()


def test_a_peer_without_an_address_is_recorded_without_one() -> None:
    servers.create(Actor(factories.owner(), Interface.API, "unix:"), {"name": "S", "address": "10.77.0.11"})
    assert AuditEntry.objects.values_list("source_address", flat=True)[0] is None


def test_values_are_taken_as_netscaler_writes_them() -> None:
    factories.server()
    values = {"name": "s", "server": "SERVER1", "service_type": "any", "port": "*", "usip": "Yes"}
    service = services.create(SYSTEM, values)
    assert (service.server.name, service.service_type, service.port, service.usip) == ("Server1", "ANY", 0, True)


def test_a_service_by_address_makes_a_server_of_that_name_once() -> None:
    services.create(SYSTEM, {"name": "a", "server": "10.77.0.50", "port": 80})
    services.create(SYSTEM, {"name": "b", "server": "10.77.0.50", "port": 81})
    assert list(Server.objects.values_list("name", "address")) == [("10.77.0.50", "10.77.0.50")]


def test_a_service_by_the_address_of_a_named_server_uses_that_server() -> None:
    server = factories.server()
    assert services.create(SYSTEM, {"name": "a", "server": server.address}).server == server


def test_a_service_of_no_server_is_refused() -> None:
    with pytest.raises(NotFoundError, match="No such resource: server “nobody”"):
        services.create(SYSTEM, {"name": "a", "server": "nobody"})
    with pytest.raises(ValidationError) as caught:
        services.create(SYSTEM, {"name": "a"})
    assert "server" in caught.value.message_dict


@pytest.mark.parametrize(
    "deed",
    [
        lambda actor: servers.create(actor, {"name": "x", "address": "10.77.0.90"}),
        lambda actor: servers.update(actor, Server.objects.get(), {"comment": "x"}),
        lambda actor: servers.disable(actor, Server.objects.get()),
        lambda actor: servers.delete(actor, Server.objects.get()),
        lambda actor: services.create(actor, {"name": "x", "server": "Server1", "port": 9}),
        lambda actor: services.update(actor, Service.objects.get(), {"comment": "x"}),
        lambda actor: services.disable(actor, Service.objects.get()),
        lambda actor: services.delete(actor, Service.objects.get()),
        lambda actor: services.bind_monitor(actor, Service.objects.get(), "tcp-80"),
        lambda actor: services.set_monitor_binding(actor, Service.objects.get(), "ping-default", weight=2),
        lambda actor: services.unbind_monitor(actor, Service.objects.get(), "ping-default"),
        lambda actor: vservers.create(actor, {"name": "x", "address": "10.77.0.91"}),
        lambda actor: vservers.update(actor, VServer.objects.get(), {"comment": "x"}),
        lambda actor: vservers.disable(actor, VServer.objects.get()),
        lambda actor: vservers.delete(actor, VServer.objects.get()),
        lambda actor: vservers.set_weight(actor, VServer.objects.get(), Service.objects.get(), 2),
        lambda actor: vservers.unbind_service(actor, VServer.objects.get(), Service.objects.get()),
        lambda actor: monitors.create(actor, {"name": "x", "monitor_type": "PING"}),
        lambda actor: monitors.update(actor, find(Monitor, "tcp-80"), {"interval": 3}),
        lambda actor: monitors.disable(actor, find(Monitor, "tcp-80")),
        lambda actor: monitors.delete(actor, find(Monitor, "tcp-80")),
    ],
)
def test_without_permission_nothing_changes_and_the_attempt_is_in_the_audit(deed: Callable[[Actor], Any]) -> None:
    factories.vserver(factories.service())
    factories.monitor()
    before = revision()
    with pytest.raises(PermissionRefused):
        deed(factories.actor(factories.outsider()))
    entry = AuditEntry.objects.first()
    assert entry is not None
    assert (entry.verb, entry.actor_name, entry.source_address) == (AuditVerb.REFUSE, "outsider", "192.0.2.7")
    assert "the permission webui." in entry.reason
    assert revision() == before


def test_a_member_may_change_but_neither_add_nor_delete() -> None:
    server, actor = factories.server(), factories.actor(factories.member())
    assert servers.update(actor, server, {"comment": "x"}).comment == "x"
    with pytest.raises(PermissionDenied):
        servers.delete(actor, server)
    with pytest.raises(PermissionRefused, match=r"webui\.add_server"):
        servers.create(actor, {"name": "x", "address": "10.77.0.90"})


def test_making_a_service_by_address_needs_the_permission_to_add_servers() -> None:
    user = factories.member()
    user.user_permissions.add(*base_permissions("add_service"))
    with pytest.raises(PermissionRefused, match=r"webui\.add_server"):
        services.create(factories.actor(user), {"name": "a", "server": "10.77.0.50", "port": 80})
    assert AuditEntry.objects.filter(verb=AuditVerb.REFUSE, object_name="10.77.0.50").count() == 1
    assert not Service.objects.exists()


def base_permissions(codename: str) -> Any:
    from django.contrib.auth.models import Permission  # noqa: PLC0415 - after django.setup()

    return Permission.objects.filter(codename=codename)


def test_nobody_without_a_user_is_trusted_but_the_system() -> None:
    with pytest.raises(PermissionRefused):
        servers.create(Actor(None, Interface.PAGE), {"name": "x", "address": "10.77.0.90"})


def test_a_change_raises_version_and_revision_by_one() -> None:
    server = factories.server()
    before = revision()
    changed = servers.update(SYSTEM, server, {"comment": "rack 4"}, expected_version=1)
    assert (changed.version, revision()) == (2, before + 1)


def test_a_change_of_nothing_changes_nothing() -> None:
    server = factories.server()
    before = (revision(), AuditEntry.objects.count())
    assert servers.update(SYSTEM, server, {"address": server.address}).version == 1
    assert servers.enable(SYSTEM, server).version == 1
    assert (revision(), AuditEntry.objects.count()) == before


def test_who_saw_an_old_version_is_told_what_changed_by_whom() -> None:
    server = factories.server()
    servers.update(factories.actor(factories.owner()), server, {"address": "10.77.0.20"})
    with pytest.raises(ConflictError) as caught:
        servers.update(SYSTEM, server, {"comment": "mine"}, expected_version=1)
    assert caught.value.current_version == 2
    assert len(caught.value.changes) == 1
    assert "changed by owner" in caught.value.changes[0]
    assert "address 10.77.0.11 → 10.77.0.20" in str(caught.value)
    server.refresh_from_db()
    assert (server.comment, server.version) == ("", 2)


def test_a_binding_made_meanwhile_is_a_conflict_too() -> None:
    service, vserver = factories.service(), factories.vserver()
    vservers.bind_service(SYSTEM, vserver, service, weight=3)
    with pytest.raises(ConflictError, match=r"bound by tests at .* \(service service_Server1_ANY, weight 3\)"):
        vservers.update(SYSTEM, vserver, {"comment": "x"}, expected_version=1)


def test_the_later_of_two_updates_at_the_same_moment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other update happens after the caller read the row and before it gets the lock."""
    server = factories.server()
    require = base.require

    def somebody_is_faster(*args: Any) -> None:
        monkeypatch.setattr(base, "require", require)
        servers.update(SYSTEM, server, {"comment": "first"}, expected_version=1)
        require(*args)

    monkeypatch.setattr(base, "require", somebody_is_faster)
    with pytest.raises(ConflictError, match="comment"):
        servers.update(SYSTEM, server, {"comment": "second"}, expected_version=1)
    server.refresh_from_db()
    assert (server.comment, server.version) == ("first", 2)


@pytest.mark.django_db(transaction=True)
def test_of_many_threads_with_the_same_version_one_wins_and_revisions_stay_whole() -> None:
    server = factories.server()
    before, results, start = revision(), [], threading.Barrier(4)

    def update(number: int) -> None:
        try:
            start.wait(10)
            servers.update(SYSTEM, server, {"comment": f"by {number}"}, expected_version=1)
            results.append("done")
        except ConflictError:
            results.append("conflict")
        finally:
            connection.close()

    threads = [threading.Thread(target=update, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(results) == ["conflict", "conflict", "conflict", "done"]
    assert revision() == before + 1


def test_changing_what_was_deleted_meanwhile_is_no_such_resource() -> None:
    server = factories.server()
    servers.delete(SYSTEM, server)
    server.pk = 999
    with pytest.raises(NotFoundError, match="deleted meanwhile"):
        servers.update(SYSTEM, server, {"comment": "x"})


def test_each_change_wakes_once_and_is_announced_after_commit(
    wakes: list[str], monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Any
) -> None:
    events: list[Any] = []
    monkeypatch.setattr(live, "publish", events.append)
    service = factories.service()
    with django_capture_on_commit_callbacks(execute=True):
        services.disable(SYSTEM, service)
        assert wakes == []
    assert wakes == ["wake"]
    assert events == [{"type": "live.changed", "what": "configuration"}]


def test_a_refused_or_rolled_back_change_wakes_nobody(
    wakes: list[str], django_capture_on_commit_callbacks: Any
) -> None:
    server = factories.server()
    with django_capture_on_commit_callbacks(execute=True) as callbacks:
        with pytest.raises(ValidationError):
            servers.update(SYSTEM, server, {"address": "127.0.0.1"})
        with transaction.atomic():
            servers.update(SYSTEM, server, {"comment": "x"})
            transaction.set_rollback(True)
        servers.update(SYSTEM, server, {"comment": ""})
    assert (callbacks, wakes) == ([], [])


@pytest.mark.django_db(transaction=True)
def test_a_change_stands_when_nobody_can_be_woken(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise OSError("no Redis")

    monkeypatch.setattr("webui.wake.wake_dataplane", broken)
    assert factories.server().pk
    assert Server.objects.count() == 1


def test_the_default_monitor_follows_the_type() -> None:
    server = factories.server()
    made = {
        (kind, port): factories.service(server, name=f"{kind}{port}", service_type=kind, port=port)
        for kind, port in (("TCP", 80), ("TCP", 0), ("UDP", 69), ("ANY", 0))
    }
    assert {key: bound_monitors(service) for key, service in made.items()} == {
        ("TCP", 80): ["tcp-default"],
        ("TCP", 0): ["ping-default"],
        ("UDP", 69): ["ping-default"],
        ("ANY", 0): ["ping-default"],
    }


def test_another_monitor_takes_the_place_of_the_default_and_the_last_one_gives_it_back() -> None:
    service = factories.service(service_type="TCP", port=80)
    factories.monitor("a")
    factories.monitor("b")
    services.bind_monitor(SYSTEM, service, "a")
    services.bind_monitor(SYSTEM, service, "B", weight=5, state="disabled")
    assert bound_monitors(service) == ["a", "b"]
    services.unbind_monitor(SYSTEM, service, "a")
    services.unbind_monitor(SYSTEM, service, "b")
    assert bound_monitors(service) == ["tcp-default"]
    with pytest.raises(ValidationError, match="the only one bound"):
        services.unbind_monitor(SYSTEM, service, "tcp-default")
    with pytest.raises(NotFoundError, match="not bound"):
        services.unbind_monitor(SYSTEM, service, "a")


def test_a_default_that_was_bound_beside_others_stays() -> None:
    service = factories.service()
    factories.monitor("a")
    factories.monitor("b")
    services.bind_monitor(SYSTEM, service, "a")
    services.bind_monitor(SYSTEM, service, "ping-default")
    services.bind_monitor(SYSTEM, service, "b")
    assert bound_monitors(service) == ["a", "b", "ping-default"]


def test_weight_and_state_of_a_monitor_binding_can_be_set() -> None:
    service = factories.service()
    binding = services.set_monitor_binding(SYSTEM, service, "ping-default", weight=7, state="DISABLED")
    assert (binding.weight, binding.state) == (7, "DISABLED")
    assert services.set_monitor_binding(SYSTEM, service, "ping-default", weight=8).state == "DISABLED"


def test_a_server_with_services_and_a_bound_monitor_are_not_deleted_and_the_services_are_named() -> None:
    service, monitor = factories.service(), factories.monitor()
    services.bind_monitor(SYSTEM, service, monitor)
    with pytest.raises(ValidationError, match="service_Server1_ANY"):
        servers.delete(SYSTEM, service.server)
    with pytest.raises(ValidationError, match="service_Server1_ANY"):
        monitors.delete(SYSTEM, monitor)
    services.unbind_monitor(SYSTEM, service, monitor)
    monitors.delete(SYSTEM, monitor)
    services.delete(SYSTEM, service)
    servers.delete(SYSTEM, service.server)
    assert not Server.objects.exists()


def test_deleting_a_bound_service_unbinds_it_everywhere_and_says_so() -> None:
    service = factories.service()
    vserver = factories.vserver(service)
    services.delete(SYSTEM, service)
    assert not vserver.service_bindings.exists()
    deleted = AuditEntry.objects.get(verb=AuditVerb.DELETE)
    assert deleted.before is not None
    assert deleted.before["vservers"] == ["vserver_DSR"]
    unbound = AuditEntry.objects.get(verb=AuditVerb.UNBIND, kind="vserver")
    assert (unbound.object_name, unbound.revision) == ("vserver_DSR", deleted.revision)


def test_weights_can_be_set_and_services_unbound() -> None:
    service = factories.service()
    vserver = factories.vserver(service)
    assert vservers.set_weight(SYSTEM, vserver, service.name.upper(), 40).weight == 40
    vservers.unbind_service(SYSTEM, vserver, service)
    with pytest.raises(NotFoundError, match="not bound"):
        vservers.set_weight(SYSTEM, vserver, service, 1)


def test_a_proxys_options_are_refused_with_the_reason() -> None:
    options = {"-cip": "ENABLED", "useProxyPort": "YES", "CKA": True, "tcp_profile_name": "x", "nonsense": 1}
    with pytest.raises(ValidationError) as caught:
        refuse_proxy_options(options)
    texts = {name: text for name, (text,) in caught.value.message_dict.items()}
    assert set(texts) == set(options)
    assert "HTTP header" in texts["-cip"]
    assert "source port" in texts["useProxyPort"]
    assert "proxy" in texts["CKA"]
    assert texts["nonsense"] == "“nonsense” is not an option of a service."


def test_a_line_of_a_saved_configuration_passes_with_its_neutral_options() -> None:
    factories.server()
    neutral = {"gslb": "NONE", "maxClient": "0", "maxReq": 0, "cip": "DISABLED", "cltTimeout": "120"}
    values = {
        "name": "srv_ftp",
        "server": "server1",
        "port": "*",
        "usip": "YES",
        "CKA": "NO",
        "TCPB": "NO",
        "CMP": "NO",
    }
    assert services.create(SYSTEM, values | neutral).usip is True


def test_a_refused_option_changes_nothing() -> None:
    with pytest.raises(ValidationError, match="redirect_url"):
        vservers.create(SYSTEM, {"name": "v", "address": "10.77.0.10", "redirect_url": "http://example.org/"})
    assert not VServer.objects.exists()
