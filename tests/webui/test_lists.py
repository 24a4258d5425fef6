from __future__ import annotations

import csv
import io
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
from django.contrib.auth.models import User
from django.http import QueryDict
from django.test import Client
from django.utils import timezone
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from tests import factories
from webui import listing as listing_module
from webui.actions import eventtargets, servers, services, vservers
from webui.asked import LONGEST_SEARCH, PAGE_SIZE, PAGE_SIZES, Asked, parse
from webui.cells import guarded
from webui.choices import State
from webui.listing import LISTS, choices_of, columns_of, everything, listing
from webui.models import DirectorCounters, HealthState, Server, ServerPath, Service, VServer
from webui.quick import objects
from webui.rows import service_row, vserver_row
from webui.scope import scope_of_services, scope_of_vservers
from webui.world import load_world

pytestmark = pytest.mark.django_db

Queries = Callable[[int], Any]


@pytest.fixture
def owner(client: Client) -> Client:
    client.force_login(factories.owner())
    return client


def _asked(kind: str, text: str) -> Asked:
    return parse(QueryDict(text), choices_of(kind), columns_of(kind))


def _names(kind: str, text: str = "") -> list[str]:
    return [row["name"] for row in listing(kind, _asked(kind, text)).rows]


def _page(answer: Any) -> str:
    return str(answer.content.decode())


def _many(number: int) -> None:
    for one in range(number):
        service = factories.service(factories.server(one))
        factories.vserver(service, name=f"vserver{one}", address=f"10.77.1.{one + 1}")
        ServerPath.objects.create(director="director1", server=service.server, eligible=True)
        eventtargets.create(factories.SYSTEM, {"name": f"t{one}", "target_type": "SYSLOG", "host": "log.example"})


COUNTS = [("servers", 6), ("services", 16), ("vservers", 15), ("monitors", 6), ("eventtargets", 5)]


@pytest.mark.parametrize("number", [1, 7])
@pytest.mark.parametrize(("kind", "expected"), COUNTS)
def test_a_page_takes_as_many_queries_for_many_objects_as_for_one(
    kind: str, expected: int, number: int, django_assert_num_queries: Queries
) -> None:
    _many(number)
    total = LISTS[kind].model._default_manager.count()
    with django_assert_num_queries(expected):
        assert len(listing(kind, Asked()).rows) == total > 0


@pytest.mark.parametrize("number", [1, 7])
@pytest.mark.parametrize(("kind", "sort"), [("services", "packets"), ("vservers", "state"), ("services", "endpoint")])
def test_a_page_in_a_computed_order_does_too(
    kind: str, sort: str, number: int, django_assert_max_num_queries: Queries
) -> None:
    _many(number)
    with django_assert_max_num_queries(16):
        assert len(listing(kind, _asked(kind, f"sort={sort}")).rows) == number


def test_a_search_finds_every_word_in_some_column() -> None:
    for number in (1, 2):
        factories.server(number, comment="rack 7")
    assert _names("servers", "q=server2+10.77") == ["Server2"]
    assert _names("servers", "q=RACK+server1") == ["Server1"]
    assert _names("servers", "q=rack+elsewhere") == []
    assert _names("servers", "q=%25") == [], "a percent sign is a character like any other"


def test_a_service_is_found_by_its_server() -> None:
    for number in (1, 2):
        factories.service(factories.server(number), name=f"web{number}")
    assert _names("services", "q=10.77.0.12") == ["web2"]


SECRET = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="


def test_a_target_is_found_by_its_host_and_not_by_a_key_in_its_address() -> None:
    eventtargets.create(factories.SYSTEM, {"name": "log", "target_type": "SYSLOG", "host": "collector.example"})
    given = {"name": "hook", "target_type": "WEBHOOK"}
    hook = given | {"url": "https://hook.example/?token=s3cret", "signing_secret": SECRET}
    eventtargets.create(factories.SYSTEM, hook)
    assert _names("eventtargets", "q=COLLECTOR") == ["log"]
    assert _names("eventtargets", "q=s3cret") == []


def test_addresses_are_sorted_as_numbers() -> None:
    for number, address in enumerate(("10.77.0.9", "10.77.0.100", "fd77::1", "10.77.0.20")):
        factories.server(number, address=address)
    shown = [row["address"] for row in listing("servers", _asked("servers", "sort=address")).rows]
    assert shown == ["10.77.0.9", "10.77.0.20", "10.77.0.100", "fd77::1"]
    shown = [row["address"] for row in listing("servers", _asked("servers", "sort=-address")).rows]
    assert shown == ["fd77::1", "10.77.0.100", "10.77.0.20", "10.77.0.9"]


@pytest.mark.parametrize("kind", sorted(LISTS))
def test_every_column_sorts_both_ways(kind: str) -> None:
    _many(3)
    for column in columns_of(kind):
        up, down = _names(kind, f"sort={column}"), _names(kind, f"sort=-{column}")
        assert sorted(up) == sorted(down) == sorted(_names(kind))


def test_a_list_is_narrowed_to_a_state_and_a_type() -> None:
    service = factories.service()
    factories.service(service.server, name="web", service_type="TCP", port=80)
    factories.vserver(service)
    HealthState.objects.update(state=State.DOWN)
    assert _names("services", "state=DOWN") == ["service_Server1_ANY"]
    assert _names("services", "type=TCP") == ["web"]
    assert _names("services", "type=TCP&state=DOWN") == []
    servers.disable(factories.SYSTEM, service.server)
    assert _names("servers", "state=DISABLED") == ["Server1"]
    assert sorted(_names("services", "state=OUT+OF+SERVICE")) == ["service_Server1_ANY", "web"]


def test_pages_cut_the_rows_and_one_beyond_the_last_is_the_last() -> None:
    for number in range(60):
        factories.server(number, name=f"s{number:02}")
    pages = [listing("servers", _asked("servers", f"per=25&page={page}")) for page in (1, 2, 3, 999_999_999)]
    assert [row["name"] for row in pages[0].rows + pages[1].rows + pages[2].rows] == [f"s{n:02}" for n in range(60)]
    assert (pages[0].matched, pages[0].pages) == (60, 3)
    last = listing("servers", _asked("servers", "per=25&page=4"))
    assert (last.page, last.rows) == (3, pages[2].rows)


def test_the_rows_of_a_page_are_those_of_the_whole() -> None:
    """Fail-open and backups make services depend on each other; a page must read whatever counts."""
    machines = [factories.server(number) for number in range(1, 6)]
    everything_bound = [factories.service(server) for server in machines]
    backup = factories.vserver(*everything_bound[3:], name="backup", address="10.77.0.30", fail_open=60)
    primary = factories.vserver(*everything_bound[:3], fail_open=50, backup_vserver=backup)
    other = factories.vserver(everything_bound[0], everything_bound[4], name="other", address="10.77.0.40")
    services.bind_monitor(factories.SYSTEM, everything_bound[1], factories.monitor())
    HealthState.objects.update(state=State.UP)
    for failing in ([], [0], [0, 1], [0, 1, 2], [0, 1, 2, 3, 4]):
        rows = HealthState.objects.filter(service__in=[everything_bound[one] for one in failing])
        rows.update(state=State.DOWN, response="no answer")
        whole = load_world()
        for service in everything_bound:
            part = load_world(scope_of_services([service.pk]))
            assert service_row(part, part.services[service.pk]) == service_row(whole, whole.services[service.pk])
        for vserver in (primary, backup, other):
            part = load_world(scope_of_vservers([vserver.pk]))
            assert vserver_row(part, part.vservers[vserver.pk]) == vserver_row(whole, whole.vservers[vserver.pk])


def test_what_is_not_there_is_left_out_and_told(owner: Client) -> None:
    factories.server()
    answer = owner.get("/servers/?sort=nothing&state=SAD&per=7&page=x&q=" + "a" * 200)
    assert answer.status_code == 200
    assert answer.context["asked"].ignored == (
        f"only the first {LONGEST_SEARCH} characters of the search count",
        "“SAD” is no state",
        "it cannot be sorted by “nothing”",
        "7 rows a page cannot be had, only 25, 50, 100, 250",
        "“x” is no number of a page",
    )
    assert "Left out: “SAD” is no state." in _page(answer)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
PARAMETERS = st.sampled_from(["q", "state", "type", "method", "sort", "page", "per", "x"])
LIKELY = st.sampled_from(
    ["UP", "DOWN", "name", "-name", "--name", "-", "endpoint", "-packets", "state", "0", "-1", "1" * 40, "١", "\0", "%"]
)


class QueryStrings(TestCase):
    """Whatever stands in the query string of a list."""

    owner: ClassVar[User]

    @classmethod
    def setUpTestData(cls) -> None:
        """Two of each."""
        _many(2)
        cls.owner = factories.owner()

    @settings(max_examples=150, deadline=None)
    @given(st.sampled_from(sorted(LISTS)), st.lists(st.tuples(PARAMETERS, LIKELY | TEXT), max_size=6))
    def test_a_list_can_always_be_shown(self, kind: str, pairs: list[tuple[str, str]]) -> None:
        """The page and its CSV answer 200, and what was understood is understood again."""
        data = QueryDict(mutable=True)
        for name, value in pairs:
            data.appendlist(name, value)
        self.client.force_login(self.owner)
        for address in (f"/{kind}/", f"/{kind}/export.csv"):
            assert self.client.get(f"{address}?{data.urlencode()}").status_code == 200
        asked = parse(data, choices_of(kind), columns_of(kind))
        again = parse(QueryDict(asked.query().removeprefix("?")), choices_of(kind), columns_of(kind))
        assert (again.ignored, again.query()) == ((), asked.query())
        assert asked.per in PAGE_SIZES
        assert asked.page > 0

    @settings(max_examples=50, deadline=None)
    @given(st.binary(max_size=60))
    def test_so_can_one_with_a_query_string_of_any_bytes(self, data: bytes) -> None:
        """Not even valid percent encoding."""
        self.client.force_login(self.owner)
        assert self.client.get("/services/", QUERY_STRING=data.decode("latin-1")).status_code == 200


def test_the_usual_needs_no_query_string() -> None:
    assert Asked().query() == ""
    assert _asked("services", f"per={PAGE_SIZE}&page=1&state=&q=+").query() == ""
    assert _asked("services", "page=3&sort=-name").at(1) == "?sort=-name"


def test_a_heading_sorts_keeps_the_filter_and_says_so(owner: Client) -> None:
    factories.server()
    page = _page(owner.get("/servers/?q=Server&sort=name&page=1"))
    assert 'aria-sort="ascending"' in page
    assert 'href="?q=Server&amp;sort=-name"' in page


def test_the_links_to_other_pages_keep_what_was_asked(owner: Client) -> None:
    for number in range(30):
        factories.server(number)
    page = _page(owner.get("/servers/?per=25&sort=-name"))
    assert 'href="?sort=-name&amp;per=25&amp;page=2" rel="next"' in page
    assert "1 to 25 of 30 servers" in page
    assert "26 to 30 of 30 servers" in _page(owner.get("/servers/?per=25&page=2"))


def test_an_empty_list_says_what_to_do_and_an_empty_search_how_to_get_out(owner: Client) -> None:
    page = _page(owner.get("/services/"))
    assert "No service yet. Add the server first, then what it offers as a service." in page
    factories.service()
    page = _page(owner.get("/services/?q=nothing"))
    assert "No service matches." in page
    assert '<a class="button" href="/services/">Show all 1</a>' in page


def _csv(answer: Any) -> list[list[str]]:
    text = b"".join(answer.streaming_content).decode()
    return list(csv.reader(io.StringIO(text)))


def test_the_csv_has_every_row_of_the_filtered_list(owner: Client) -> None:
    for number in range(60):
        factories.server(number, name=f"s{number:02}")
    answer = owner.get("/servers/export.csv?q=s&per=25&page=2&sort=-name")
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert answer.headers["Content-Disposition"].startswith('attachment; filename="halfpipe-servers-')
    heading, *rows = _csv(answer)
    assert heading[:3] == ["Name", "Admin state", "Admin state: Reason"]
    assert [row[0] for row in rows] == [f"s{n:02}" for n in reversed(range(60))]
    assert _csv(owner.get("/servers/export.csv?q=s07"))[1][0] == "s07"


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_no_cell_of_the_csv_is_a_formula(text: str) -> None:
    assert guarded(text) == f"'{text}"


def test_numbers_in_the_csv_stay_numbers(owner: Client) -> None:
    assert (guarded(-1.5), guarded(None), guarded("a=b")) == (-1.5, "", "a=b")
    service = factories.service()
    factories.vserver(service)
    HealthState.objects.update(state=State.DOWN, response="=cmd|' /C calc'!A0")
    vservers.disable(factories.SYSTEM, VServer.objects.get())
    for row in _csv(owner.get("/services/export.csv")) + _csv(owner.get("/vservers/export.csv")):
        assert not any(cell.startswith(("=", "+", "@")) for cell in row)


def test_everything_is_more_than_a_page() -> None:
    for number in range(3):
        factories.server(number)
    assert len(everything("servers", _asked("servers", "per=25&page=2"))) == Server.objects.count()


def test_someone_who_may_change_nothing_gets_no_boxes(client: Client) -> None:
    client.force_login(factories.outsider())
    factories.server()
    page = _page(client.get("/servers/"))
    assert "Server1" in page
    assert 'type="checkbox"' not in page
    assert Service.objects.count() == 0


# Values that are worked out for every object, and rows that are made of those of the page alone


@pytest.mark.parametrize("kind", ["services", "vservers"])
def test_what_a_list_is_ordered_by_is_what_its_rows_show(kind: str) -> None:
    _many(4)
    HealthState.objects.filter(service__name__contains="1").update(state=State.DOWN)
    count = {"packets": 5, "packets_per_second": 2.5, "bits_per_second": 1e6, "flows": 3}
    payload = {
        kind: {
            str(pk): count | {"packets": pk}
            for pk in LISTS[kind].model._default_manager.values_list("pk", flat=True)[1:]
        }
    }
    DirectorCounters.objects.create(director="d", taken_at=timezone.now(), payload=payload)
    rows = {int(row["key"]): row for row in LISTS[kind].rows(None, None)}
    columns = ["state", "packets", "packets_per_second", "bits_per_second", "flows"]
    for some in (columns, columns[1:]):
        found = LISTS[kind].values(frozenset(some))
        assert found is not None
        for name in some:
            assert {pk: found[1](pk, name) for pk in rows} == {pk: row[name] for pk, row in rows.items()}
    assert LISTS[kind].values(frozenset({"state", "method"})) is None


def test_traffic_is_ordered_by_what_the_rows_show_though_counters_move_between(monkeypatch: pytest.MonkeyPatch) -> None:
    _many(2)
    first, second = Service.objects.order_by("name").values_list("pk", flat=True)
    before = {"services": {str(first): {"packets": 9}, str(second): {"packets": 1}}}
    DirectorCounters.objects.create(director="d", taken_at=timezone.now(), payload=before)
    scope = scope_of_services

    def meanwhile(pks: Any) -> Any:
        DirectorCounters.objects.update(
            payload={"services": {str(first): {"packets": 10}, str(second): {"packets": 20}}}
        )
        return scope(pks)

    monkeypatch.setattr(listing_module, "scope_of_services", meanwhile)
    assert [row["packets"] for row in listing("services", _asked("services", "sort=-packets")).rows] == [9, 1]


def test_rows_read_quickly_are_what_the_orm_makes(django_assert_num_queries: Queries) -> None:
    _many(3)
    servers_by_key = {row.pk: row for row in Server.objects.all()}
    with django_assert_num_queries(1):
        quick = list(objects(Service.objects.order_by("-pk"), {"server": servers_by_key}))
        assert [row.server.name for row in quick] == [f"Server{n}" for n in (2, 1, 0)]
    assert quick == list(Service.objects.order_by("-pk"))
    fields = Service._meta.concrete_fields
    for one, other in zip(quick, Service.objects.order_by("-pk"), strict=True):
        assert [getattr(one, field.attname) for field in fields] == [getattr(other, field.attname) for field in fields]
        assert (one._state.adding, one._state.db) == (other._state.adding, other._state.db)
    with django_assert_num_queries(1):
        states = list(objects(HealthState.objects.order_by("pk"), joined="target"))
        assert {row.target.vip for row in states} == {f"10.77.1.{n}" for n in (1, 2, 3)}
    assert list(objects(Service.objects.all(), {"server": {}})) == []
    quick[0].comment = "saved"
    quick[0].save()
    assert Service.objects.get(pk=quick[0].pk).comment == "saved"
