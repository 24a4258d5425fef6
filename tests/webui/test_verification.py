"""Whether servers do their part, and in plain words what is wrong when not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from tests import factories
from webui.actions import servers, services, vservers
from webui.choices import State
from webui.models import DataplaneStatus, HealthState, Installation, ServerPath, VServer
from webui.verification import FAILED, OK, WAITING, ServerChecked, check_advice, verify

pytestmark = pytest.mark.django_db


@pytest.fixture
def web() -> VServer:
    """Two servers behind a VIP, a director that applied it, and nothing found out yet."""
    bound = [factories.service(factories.server(number), service_type="TCP", port=80) for number in (1, 2)]
    made = factories.vserver(*bound, service_type="TCP", port=80)
    revision = Installation.objects.get().revision
    DataplaneStatus.objects.create(
        director="lb1", heartbeat_at=timezone.now(), wanted_revision=revision, applied_revision=revision
    )
    return made


def _found(vserver: VServer, number: int = 0) -> ServerChecked:
    return verify(vserver.pk).servers[number]


def _reach(vserver: VServer) -> None:
    for binding in vserver.service_bindings.select_related("service__server"):
        server = binding.service.server
        mac = f"02:00:00:00:00:{server.pk:02x}"
        ServerPath.objects.create(director="lb1", server=server, eligible=True, mac=mac, interface="eth1")


def test_nothing_is_known_at_first(web: VServer) -> None:
    found = verify(web.pk)
    assert (found.state, found.director.state) == (WAITING, OK)
    assert [step.text for step in found.servers[0].steps] == [
        "No director has looked for it yet.",
        "Not checked yet; it is every 5 s.",
    ]
    assert found.words == "0 of 2 servers answer for 10.77.0.10, 0 do not, 2 not known yet."


def test_servers_that_are_reached_and_answer_are_verified(web: VServer) -> None:
    _reach(web)
    HealthState.objects.update(state=State.UP, response="TCP handshake done")
    found = verify(web.pk)
    assert (found.state, found.words) == (OK, "Every server answers for 10.77.0.10: 2 of 2.")
    path, check = found.servers[0].steps
    assert path.text.endswith("on eth1 (lb1)")
    assert (check.label, check.text) == ("The VIP answers tcp-default", "TCP handshake done")


def test_one_that_does_not_answer_is_told_what_is_most_likely_wrong(web: VServer) -> None:
    _reach(web)
    HealthState.objects.update(state=State.UP, response="TCP handshake done")
    HealthState.objects.filter(service__name="service_Server2_TCP").update(
        state=State.DOWN, response="no answer within 2 s"
    )
    found = verify(web.pk)
    assert found.state == FAILED
    assert found.words == "1 of 2 servers answer for 10.77.0.10, 1 do not."
    step = found.servers[1].steps[1]
    assert "VIP is missing on the server: ip addr show dev lo to 10.77.0.10" in step.advice[0]
    assert "firewall" in step.advice[1]


@pytest.mark.parametrize(
    ("response", "answers_ping", "words"),
    [
        ("no answer within 2 s", False, "the VIP is missing on the server"),
        ("no answer within 2 s", True, "The VIP is there, as ping is answered, but port 80 is silent"),
        ("connection refused", False, "nothing listens on port 80 there"),
        ("connection reset", False, "look at the log of the service"),
        ("198.18.0.1 is unreachable (is the server on the segment, and the data plane running?)", False, "director"),
        ("no route to 198.18.0.1 (is the data plane running?)", False, "does its data plane run"),
        ("dropped on the way to 198.18.0.1 (does the data plane know this probe address?)", False, "director"),
        ("HTTP 500, expected 200", False, "not what the monitor asks for"),
        ("certificate refused: expired", False, "not what the monitor asks for"),
    ],
)
def test_what_a_check_saw_is_explained(response: str, answers_ping: bool, words: str) -> None:
    advice = check_advice(response, "10.77.0.10", factories.server(), 80, answers_ping)
    assert words in advice[0]


@pytest.mark.parametrize(
    ("reason", "state", "words"),
    [
        ("Server 10.77.0.11 does not answer ARP requests on eth1", FAILED, "switched on"),
        ("Server 10.77.0.11 is outside every subnet that the director is connected to (a)", FAILED, "one segment"),
        ("Server 10.77.0.11 is an address of the director itself, on eth1", FAILED, "director's own"),
        ("Server 10.77.0.11 has the MAC address of the director's own eth1", FAILED, "director's own"),
        ("The MAC address of server 10.77.0.11 is not known yet on eth1", WAITING, ""),
    ],
)
def test_a_server_that_cannot_be_reached_is_explained(web: VServer, reason: str, state: str, words: str) -> None:
    server = web.service_bindings.select_related("service__server")[0].service.server
    ServerPath.objects.create(director="lb1", server=server, reason=reason)
    step = _found(web).steps[0]
    assert (step.state, step.text) == (state, f"lb1: {reason}")
    assert words in " ".join(step.advice)


def test_directors_that_do_not_follow_are_told(web: VServer) -> None:
    DataplaneStatus.objects.update(applied_revision=0)
    assert verify(web.pk).director.state == WAITING
    DataplaneStatus.objects.update(last_error="no memory")
    assert verify(web.pk).director.state == FAILED
    DataplaneStatus.objects.all().delete()
    found = verify(web.pk)
    assert (found.director.state, found.state) == (FAILED, FAILED)
    assert "Start the data plane worker" in found.director.advice[0]


def test_what_is_disabled_unchecked_or_not_bound_is_no_success(web: VServer) -> None:
    _reach(web)
    HealthState.objects.update(state=State.UP)
    one, two = (binding.service for binding in web.service_bindings.select_related("service__server"))
    servers.disable(factories.SYSTEM, one.server)
    services.update(factories.SYSTEM, two, {"health_monitor": False})
    assert (_found(web, 0).state, _found(web, 1).state) == (FAILED, WAITING)
    for service in (one, two):
        vservers.unbind_service(factories.SYSTEM, web, service)
    found = verify(web.pk)
    assert (found.state, found.words) == (FAILED, "No service is bound, so no server can answer.")


def test_the_page_has_the_commands_and_probes_for_who_may(client: Client, web: VServer) -> None:
    assert client.get(f"/vservers/{web.pk}/verify/").status_code == 302
    client.force_login(factories.outsider())
    page = client.get(f"/vservers/{web.pk}/verify/").content.decode()
    assert "ip addr add 10.77.0.10/32 dev lo" in page
    assert "Probe now" not in page
    client.force_login(factories.owner())
    page = client.get(f"/vservers/{web.pk}/verify/").content.decode()
    health = HealthState.objects.order_by("pk")[0]
    assert f"/monitors/{health.monitor_id}/probe/?choice={health.service_id}-{health.target_id}" in page
    assert client.get("/vservers/987/verify/").status_code == 404
    web.service_bindings.all().delete()
    assert f"/vservers/{web.pk}/bindings/" in client.get(f"/vservers/{web.pk}/verify/").content.decode()


@pytest.mark.parametrize("number", [1, 9])
def test_it_takes_as_many_queries_for_many_servers_as_for_one(
    number: int, django_assert_num_queries: Callable[[int], Any]
) -> None:
    vserver = factories.vserver(*(factories.service(factories.server(one)) for one in range(1, number + 1)))
    with django_assert_num_queries(13):
        verify(vserver.pk)
