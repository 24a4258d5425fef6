"""Charts on pages, as tables and as JSON."""

from __future__ import annotations

import gzip
import random
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from tests import factories
from webui.metrics import series, store
from webui.metrics.series import Point
from webui.metrics.spark import path
from webui.models import MetricBlock, Server, Service, Sparklines, VServer
from webui.tables import SPARK
from webui.templatetags.halfpipe import cell

pytestmark = pytest.mark.django_db

EVERYWHERE = ["1h", "24h", "30d"]


@pytest.fixture
def owner(client: Client) -> Client:
    client.force_login(factories.owner())
    return client


def counted(vserver: VServer, director: str = "lb1", packets: int = 1000) -> None:
    """Ten seconds, half a minute ago."""
    at = int(timezone.now().timestamp() - 30) // 10 * 10
    point = Point(10_000, packets, packets * 100, 20, 50_000, 10_000, 300, 90_000)
    kinds = {"vservers": {str(vserver.pk): point}, "reasons": {"FORWARDED": point, "DROP_LOOP": Point(10_000)}}
    for kind, points in kinds.items():
        blocks = series.blocks(points).items()
        store._write(director, store.FINE, at, [((kind, block), found) for block, found in blocks])


@pytest.fixture
def vserver() -> VServer:
    made = factories.vserver(factories.service())
    counted(made)
    return made


@pytest.mark.parametrize("name", EVERYWHERE)
def test_the_json_tells_all_directors_and_each(owner: Client, vserver: VServer, name: str) -> None:
    counted(vserver, "lb2", 500)
    found = owner.get(f"/vservers/{vserver.pk}/statistics.json?range={name}").json()
    assert (found["range"], set(found["directors"])) == (name, {"lb1", "lb2"})
    told = {key: [one for one in values if one is not None] for key, values in found["total"].items()}
    assert told["packets"] == [150.0]
    assert told["bits"] == [120_000.0]
    assert told["dropped"] == [4.0]
    assert told["flows"] == [10.0]
    assert [one for one in found["directors"]["lb2"]["packets"] if one is not None] == [50.0]
    assert len(found["total"]["packets"]) == {"1h": 360, "24h": 288, "30d": 360}[name]


def test_the_json_refuses_with_words(owner: Client, vserver: VServer) -> None:
    answer = owner.get(f"/vservers/{vserver.pk}/statistics.json?range=2h")
    assert (answer.status_code, answer.json()) == (400, {"error": "range=2h: it is one of 1h, 24h, 30d."})
    assert owner.get("/vservers/999/statistics.json").json() == {"error": "There is no virtual server with number 999."}
    server = Server.objects.get()
    assert owner.get(f"/servers/{server.pk}/statistics.json").status_code == 404
    assert owner.get("/vservers/999/statistics/").status_code == 404


def test_charts_ask_for_a_login(client: Client, vserver: VServer) -> None:
    for address in (
        f"/vservers/{vserver.pk}/statistics/",
        f"/vservers/{vserver.pk}/statistics.json",
        "/statistics/",
        "/statistics.json",
    ):
        assert client.get(address).status_code == 302


def test_the_page_of_a_virtual_server_has_charts_in_words_too(owner: Client, vserver: VServer) -> None:
    page = owner.get(f"/vservers/{vserver.pk}/statistics/").content.decode()
    assert page.count("<svg viewBox") == 4
    assert 'aria-label="Packets/s, 1 hour: now 100, on average 100, at most 100"' in page
    assert "Flows" in page
    assert 'style="' not in page  # the policy of contents forbids it


def test_a_service_that_nobody_counted_says_so(owner: Client, vserver: VServer) -> None:
    service = Service.objects.get()
    page = owner.get(f"/services/{service.pk}/statistics/").content.decode()
    assert "No director has counted anything in this time." in page
    assert "<svg viewBox" not in page
    assert owner.get(f"/services/{service.pk}/statistics/?range=30d").status_code == 200


def test_a_server_has_the_sum_of_its_services(owner: Client, vserver: VServer) -> None:
    server = Server.objects.get()
    address = f"/servers/{server.pk}/statistics/"
    assert "No director has counted anything" in owner.get(address).content.decode()
    # Far apart, so that they are in different blocks.
    Service.objects.create(pk=1000, name="far", server=server, service_type="TCP", port=80)
    at = int(timezone.now().timestamp() - 30) // 10 * 10
    for key, packets in ((str(Service.objects.get(service_type="ANY").pk), 700), ("1000", 300)):
        ((block, points),) = series.blocks({key: Point(10_000, packets)}).items()
        store._write("lb1", store.FINE, at, [(("services", block), points)])
    assert 'aria-label="Packets/s, 1 hour: now 100, on average 100, at most 100"' in owner.get(address).content.decode()


def test_the_table_has_the_same_figures(owner: Client, vserver: VServer) -> None:
    page = owner.get(f"/vservers/{vserver.pk}/statistics/?range=1h").content.decode()
    assert '<td data-label="Packets/s" class="number">100</td>' in page
    assert '<td data-label="Bits/s" class="number">80.0 kbit</td>' in page


def test_one_director_can_be_chosen_where_there_are_two(owner: Client, vserver: VServer) -> None:
    address = f"/vservers/{vserver.pk}/statistics/"
    assert "All directors" not in owner.get(address).content.decode()
    counted(vserver, "lb2", 500)
    assert "at most 150" in owner.get(address).content.decode()
    page = owner.get(f"{address}?director=lb2").content.decode()
    assert "at most 50" in page
    assert "All directors" in page
    assert "No director has counted" in owner.get(f"{address}?director=<b>").content.decode()


def test_an_unknown_range_on_a_page_is_the_shortest(owner: Client, vserver: VServer) -> None:
    page = owner.get(f"/vservers/{vserver.pk}/statistics/?range=%27").content.decode()
    assert "Packets/s, 1 hour" in page


def test_outcomes_have_charts_of_what_came(owner: Client, vserver: VServer) -> None:
    page = owner.get("/statistics/").content.decode()
    assert "Forwarded to a server" in page
    assert "loop" not in page
    found = owner.get("/statistics.json?range=24h").json()["outcomes"]
    assert set(found) == {"FORWARDED", "DROP_LOOP"}


def test_charts_take_three_queries_at_most(
    owner: Client, vserver: VServer, django_assert_max_num_queries: Callable[[int], Any]
) -> None:
    with django_assert_max_num_queries(9):  # session, user, second factor, password, the row, the standing
        owner.get(f"/vservers/{vserver.pk}/statistics/?range=30d")


def test_the_dashboard_draws_the_last_hour(owner: Client, vserver: VServer) -> None:
    line = "0f" * 15
    Sparklines.objects.create(pk=1, until=timezone.now(), lines={str(vserver.pk): [line, 1234.0]})
    page = owner.get("/").content.decode()
    assert f'<path d="{path(line)}"/>' in page
    assert "packets/s in the last hour: at most 1.23 k" in page


def test_an_old_hour_is_not_shown_as_the_last_one(owner: Client, vserver: VServer) -> None:
    until = timezone.now() - timedelta(minutes=6)
    Sparklines.objects.create(pk=1, until=until, lines={str(vserver.pk): ["f" * 30, 1.0]})
    assert "the last hour is not known" in owner.get("/").content.decode()


def test_a_thousand_sparklines_stay_light() -> None:
    choose = random.Random(1)
    lines = ["".join(choose.choice("0123456789abcdef") for _ in range(30)) for _ in range(1000)]
    cells = "".join(cell({"spark": f"{line} {choose.random() * 900:.3g} k"}, SPARK) for line in lines)
    assert len(gzip.compress(cells.encode(), 6)) < 60_000  # of 300 kB for all of the page, and noise is the worst case


def test_points_of_a_deleted_object_disturb_nobody(owner: Client, vserver: VServer) -> None:
    block = MetricBlock.objects.get(kind="vservers")
    points = series.unpack(bytes(block.data)) | {"63": Point(10_000, 5)}
    MetricBlock.objects.filter(pk=block.pk).update(data=series.pack(points))
    assert owner.get(f"/vservers/{vserver.pk}/statistics/").status_code == 200
