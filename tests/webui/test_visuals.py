"""Diagram and packet path of a virtual server."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from tests import factories
from tests.webui.reports import OUT_MAC, OWN_MAC, director, mac_of
from webui import diagram, explained
from webui.actions import flow_watch
from webui.choices import STATE_ORDER, State
from webui.diagram import Box, Layout, Node
from webui.models import DirectorCounters, FlowWatch, Service, VServer

NODES = st.lists(
    st.builds(
        Node,
        keys=st.tuples(st.integers(1, 999).map(str)),
        name=st.text(min_size=1, max_size=60),
        url=st.just("/services/1/"),
        state=st.sampled_from([State.UP, State.DOWN, State.UNKNOWN, State.OUT_OF_SERVICE, State.FAIL_OPEN]).map(str),
        lines=st.just(("Server1 10.77.0.11", "02:bb:00:00:00:01")),
        weight=st.integers(1, 100),
        packets_per_second=st.one_of(st.none(), st.floats(0, 1e9)),
    ),
    max_size=110,
)


def apart(first: Box, second: Box) -> bool:
    beside = first.right < second.x or second.right < first.x
    return beside or first.bottom < second.y or second.bottom < first.y


@given(NODES, st.sampled_from([diagram.wide, diagram.stacked]))
def test_boxes_lie_within_the_drawing_and_apart(nodes: list[Node], layout: object) -> None:
    assert callable(layout)
    drawn: Layout = layout(nodes)
    boxes = [drawn.client, drawn.director, *(one.box for one in drawn.placed)]
    assert all(box.x >= 0 and box.right <= drawn.width and box.bottom <= drawn.height for box in boxes)
    assert all(apart(first, second) for number, first in enumerate(boxes) for second in boxes[:number])
    assert [one.node for one in drawn.placed] == nodes


@given(NODES)
def test_grouping_leaves_out_no_service_and_loses_no_traffic(nodes: list[Node]) -> None:
    drawn = diagram.grouped(nodes)
    assert sorted(key for node in drawn for key in node.keys) == sorted(node.keys[0] for node in nodes)
    assert sum(node.weight for node in drawn) == sum(node.weight for node in nodes)
    states = [node.state for node in drawn]
    assert states == sorted(states, key=lambda state: STATE_ORDER[State(state)])
    if len(nodes) > diagram.MOST_SINGLE:
        assert len(drawn) <= diagram.MOST_SINGLE
    opened = diagram.grouped(nodes, [str(state) for state in State])
    assert len(opened) == len(nodes)


@pytest.fixture
def reader(client: Client, db: None) -> Client:
    client.force_login(factories.outsider())
    return client


def _many(number: int) -> VServer:
    services = [factories.service(factories.server(one, address=f"10.77.1.{one + 1}")) for one in range(number)]
    return factories.vserver(*services)


def _drawing(client: Client, vserver: VServer, query: str = "") -> str:
    answer = client.get(reverse("triangle", args=[vserver.pk]) + query)
    assert answer.status_code == 200
    return answer.content.decode()


def test_the_triangle_shows_each_service_with_its_state_and_rates(reader: Client) -> None:
    vserver = _many(2)
    director()
    rates = {"packets_per_second": 1234.5, "bits_per_second": 2e6}
    payload = {
        "vservers": {str(vserver.pk): rates},
        "services": {str(pk): rates for pk in Service.objects.values_list("pk", flat=True)},
    }
    DirectorCounters.objects.create(director="director1", taken_at=timezone.now(), payload=payload)
    html = _drawing(reader, vserver)
    for service in Service.objects.all():
        assert html.count(f'href="/services/{service.pk}/"') == 2  # both layouts
        assert html.count(f'data-key="{service.pk}"') >= 2
        assert mac_of(service.server) in html
    assert html.count(">1.23 k</tspan>") == 6
    assert "2.00 Mbit" in html
    assert 'class="mark state state-unknown"' in html
    assert "UNKNOWN<tspan" in html


def test_many_services_are_one_box_that_can_be_opened(reader: Client) -> None:
    vserver = _many(30)
    html = _drawing(reader, vserver)
    assert html.count("30 services<title>") == 2
    assert "data-sum=" in html
    keys = {str(pk) for pk in Service.objects.values_list("pk", flat=True)}
    assert set(html.split('data-sum="')[1].split('"')[0].split()) == keys
    opened = _drawing(reader, vserver, "?show=UNKNOWN")
    assert opened.count('<a href="/services/') >= 60
    assert "Group services" in opened


def test_a_virtual_server_without_services_is_drawn_and_a_missing_one_is_not(reader: Client) -> None:
    html = _drawing(reader, factories.vserver())
    assert "clients get no answer" in html
    for name in ("triangle", "packet-path"):
        assert reader.get(reverse(name, args=[999])).status_code == 404


def _path(reader: Client, vserver: VServer, /, **values: str) -> tuple[int, str]:
    answer = reader.get(reverse("packet-path", args=[vserver.pk]), values)
    return answer.status_code, answer.content.decode()


def test_the_path_is_filled_from_the_running_configuration(reader: Client) -> None:
    vserver = _many(2)
    director()
    service = Service.objects.latest("pk")
    status, html = _path(reader, vserver, service=str(service.pk))
    assert status == 200
    assert f"<mark><code>{OUT_MAC}</code></mark>" in html
    assert f"<mark><code>{mac_of(service.server)}</code></mark>" in html
    assert OWN_MAC in html
    assert "3. Server1 → client" in html
    assert "webui.watch_vserver is missing" in html


def test_the_path_of_a_client_leads_to_the_server_that_is_computed(reader: Client) -> None:
    vserver = _many(3)
    Service.objects.update(health_monitor=False)
    director()
    from dataplane.explain_query import parse_query  # noqa: PLC0415 - one test's

    for host in range(1, 6):
        client = f"192.0.2.{host}"
        found = explained.explain(parse_query(client, vserver.address), explained.directors()[0])
        assert found.service is not None
        status, html = _path(reader, vserver, client=client)
        assert status == 200
        assert f"<mark><code>{found.new_destination_mac}</code></mark>" in html
        assert "the router&#x27;s" in html
    assert "the client&#x27;s" in _path(reader, vserver, client="198.51.100.9")[1]
    status, html = _path(reader, vserver, client="nobody")
    assert (status, "must be an IPv4 or IPv6 address" in html) == (422, True)


def test_without_a_director_the_path_says_what_is_not_known(reader: Client) -> None:
    status, html = _path(reader, _many(1))
    assert (status, "No director has reported yet" in html, "not known" in html) == (200, True, True)


def test_frames_are_wished_for_by_who_may_watch_and_for_a_while(client: Client, db: None) -> None:
    vserver = _many(1)
    user = factories.outsider()
    user.user_permissions.set(Permission.objects.filter(codename="watch_vserver"))
    client.force_login(user)
    address = reverse("watch-flows", args=[vserver.pk])
    assert client.post(address).status_code == 204
    assert FlowWatch.objects.get().frames_until is None
    assert client.post(address, {"frames": "1"}).status_code == 204
    wish = FlowWatch.objects.get()
    assert wish.frames_until == wish.until
    assert wish.until - timezone.now() <= timedelta(seconds=flow_watch.WATCH_SECONDS)
    before = wish.frames_until
    flow_watch.renew(factories.actor(user), vserver)
    assert FlowWatch.objects.get().frames_until == before
