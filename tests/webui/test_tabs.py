"""Tabs of an object: links with addresses of their own, each with what belongs on it and no more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from tests import factories
from webui import auditing, histories
from webui.actions import eventtargets, monitors, servers, servicegroups, services, vservers
from webui.choices import State
from webui.models import HealthTransition, Monitor, Server, Service, VServer

pytestmark = pytest.mark.django_db

PARTS = {"": "Overview", "bindings/": "Bindings", "statistics/": "Statistics"} | {
    "history/": "Health history",
    "audit/": "Audit",
}
Queries = Callable[[int], Any]


@pytest.fixture
def owner(client: Client) -> Client:
    client.force_login(factories.owner())
    return client


def _page(answer: Any) -> str:
    return str(answer.content.decode())


def _rows() -> dict[str, Any]:
    service = factories.service()
    vserver = factories.vserver(service)
    monitor = factories.monitor()
    services.bind_monitor(factories.SYSTEM, service, monitor)
    group = servicegroups.create(factories.SYSTEM, {"name": "g", "service_type": "ANY"})
    servicegroups.bind_member(factories.SYSTEM, group, service.server, 443)
    found = {"servers": service.server, "services": service, "vservers": vserver, "monitors": monitor}
    return found | {"servicegroups": group}


def _fall(service: Service, vip: str = "10.77.0.10", monitor: str = "tcp-80", number: int = 1) -> None:
    HealthTransition.objects.bulk_create(
        HealthTransition(
            at=timezone.now(),
            service=service,
            service_name=service.name,
            monitor_name=monitor,
            vip=vip,
            old=State.UP,
            new=State.DOWN,
            reason=f"refused {one}",
        )
        for one in range(number)
    )


@pytest.mark.parametrize("kind", ["servers", "services", "servicegroups", "vservers", "monitors"])
def test_each_part_is_a_link_and_the_one_that_is_shown_says_so(owner: Client, kind: str) -> None:
    pk = _rows()[kind].pk
    for part, label in PARTS.items():
        answer = owner.get(f"/{kind}/{pk}/{part}")
        assert answer.status_code == 200, part
        page = _page(answer)
        assert f'<a href="/{kind}/{pk}/{part}" aria-current="page">{label}</a>' in page
        for other, words in PARTS.items():
            assert other == part or f'<a href="/{kind}/{pk}/{other}">{words}</a>' in page


def test_targets_of_events_have_two_parts(owner: Client) -> None:
    made = eventtargets.create(factories.SYSTEM, {"name": "log", "target_type": "SYSLOG", "host": "log.example"})
    page = _page(owner.get(f"/eventtargets/{made.pk}/audit/"))
    assert "created event target log" in page
    assert "Bindings" not in page
    for part in ("bindings/", "statistics/", "history/"):
        assert owner.get(f"/eventtargets/{made.pk}/{part}").status_code == 404


@pytest.mark.parametrize("part", PARTS)
def test_parts_of_what_is_not_there_are_not_found_and_ask_for_a_login(client: Client, part: str) -> None:
    assert client.get(f"/servers/1/{part}").status_code == 302
    client.force_login(factories.owner())
    for kind in ("servers", "services", "servicegroups", "vservers", "monitors"):
        assert client.get(f"/{kind}/987/{part}").status_code == 404
        assert client.post(f"/{kind}/987/{part}").status_code == 405


def test_the_views_of_a_virtual_server_can_be_reached_from_each_part(owner: Client) -> None:
    pk = _rows()["vservers"].pk
    for part in PARTS:
        page = _page(owner.get(f"/vservers/{pk}/{part}"))
        for name in ("diagram", "path", "flows", "verify"):
            assert f'href="/vservers/{pk}/{name}/"' in page, (part, name)
        assert f'href="/explain/?vserver={pk}"' in page


@pytest.mark.parametrize("number", [1, 7])
@pytest.mark.parametrize(
    ("part", "most"), [("", 22), ("bindings/", 30), ("statistics/", 11), ("history/", 7), ("audit/", 7)]
)
def test_a_part_takes_as_many_queries_for_many_objects_as_for_one(
    owner: Client, part: str, most: int, number: int, django_assert_max_num_queries: Queries
) -> None:
    # Session, user, second factor and what the head of every page tells are four of them.
    rows = _rows()
    for one in range(2, number + 1):
        service = factories.service(factories.server(one))
        vservers.bind_service(factories.SYSTEM, rows["vservers"], service)
        services.bind_monitor(factories.SYSTEM, service, rows["monitors"])
        factories.service(rows["servers"], name=f"more{one}", service_type="TCP", port=one)
        _fall(service, number=3)
    for kind, row in rows.items():
        with django_assert_max_num_queries(most):
            assert owner.get(f"/{kind}/{row.pk}/{part}").status_code == 200


def test_what_changed_is_told_by_field_before_and_after_newest_first(owner: Client) -> None:
    server = factories.server(comment="rack 6")
    servers.update(factories.actor(factories.member()), server, {"comment": "rack 7"})
    services.create(factories.SYSTEM, {"name": "other", "server": server})
    answer = owner.get(f"/servers/{server.pk}/audit/")
    first, last = answer.context["page"].rows
    assert (first.what, first.who, first.where) == ("changed server Server1", "member", "page from 192.0.2.7")
    assert first.fields == [histories.FieldChange("comment", "rack 6", "rack 7")]
    assert last.what == "created server Server1"
    assert histories.FieldChange("address", "–", "10.77.0.11") in last.fields
    assert "other" not in _page(answer)
    assert f"revision {first.revision}" in _page(answer)


def test_refusals_and_bindings_are_told_and_what_was_typed_is_text(owner: Client) -> None:
    service = factories.service()
    vserver = factories.vserver(service)
    reader = Client()
    reader.force_login(factories.outsider())
    reader.post(f"/vservers/{vserver.pk}/disable/")
    told: dict[str, Any] = {"kind": "vserver", "object_id": vserver.pk, "before": {"x": "<b>"}, "after": {"x": "<i>"}}
    auditing.note(factories.SYSTEM, "update", **told)
    page = _page(owner.get(f"/vservers/{vserver.pk}/audit/"))
    assert "was refused vserver vserver_DSR" in page
    assert "the permission webui.enable_vserver is missing" in page
    assert "service_Server1_ANY" in page
    assert "<b>" not in page
    assert "&lt;i&gt;" in page


def test_secrets_are_never_told(owner: Client) -> None:
    given = {"name": "ftp", "monitor_type": "FTP", "user_name": "probe", "password": "very secret"}
    monitor = monitors.create(factories.SYSTEM, given)
    monitors.update(factories.SYSTEM, monitor, {"password": "even more secret"})
    page = _page(owner.get(f"/monitors/{monitor.pk}/audit/"))
    assert "secret" not in page
    assert "password" in page


def test_long_histories_come_in_pages_that_stay_while_new_rows_come(owner: Client) -> None:
    service = factories.service()
    factories.vserver(service)
    _fall(service, number=120)
    address = f"/services/{service.pk}/history/"
    seen: list[str] = []
    answer = owner.get(address)
    while True:
        page = answer.context["page"]
        seen += [row["reason"] for row in page.rows]
        _fall(service)
        if not page.older:
            break
        answer = owner.get(f"{address}?before={page.older}")
        assert not answer.context["page"].first
        assert 'href="?">Newest' in _page(answer)
    assert seen == [f"refused {number}" for number in range(119, -1, -1)]


@pytest.mark.parametrize("before", ["x", "-1", "9" * 30, "٣", "0", ""])
def test_a_place_in_a_history_that_is_none_is_the_newest(owner: Client, before: str) -> None:
    service = factories.service()
    _fall(service)
    for part in ("history", "audit"):
        answer = owner.get(f"/services/{service.pk}/{part}/", {"before": before})
        assert answer.context["page"].first
        assert answer.context["page"].rows


def test_each_kind_has_the_changes_of_state_that_concern_it(owner: Client) -> None:
    rows = _rows()
    other = factories.service(factories.server(2))
    _fall(rows["services"])
    _fall(rows["services"], vip="10.77.0.99", monitor="other")
    _fall(other, monitor="other")
    _fall(rows["servicegroups"].members.get().service, vip="10.77.0.98", monitor="other", number=3)

    def number(kind: str) -> int:
        return len(owner.get(f"/{kind}/{rows[kind].pk}/history/").context["page"].rows)

    found = {kind: number(kind) for kind in rows}
    assert found == {"servers": 5, "services": 2, "vservers": 1, "monitors": 1, "servicegroups": 3}


def test_statistics_of_a_monitor_tell_how_its_checks_answer(owner: Client) -> None:
    rows = _rows()
    rows["monitors"].health_states.update(state=State.DOWN, response_time=0.0123)
    _fall(rows["services"], number=2)
    (row,) = owner.get(f"/monitors/{rows['monitors'].pk}/statistics/").context["table"].rows
    assert (row["service"], row["vip"], row["state"]) == (rows["services"].name, "10.77.0.10", "DOWN")
    assert (row["response_time"], row["average_time"]) == ("12.3 ms", "–")
    assert (row["downs_1h"], row["downs_30d"]) == (2, 2)


def test_a_built_in_monitor_and_people_without_rights_get_no_buttons_on_any_part(client: Client) -> None:
    rows = _rows()
    client.force_login(factories.outsider())
    built_in = Monitor.objects.get(name="ping-default")
    for part in PARTS:
        for address in (f"/vservers/{rows['vservers'].pk}/{part}", f"/monitors/{built_in.pk}/{part}"):
            page = _page(client.get(address))
            for word in (">Edit", ">Unbind", ">Set weight", ">Bind ", "Probe now"):
                assert word not in page, (address, word)


def test_models_of_the_kinds_are_those_of_the_audit() -> None:
    names = {"server": Server, "service": Service, "vserver": VServer, "monitor": Monitor}
    rows = _rows()
    for name, model in names.items():
        assert histories.entries(model, rows[f"{name}s"].pk, 0).rows
