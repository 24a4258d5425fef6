"""Rows become the configuration that the forwarder follows."""

from __future__ import annotations

from datetime import timedelta
from ipaddress import ip_address
from typing import Any

import pytest
from django.core.management import call_command
from django.utils import timezone

from dataplane import desired, snapshot
from dataplane.tables import HashField, SettingFlag
from tests import factories
from webui.actions import checks, installation, servers, services, vservers
from webui.choices import State
from webui.models import (
    HealthState,
    HealthTransition,
    Installation,
    ProbeTarget,
    Service,
    VServer,
    VServerServiceBinding,
)

pytestmark = pytest.mark.django_db


def everything_is(state: str) -> None:
    HealthState.objects.update(state=state, response=f"seen {state}")


def test_a_vserver_with_its_services_and_probe_addresses() -> None:
    bound = [factories.service(factories.server(number)) for number in (1, 2)]
    row = factories.vserver(*bound)
    everything_is(State.UP)
    mark, read = snapshot.read()
    (vserver,) = read.vservers
    assert (vserver.config_id, str(vserver.address), vserver.protocol, vserver.port) == (row.pk, "10.77.0.10", 0, 0)
    assert vserver.hash_fields == HashField.SOURCE
    assert str(vserver.mask) == "255.255.255.255"
    assert [(item.config_id, str(item.address), item.weight, item.eligible) for item in vserver.services] == [
        (bound[0].pk, "10.77.0.11", 1, True),
        (bound[1].pk, "10.77.0.12", 1, True),
    ]
    assert {(str(item.server), str(item.vip)) for item in read.probes} == {
        ("10.77.0.11", "10.77.0.10"),
        ("10.77.0.12", "10.77.0.10"),
    }
    assert mark == (Installation.objects.get().revision, 0)
    assert len(read.hash_key) == 16


@pytest.mark.parametrize("state", [State.UNKNOWN, State.DOWN])
def test_a_service_that_is_not_up_is_not_eligible_and_says_why(state: State) -> None:
    factories.vserver(factories.service())
    everything_is(state)
    (service,) = snapshot.read()[1].vservers[0].services
    assert not service.eligible
    assert service.reason == f"{state}: ping-default: seen {state}"


def test_health_at_one_vip_says_nothing_about_another() -> None:
    bound = factories.service()
    factories.vserver(bound)
    factories.vserver(bound, name="second", address="10.77.0.20")
    everything_is(State.UP)
    HealthState.objects.filter(target__vip="10.77.0.20").update(state=State.DOWN)
    by_address = {str(item.address): item.services[0].eligible for item in snapshot.read()[1].vservers}
    assert by_address == {"10.77.0.10": True, "10.77.0.20": False}


def test_a_disabled_vserver_is_not_forwarded() -> None:
    row = factories.vserver(factories.service())
    vservers.disable(factories.SYSTEM, row)
    assert snapshot.read()[1].vservers == ()


@pytest.mark.parametrize("what", ["server", "service"])
def test_a_disabled_service_or_server_is_not_eligible(what: str) -> None:
    bound = factories.service()
    factories.vserver(bound)
    everything_is(State.UP)
    if what == "server":
        servers.disable(factories.SYSTEM, bound.server)
    else:
        services.disable(factories.SYSTEM, bound)
    (service,) = snapshot.read()[1].vservers[0].services
    assert not service.eligible
    assert service.reason.startswith("OUT OF SERVICE")


def test_the_place_in_the_ring_follows_hash_id_rather_than_the_address() -> None:
    bound = factories.service(hash_id=7)
    factories.vserver(bound)
    first = snapshot.read()[1].vservers[0].services[0].hash_identity
    bound.server.refresh_from_db()
    servers.update(factories.SYSTEM, bound.server, {"address": "10.77.0.99"})
    second = snapshot.read()[1].vservers[0].services[0]
    assert str(second.address) == "10.77.0.99"
    assert second.hash_identity == first


def test_an_ipv6_prefix_length_becomes_a_mask() -> None:
    factories.vserver(address="fd77::10", v6_netmask_len=64)
    assert snapshot.read()[1].vservers[0].mask == ip_address("ffff:ffff:ffff:ffff::")


def test_servers_of_no_service_are_there_too() -> None:
    factories.server(3)
    assert snapshot.read()[1].servers == (ip_address("10.77.0.13"),)


def test_a_transition_moves_the_mark() -> None:
    before = snapshot.mark()
    HealthTransition.objects.create(
        service_name="s", monitor_name="m", vip="10.77.0.10", old=State.UP, new=State.DOWN, reason="no answer"
    )
    assert snapshot.mark() != before


def test_a_change_during_reading_makes_it_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    factories.vserver(factories.service())
    marks = iter([(1, 0), (2, 0), (2, 0), (2, 0)])
    monkeypatch.setattr(snapshot, "mark", lambda: next(marks))
    assert snapshot.read()[0] == (2, 0)


def test_the_number_of_queries_does_not_grow_with_the_configuration(django_assert_num_queries: Any) -> None:
    factories.vserver(*[factories.service(factories.server(number)) for number in range(1, 9)])
    assert ProbeTarget.objects.count() == 8
    assert VServer.objects.count() == 1
    with django_assert_num_queries(13):
        snapshot.read()


def test_a_leaving_service_stays_in_the_ring_of_a_sessionless_vserver_until_the_moment() -> None:
    bound = factories.service()
    factories.vserver(bound)
    everything_is(State.UP)
    at = services.disable(factories.SYSTEM, bound, 90).out_of_service_at
    assert at is not None
    (before,) = snapshot.read(at - timedelta(seconds=1))[1].vservers[0].services
    assert before.eligible
    assert before.reason.startswith("GOING OUT OF SERVICE: it is disabled; out of service at ")
    (after,) = snapshot.read(at)[1].vservers[0].services
    assert not after.eligible


def test_the_next_departure_is_the_earliest_that_is_still_to_come() -> None:
    now = timezone.now()
    assert snapshot.next_departure(now) is None
    first, second = (factories.service(factories.server(number)) for number in (1, 2))
    late = services.disable(factories.SYSTEM, first, 90).out_of_service_at
    early = servers.disable(factories.SYSTEM, second.server, 30).out_of_service_at
    assert early is not None
    assert snapshot.next_departure(now) == early
    assert snapshot.next_departure(early) == late
    services.enable(factories.SYSTEM, first)
    assert snapshot.next_departure(early) is None


def options(**values: Any) -> desired.VServerOptions:
    factories.vserver(**values)
    return snapshot.read()[1].vservers[0].options


def test_the_default_is_sessionless() -> None:
    assert options() == desired.VServerOptions()


def test_sessions_turns_and_persistence_reach_the_forwarder() -> None:
    found = options(
        sessionless="DISABLED",
        lb_method="ROUNDROBIN",
        persistence_type="SOURCEIP",
        timeout=3,
        persist_mask="255.255.255.0",
        clt_timeout=60,
        ping="DROP",
    )
    assert (found.sessions, found.rotate, found.ping) == (True, True, desired.Ping.DROP)
    assert (found.idle_timeout, found.persist_timeout, str(found.persist_mask)) == (60, 180, "255.255.255.0")


def test_the_persistence_mask_of_an_ipv6_vip_is_its_prefix() -> None:
    found = options(address="fd77::10", persistence_type="SOURCEIP", v6_persist_mask_len=56)
    assert found.persist_mask == ip_address("ffff:ffff:ffff:ff00::")


def test_syn_limits_reach_the_forwarder() -> None:
    found = options(syn_rate=1000, source_syn_rate=10, source_syn_burst=20, source_syn_mask="255.255.255.0")
    assert (found.syn_rate, found.syn_burst) == (1000, 0)
    assert (found.source_syn_rate, found.source_syn_burst, str(found.source_mask)) == (10, 20, "255.255.255.0")


def test_the_ttl_rule_reaches_the_forwarder() -> None:
    assert not snapshot.read()[1].rules
    installation.update(factories.SYSTEM, {"ttl_rule": True})
    assert snapshot.read()[1].rules is SettingFlag.TTL


@pytest.mark.parametrize(
    ("of_service", "of_vserver", "flush"),
    [("ENABLED", "ENABLED", True), ("DISABLED", "ENABLED", False), ("ENABLED", "DISABLED", False)],
)
def test_flows_of_a_service_that_is_down_move_unless_it_or_the_vserver_keeps_them(
    of_service: str, of_vserver: str, flush: bool
) -> None:
    bound = factories.service(down_state_flush=of_service)
    factories.vserver(bound, sessionless="DISABLED", down_state_flush=of_vserver)
    everything_is(State.DOWN)
    (service,) = snapshot.read()[1].vservers[0].services
    assert (service.eligible, service.flush) == (False, flush)


def test_flows_of_a_leaving_service_finish_until_its_delay_is_over() -> None:
    bound = factories.service(down_state_flush="DISABLED")
    factories.vserver(bound, sessionless="DISABLED")
    everything_is(State.UP)
    at = services.disable(factories.SYSTEM, bound, 90).out_of_service_at
    assert at is not None
    (before,) = snapshot.read()[1].vservers[0].services
    assert (before.eligible, before.flush) == (False, False)
    (after,) = snapshot.read(at)[1].vservers[0].services
    assert (after.eligible, after.flush) == (False, True)


def served_by() -> dict[str, list[str]]:
    return {
        vserver.name: [service.name for service in vserver.services if service.eligible]
        for vserver in snapshot.read()[1].vservers
    }


def test_a_backups_services_take_the_place_of_the_primarys_while_none_of_those_can() -> None:
    last = factories.vserver(factories.service(factories.server(3)), name="last", address="10.77.0.30")
    standby = factories.vserver(
        factories.service(factories.server(2)), name="standby", address="10.77.0.20", backup_vserver=last
    )
    factories.vserver(factories.service(), name="primary", backup_vserver=standby)
    everything_is(State.UP)
    others = {"last": ["service_Server3_ANY"], "standby": ["service_Server2_ANY"]}
    assert served_by() == others | {"primary": ["service_Server1_ANY"]}
    HealthState.objects.filter(service__server__name="Server1").update(state=State.DOWN)
    assert served_by() == others | {"primary": ["service_Server2_ANY"]}
    # What counts is the state at the primary's VIP: the backup's server may lack it.
    HealthState.objects.filter(service__server__name="Server2", target__vip="10.77.0.10").update(state=State.DOWN)
    assert served_by() == others | {"primary": ["service_Server3_ANY"]}
    vservers.disable(factories.SYSTEM, last)
    assert served_by() == {"standby": ["service_Server2_ANY"], "primary": []}


def verdict_changes(service: Service, state: State, vip: str = "10.77.0.10") -> None:
    """As the checks write it: the state, and a transition."""
    HealthState.objects.filter(service=service, target__vip=vip).update(state=state, response=f"seen {state}")
    HealthTransition.objects.create(
        service=service, service_name=service.name, monitor_name="m", vip=vip, old=State.UP, new=state, reason="r"
    )


def test_a_verdict_is_followed_without_reading_what_it_is_not_about(django_assert_num_queries: Any) -> None:
    first, second = (factories.service(factories.server(number)) for number in (1, 2))
    factories.vserver(first, name="one", address="10.77.0.10")
    factories.vserver(second, name="two", address="10.77.0.20")
    everything_is(State.UP)
    reader, now = snapshot.Reader(), timezone.now()
    mark, before = reader.read(now)
    verdict_changes(first, State.DOWN)
    with django_assert_num_queries(6):  # the mark twice, the services concerned, and their states
        mark, after = reader.read(now, mark)
    assert after.vservers[0].services[0].reason == "DOWN: ping-default: seen DOWN"
    assert after.vservers[1] is before.vservers[1]
    assert (mark, after) == snapshot.read(now)


def test_a_verdict_about_a_backup_concerns_its_primaries() -> None:
    spare = factories.service(factories.server(2))
    standby = factories.vserver(spare, name="standby", address="10.77.0.20")
    primary = factories.service()
    factories.vserver(primary, name="primary", backup_vserver=standby)
    everything_is(State.UP)
    reader, now = snapshot.Reader(), timezone.now()
    mark, _configuration = reader.read(now)
    for service in (primary, spare):
        verdict_changes(service, State.DOWN)
        mark, followed = reader.read(now, mark)
        assert (mark, followed) == snapshot.read(now)


def test_any_change_of_the_configuration_is_read_as_a_whole() -> None:
    bound = factories.service()
    row = factories.vserver(bound)
    everything_is(State.UP)
    reader, now = snapshot.Reader(), timezone.now()
    mark, _configuration = reader.read(now)
    vservers.set_weight(factories.SYSTEM, row, bound, 7)
    verdict_changes(bound, State.DOWN)
    mark, followed = reader.read(now, mark)
    assert (mark, followed) == snapshot.read(now)
    assert followed.vservers[0].services[0].weight == 7


def test_very_many_verdicts_are_read_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "MANY_SERVICES", 1)
    bound = [factories.service(factories.server(number)) for number in (1, 2, 3)]
    factories.vserver(*bound)
    everything_is(State.UP)
    reader, now = snapshot.Reader(), timezone.now()
    mark, _configuration = reader.read(now)
    for service in bound:
        verdict_changes(service, State.DOWN)
    assert reader.read(now, mark) == snapshot.read(now)


def test_more_services_than_sqlite_takes_in_one_expression_are_read(capsys: pytest.CaptureFixture[str]) -> None:
    server, row = factories.server(), factories.vserver()
    made = Service.objects.bulk_create(Service(name=f"s{port}", server=server, port=port) for port in range(1, 1101))
    VServerServiceBinding.objects.bulk_create(VServerServiceBinding(vserver=row, service=service) for service in made)
    checks.sync_checks()
    assert len(snapshot.read()[1].vservers[0].services) == 1100
    with pytest.raises(SystemExit):
        call_command("halfpipe_status")
    assert "No dataplane worker has reported yet." in capsys.readouterr().out
