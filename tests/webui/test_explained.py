"""Which server a client gets, computed from rows; tests/kernel/test_explained.py asks the kernel the same."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from dataplane.explain_query import parse_query
from dataplane.tables import Reason
from tests import factories
from tests.webui.reports import OUT_MAC, OWN_MAC, director, mac_of
from webui import explained
from webui.explained import Answer, UnknownError
from webui.models import ServerPath, Service, VServer

pytestmark = pytest.mark.django_db


@pytest.fixture
def bound() -> list[Service]:
    services = [factories.service(factories.server(number)) for number in (1, 2, 3)]
    for service in services:
        service.health_monitor = False
        service.save()
    return services


def ask(source: str = "192.0.2.7", to: str = "10.77.0.10", *rest: str) -> Answer:
    return explained.explain(parse_query(source, to, *rest), explained.directors()[0])


def test_a_client_gets_one_server_and_the_director_rewrites_both_addresses(bound: list[Service]) -> None:
    vserver = factories.vserver(*bound)
    director()
    found = ask()
    assert (found.verdict, found.reason, found.unsure) == ("redirect", Reason.FORWARDED, "")
    assert found.service is not None
    assert found.vserver is not None
    assert found.vserver.config_id == vserver.pk
    server = next(one for one in bound if one.pk == found.service.config_id).server
    assert (found.new_source_mac, found.new_destination_mac) == (OUT_MAC, mac_of(server))
    assert (found.egress, found.arrival_mac, found.method) == ("eth1", OWN_MAC, "SOURCEIPHASH")
    assert ask() == found
    assert len({ask(f"192.0.2.{host}").service for host in range(30)}) == 3


def test_a_service_that_no_director_reaches_gets_nobody_and_the_reason_is_told(bound: list[Service]) -> None:
    factories.vserver(*bound)
    director()
    ServerPath.objects.filter(server=bound[0].server).update(eligible=False, reason="no answer to ARP on eth1", mac="")
    found = [ask(f"192.0.2.{host}") for host in range(30)]
    assert {one.service.config_id for one in found if one.service} == {bound[1].pk, bound[2].pk}
    vserver = found[0].vserver
    assert vserver is not None
    assert explained.refused(vserver) == [(bound[0].name, "no answer to ARP on eth1")]


@pytest.mark.parametrize(
    ("to", "protocol", "reason"),
    [("10.77.0.99", "tcp", Reason.PASS_NOT_VIP), ("10.77.0.10", "udp", Reason.DROP_NO_VSERVER)],
)
def test_what_no_virtual_server_takes_is_passed_or_dropped(
    bound: list[Service], to: str, protocol: str, reason: Reason
) -> None:
    web = factories.service(factories.server(9), service_type="TCP", port=80)
    factories.vserver(web, service_type="TCP", port=80)
    director()
    found = ask("192.0.2.7", to, protocol)
    assert (found.reason, found.service, found.vserver) == (reason, None, None)


def test_where_services_take_turns_no_server_is_named(bound: list[Service]) -> None:
    factories.vserver(*bound, lb_method="ROUNDROBIN", sessionless="DISABLED")
    director()
    found = ask()
    assert (found.reason, found.service, found.slot, found.method) == (None, None, None, "")
    assert found.unsure
    assert found.vserver is not None
    assert any("Not certain" in note for note in explained.notes(found))


def test_where_flows_are_kept_the_server_of_a_new_flow_is_named_with_a_warning(bound: list[Service]) -> None:
    factories.vserver(*bound, sessionless="DISABLED")
    director()
    found = ask()
    assert found.service is not None
    assert "remembers" in found.unsure


def test_a_director_that_lags_or_is_silent_is_said_so(bound: list[Service]) -> None:
    factories.vserver(*bound)
    row = director(applied_revision=1)
    assert "has applied revision 1" in explained.notes(ask())[0]
    row.heartbeat_at = timezone.now() - timedelta(minutes=1)
    row.save()
    assert "no longer reports" in explained.notes(ask())[0]


def test_a_director_without_the_forwarder_cannot_be_computed_for(bound: list[Service]) -> None:
    factories.vserver(*bound)
    director(interfaces=[])
    with pytest.raises(UnknownError, match="attached to no interface"):
        ask()


def test_an_answer_takes_as_many_queries_however_many_objects_there_are(django_assert_num_queries: Any) -> None:
    counts = []
    for number in (1, 5):
        for one in range(number):
            service = factories.service(factories.server(10 * number + one))
            factories.vserver(service, name=f"v{number}{one}", address=f"10.77.{number}.{one + 1}")
        if number == 1:
            director()
        from django.db import connection  # noqa: PLC0415 - the test's own
        from django.test.utils import CaptureQueriesContext  # noqa: PLC0415

        with CaptureQueriesContext(connection) as seen:
            ask("192.0.2.7", "10.77.1.1")
        counts.append(len(seen))
    assert counts[0] == counts[1] <= 16


@pytest.fixture
def reader(client: Client) -> Client:
    client.force_login(factories.outsider())
    return client


def page(reader: Client, /, **values: str) -> tuple[int, str]:
    answer = reader.get(reverse("explain"), values)
    return answer.status_code, answer.content.decode()


def test_the_page_is_filled_by_a_virtual_server_and_answers(reader: Client, bound: list[Service]) -> None:
    vserver = factories.vserver(*bound)
    director()
    status, html = page(reader, vserver=str(vserver.pk))
    assert status == 200
    for part in ('name="vip" value="10.77.0.10"', 'name="dport" value="80"'):
        assert part in html
    assert (
        reader.get(reverse("detail", args=["vservers", vserver.pk]))
        .content.decode()
        .count(f"/explain/?vserver={vserver.pk}")
    )
    status, html = page(reader, client="192.0.2.7", vip="10.77.0.10", protocol="tcp", dport="80", sport="")
    assert status == 200
    service = ask().service
    assert service is not None
    for part in (
        service.name,
        "SOURCEIPHASH",
        OWN_MAC,
        OUT_MAC,
        "of 16381",
        "The loaded program was not asked",
        "vserver_DSR",
    ):
        assert part in html


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("client", {"client": "nobody"}),
        ("client", {"client": ""}),
        ("client", {"client": "2001:db8::1"}),
        ("vip", {"vip": "10.77.0"}),
        ("protocol", {"protocol": "carrier pigeon"}),
        ("dport", {"dport": "65536"}),
        ("sport", {"protocol": "icmp", "sport": "5", "dport": ""}),
    ],
)
def test_bad_input_is_told_at_its_field(reader: Client, field: str, values: dict[str, str]) -> None:
    given = {"client": "192.0.2.7", "vip": "10.77.0.10", "protocol": "tcp", "sport": "", "dport": "80"} | values
    answer = reader.get(reverse("explain"), given)
    assert answer.status_code == 422
    assert list(answer.context["form"].errors) == [field]


def test_without_a_director_the_page_says_what_is_missing(reader: Client, bound: list[Service]) -> None:
    factories.vserver(*bound)
    status, html = page(reader, client="192.0.2.7", vip="10.77.0.10", protocol="tcp")
    assert (status, "No director has reported yet" in html) == (200, True)


def test_of_several_directors_one_is_chosen(reader: Client, bound: list[Service]) -> None:
    factories.vserver(*bound)
    director()
    director("director2")
    status, html = page(reader, client="192.0.2.7", vip="10.77.0.10", protocol="tcp", director="director2")
    assert (status, "eth0 of director2" in html) == (200, True)
    assert VServer.objects.count() == 1
