from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from dataplane import report
from tests import factories
from webui import consequences, details, guards, queries, rows
from webui.actions import servicegroups, services, vservers
from webui.asked import Asked
from webui.choices import State
from webui.listing import listing
from webui.models import AuditEntry, DataplaneStatus, DirectorCounters, HealthState, ServerPath, Service
from webui.payloads import ServiceRow, VServerRow
from webui.world import load_world

pytestmark = pytest.mark.django_db

Queries = Callable[[int], Any]


def _service_row(service: Service) -> ServiceRow:
    return next(row for row in queries.overview()["services"] if row["key"] == str(service.pk))


def _vserver_row() -> VServerRow:
    (row,) = queries.overview()["vservers"]
    return row


def _texts(rows: Any) -> list[tuple[str, str]]:
    return [(row["what"], row["text"]) for row in rows]


def _report(name: str = "director1", seconds_ago: float = 0, **values: Any) -> DataplaneStatus:
    at = timezone.now() - timedelta(seconds=seconds_ago)
    return DataplaneStatus.objects.create(director=name, heartbeat_at=at, **values)


def _count(name: str, payload: dict[str, Any], seconds_ago: float = 0) -> None:
    at = timezone.now() - timedelta(seconds=seconds_ago)
    DirectorCounters.objects.create(director=name, taken_at=at, payload=payload)


def _many(number: int) -> None:
    for one in range(number):
        service = factories.service(factories.server(one))
        factories.vserver(service, name=f"vserver{one}", address=f"10.77.1.{one + 1}")
        ServerPath.objects.create(director="director1", server=service.server, eligible=True)


@pytest.mark.parametrize("number", [1, 7])
def test_the_overview_takes_twenty_two_queries_however_many_objects_there_are(
    number: int, django_assert_num_queries: Queries
) -> None:
    _many(number)
    with django_assert_num_queries(22):
        queries.overview()


@pytest.mark.parametrize("number", [1, 7])
@pytest.mark.parametrize(("kind", "expected"), [("servers", 12), ("services", 12), ("vservers", 11), ("monitors", 11)])
def test_a_detail_page_takes_as_many_queries_for_many_objects_as_for_one(
    kind: str, expected: int, number: int, django_assert_num_queries: Queries
) -> None:
    _many(number)
    pk = int(listing(kind, Asked()).rows[0]["key"])
    with django_assert_num_queries(expected):
        details.detail(kind, pk)
    # A service may belong to a group; a virtual server may have some.
    with django_assert_num_queries({"services": 12, "vservers": 14}.get(kind, 11)):
        details.bindings(kind, pk)


@pytest.mark.parametrize("number", [1, 7])
def test_so_does_that_of_a_service_group(number: int, django_assert_num_queries: Queries) -> None:
    group = servicegroups.create(factories.SYSTEM, {"name": "g", "service_type": "TCP"})
    servers = [factories.server(one) for one in range(number)]
    servicegroups.bind_members(factories.SYSTEM, group, servers, 80)
    vserver = factories.vserver(service_type="TCP", port=80, address="10.77.1.1")
    servicegroups.bind_to_vserver(factories.SYSTEM, vserver, group)
    for read in (details.detail, details.bindings):
        with django_assert_num_queries(15):
            assert len(read("servicegroups", group.pk).tables[0].rows) == number


def test_a_service_bound_to_no_virtual_server_is_unknown_and_says_why() -> None:
    row = _service_row(factories.service())
    assert (row["state"], row["state_reason"]) == (
        State.UNKNOWN,
        "bound to no virtual server, so there is no VIP to check",
    )


def test_a_spare_service_is_no_problem() -> None:
    factories.service()
    assert queries.overview()["problems"] == []


def test_a_disabled_service_is_out_of_service_even_when_bound_nowhere() -> None:
    service = services.disable(factories.SYSTEM, factories.service())
    assert _service_row(service)["state"] == State.OUT_OF_SERVICE


def test_a_service_has_the_worst_state_of_its_vips_and_names_the_vip() -> None:
    service = factories.service()
    factories.vserver(service)
    factories.vserver(service, name="second", address="10.77.0.20")
    HealthState.objects.update(state=State.UP, response="echo")
    HealthState.objects.filter(target__vip="10.77.0.20").update(state=State.DOWN, response="no answer")
    row = _service_row(service)
    assert row["state"] == State.DOWN
    assert row["state_reason"] == "at 10.77.0.20: ping-default: no answer"
    states = {row["name"]: row["state"] for row in queries.overview()["vservers"]}
    assert states == {"vserver_DSR": State.UP, "second": State.DOWN}


def test_a_virtual_server_counts_the_services_that_are_up() -> None:
    bound = [factories.service(factories.server(number)) for number in (1, 2)]
    factories.vserver(*bound)
    HealthState.objects.update(state=State.DOWN)
    assert (_vserver_row()["state"], _vserver_row()["services"]) == (State.DOWN, "0/2")
    HealthState.objects.filter(service=bound[0]).update(state=State.UP)
    assert (_vserver_row()["state"], _vserver_row()["services"]) == (State.UP, "1/2")


def test_a_server_that_a_director_cannot_reach_is_shown_at_its_services_too() -> None:
    service = factories.service()
    factories.vserver(service)
    ServerPath.objects.create(director="director1", server=service.server, reason="no answer to ARP on eth1")
    _report()
    seen = queries.overview()
    assert seen["services"][0]["path"] == "director1: no answer to ARP on eth1"
    assert seen["servers"][0]["eligible"] == "NO"
    assert ("server Server1", "no path, director1: no answer to ARP on eth1") in _texts(seen["problems"])


def test_problems_come_worst_first() -> None:
    bound = [factories.service(factories.server(number)) for number in (1, 2)]
    factories.vserver(*bound)
    _report()
    HealthState.objects.filter(service=bound[1]).update(state=State.DOWN, response="refused")
    assert [(row["severity"], row["what"]) for row in queries.overview()["problems"]] == [
        (State.DOWN, "service service_Server2_ANY"),
        (State.UNKNOWN, "virtual server vserver_DSR"),
        (State.UNKNOWN, "service service_Server1_ANY"),
    ]


@pytest.mark.parametrize(
    ("report", "state"),
    [
        ({"wanted_revision": 3, "applied_revision": 3}, "CURRENT"),
        ({"wanted_revision": 3, "applied_revision": 2}, "APPLYING"),
        ({"last_error": "no such interface: eth9"}, "ERROR"),
        ({"last_error": "no such interface: eth9", "seconds_ago": 11}, "STALE"),
        ({"seconds_ago": 11}, "STALE"),
    ],
)
def test_a_directors_state_follows_its_report(report: dict[str, Any], state: str) -> None:
    _report(**report)
    seen = queries.overview()
    assert seen["directors"][0]["state"] == state
    assert len(seen["problems"]) == (0 if state == "CURRENT" else 1)


def test_a_virtual_server_without_any_director_is_a_problem() -> None:
    factories.vserver()
    assert ("director", "none has reported yet: nothing is forwarded") in _texts(queries.overview()["problems"])


def test_rates_are_the_sum_over_the_directors_that_still_report() -> None:
    pk = str(factories.vserver().pk)
    for name, rate, seconds_ago in (("a", 10.0, 0), ("b", 5.5, 1), ("c", 1000.0, 11)):
        counted = {"packets": 7, "bytes": 70, "packets_per_second": rate, "bits_per_second": rate * 8}
        _count(name, {"vservers": {pk: counted}}, seconds_ago)
    row = _vserver_row()
    assert (row["packets_per_second"], row["bits_per_second"], row["packets"]) == (15.5, 124.0, 14)


def test_rates_are_unknown_rather_than_nought_when_nobody_reports() -> None:
    factories.vserver()
    assert _vserver_row()["packets_per_second"] is None


def test_reasons_are_shown_in_words() -> None:
    _count("director1", {"reasons": {"DROP_NO_SERVICE": {"packets": 3, "packets_per_second": 0.5}}})
    (row,) = queries.overview()["reasons"]
    assert (row["reason"], row["packets"]) == ("dropped: no service of the virtual server is UP", 3)


def test_every_reason_of_the_forwarder_has_words() -> None:
    from dataplane.tables import Reason  # noqa: PLC0415 - the console itself must not import it

    assert set(rows.REASON_WORDS) == {reason.name for reason in Reason}


def test_deleting_a_service_tells_where_its_clients_go() -> None:
    bound = [factories.service(factories.server(number)) for number in (1, 2)]
    factories.vserver(*bound)
    (told,) = consequences.of_deleting(load_world(), "services", bound[0].pk)
    assert told == "It is unbound from vserver_DSR; no service of it is UP then: clients get no answer."
    HealthState.objects.update(state=State.UP)
    (told,) = consequences.of_deleting(load_world(), "services", bound[0].pk)
    assert told == "It is unbound from vserver_DSR; its clients move to service_Server2_ANY."


def test_a_health_check_shows_the_command_that_repeats_it_on_the_director() -> None:
    service = factories.service()
    factories.vserver(service)
    services.bind_monitor(factories.SYSTEM, service, factories.monitor(dest_port=8080))
    (health,) = [table for table in details.detail("services", service.pk).tables if table.name == "health"]
    address = HealthState.objects.get(service=service).target.address
    assert [row["command"] for row in health.rows] == [f"curl -v http://{address}:8080/"]


def test_changes_are_told_in_words() -> None:
    service = factories.service()
    vserver = factories.vserver(service)
    vservers.set_weight(factories.SYSTEM, vserver, service, 5)
    vservers.unbind_service(factories.SYSTEM, vserver, service)
    told = [(row["what"], row["note"]) for row in queries.change_rows("vserver", vserver.pk)]
    assert told == [
        ("unbound service service_Server1_ANY from vserver vserver_DSR", ""),
        ("changed vserver vserver_DSR", "weight: 1 → 5"),
        ("bound service service_Server1_ANY to vserver vserver_DSR", "weight 1"),
        ("created vserver vserver_DSR", ""),
    ]


def test_what_was_typed_at_a_failed_login_is_not_shown_to_everybody(client: Client) -> None:
    client.post("/login/", {"username": "my password by mistake", "password": "x"})
    assert AuditEntry.objects.filter(object_name="my password by mistake").exists()
    assert "my password" not in str(queries.overview())


def test_an_ipv6_address_stands_in_brackets() -> None:
    assert rows.endpoint("2001:db8::1", 80) == "[2001:db8::1]:80"
    assert rows.endpoint("192.0.2.1", 0) == "192.0.2.1:*"


def _guard(name: str, moved_ago: float, director: str = "director1", seconds_ago: float = 0) -> None:
    moved_at = (timezone.now() - timedelta(seconds=moved_ago)).isoformat()
    _count(director, {"reasons": {name: {"packets": 12, "packets_per_second": 0.0, "moved_at": moved_at}}}, seconds_ago)


@pytest.mark.parametrize("name", ["DROP_LOOP", "DROP_OWN_MAC", "DROP_TABLE"])
def test_a_guard_that_moved_within_a_minute_is_a_problem(name: str) -> None:
    _guard(name, moved_ago=30)
    seen = queries.overview()
    ((what, text),) = _texts(seen["problems"])
    assert what == "director director1"
    assert text.endswith(f". 12 frames dropped so far, {name}")
    assert seen["problems"][0]["severity"] == State.DOWN
    (reason,) = seen["reasons"]
    assert reason["note"].startswith("moved at 20")


def test_a_guard_that_moved_long_ago_or_on_a_silent_director_is_none_and_drops_as_such_are_none() -> None:
    _guard("DROP_LOOP", moved_ago=70)
    _guard("DROP_LOOP", moved_ago=5, director="silent", seconds_ago=60)
    _guard("DROP_NO_SERVICE", moved_ago=1, director="third")
    assert queries.overview()["problems"] == []
    assert [row["note"][:8] for row in queries.overview()["reasons"]] == ["moved at", ""]


def test_guards_are_reasons_of_the_forwarder() -> None:
    assert set(guards.GUARDS) <= set(rows.REASON_WORDS)
    assert {reason.name for reason in report._AT_REST} == set(guards.GUARDS)
