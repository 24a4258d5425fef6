"""Taking servers and services out of service slowly: what is stored, what it means at each moment, what pages say."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.test import Client
from django.utils import timezone

from monitors import store
from tests import factories
from tests.factories import SYSTEM
from webui import queries
from webui.actions import servers, services
from webui.actions.base import PermissionRefused
from webui.choices import AuditVerb, State
from webui.effective import Verdict, departure_of, takes_clients, verdict_of, vserver_state
from webui.models import AuditEntry, DirectorCounters, HealthState, Installation, Server, Service, ServiceMonitorBinding
from webui.models.health import SHARDS

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def a_service(server: dict[str, Any] | None = None, **values: Any) -> Service:
    """A service that is in no database."""
    return Service(name="s", server=Server(name="S", address="10.77.0.11", **(server or {})), **values)


def state_at(service: Service, now: datetime, *, found: str = State.UP) -> Verdict:
    monitors = [ServiceMonitorBinding(service=service, monitor=factories_monitor(), weight=1)]
    return verdict_of(service, monitors, {7: HealthState(state=found, response="no answer")}, now)


def factories_monitor() -> Any:
    from webui.models import Monitor  # noqa: PLC0415 - a row of no database

    return Monitor(pk=7, name="ping", monitor_type="PING")


@pytest.mark.parametrize(
    ("service", "server", "expected"),
    [
        ({}, {}, None),
        ({"state": "DISABLED"}, {}, "over"),
        ({}, {"state": "DISABLED"}, "over"),
        ({"state": "DISABLED", "out_of_service_at": NOON + MINUTE}, {}, NOON + MINUTE),
        ({"state": "DISABLED", "graceful": True}, {}, "flows"),
        ({"state": "DISABLED", "graceful": True, "out_of_service_at": NOON + MINUTE}, {}, NOON + MINUTE),
        (
            {"state": "DISABLED", "graceful": True},
            {"state": "DISABLED", "out_of_service_at": NOON + MINUTE},
            NOON + MINUTE,
        ),
        ({"state": "DISABLED", "out_of_service_at": NOON + 2 * MINUTE}, {"state": "DISABLED"}, "over"),
        (
            {"state": "DISABLED", "out_of_service_at": NOON + 2 * MINUTE},
            {"state": "DISABLED", "out_of_service_at": NOON + MINUTE},
            NOON + MINUTE,
        ),
    ],
)
def test_a_service_leaves_when_it_or_its_server_does_whichever_is_first(
    service: dict[str, Any], server: dict[str, Any], expected: Any
) -> None:
    found = departure_of(a_service(server, **service))
    if expected is None:
        assert found is None
        return
    assert found is not None
    assert found.over(NOON) is (expected == "over")
    if expected != "over":
        assert found.at == (None if expected == "flows" else expected)


def test_the_state_follows_from_the_row_and_the_clock_alone() -> None:
    service = a_service(state="DISABLED", out_of_service_at=NOON)
    before = state_at(service, NOON - timedelta(seconds=1))
    assert (before.state, before.until) == (State.GOING_OUT, NOON)
    assert before.reason == "it is disabled; out of service at 2026-01-01 12:00:00 UTC"
    assert state_at(service, NOON).state == State.OUT_OF_SERVICE
    assert state_at(service, NOON + MINUTE).state == State.OUT_OF_SERVICE


def test_a_service_whose_checks_fail_while_it_leaves_is_down_and_serves_nobody() -> None:
    service = a_service(state="DISABLED", out_of_service_at=NOON)
    found = state_at(service, NOON - MINUTE, found=State.DOWN)
    assert found.state == State.DOWN_GOING_OUT
    assert found.reason.startswith("ping: no answer; it is disabled")
    assert not takes_clients(found, keeps_no_flows=True)


def by_monitors(states: dict[int, tuple[str, int]], threshold: int = 0) -> Verdict:
    """States and weights of monitors by their number."""
    from webui.models import Monitor  # noqa: PLC0415 - rows of no database

    bound = [
        ServiceMonitorBinding(service=a_service(), monitor=Monitor(pk=pk, name=f"m{pk}"), weight=weight)
        for pk, (_state, weight) in states.items()
    ]
    health = {pk: HealthState(state=state, response="503") for pk, (state, _weight) in states.items()}
    return verdict_of(a_service(mon_threshold=threshold), bound, health, NOON)


def test_a_server_that_says_it_is_under_maintenance_takes_no_new_clients_and_keeps_its_flows() -> None:
    going, up, down = State.GOING_OUT, State.UP, State.DOWN
    found = by_monitors({1: (up, 1), 2: (going, 1)})
    assert (found.state, found.reason) == (State.GOING_OUT, "m2: 503")
    for sessionless in (True, False):
        assert not takes_clients(found, keeps_no_flows=sessionless)
    assert by_monitors({1: (down, 1), 2: (going, 1)}).state == State.DOWN
    assert by_monitors({1: (up, 3), 2: (going, 1)}, threshold=3).state == State.GOING_OUT
    assert by_monitors({1: (down, 3), 2: (going, 1)}, threshold=3).state == State.DOWN
    assert by_monitors({1: (down, 3), 2: (going, 3)}, threshold=3).state == State.GOING_OUT


@pytest.mark.parametrize(
    ("verdict", "sessionless", "flows"),
    [
        (Verdict(State.UP, ""), True, True),
        (Verdict(State.GOING_OUT, "", NOON), True, False),
        (Verdict(State.GOING_OUT, ""), False, False),
        (Verdict(State.OUT_OF_SERVICE, ""), False, False),
        (Verdict(State.UNKNOWN, ""), False, False),
    ],
)
def test_only_a_sessionless_vserver_keeps_a_leaving_service_in_its_ring_and_only_for_a_delay(
    verdict: Verdict, sessionless: bool, flows: bool
) -> None:
    assert takes_clients(verdict, keeps_no_flows=True) is sessionless
    assert takes_clients(verdict, keeps_no_flows=False) is flows


def test_a_vserver_whose_only_service_leaves_is_up_only_while_it_takes_clients() -> None:
    going = [Verdict(State.GOING_OUT, "", NOON), Verdict(State.DOWN, "")]
    assert vserver_state(enabled=True, services=going, keeps_no_flows=True) == State.UP
    assert vserver_state(enabled=True, services=going, keeps_no_flows=False) == State.DOWN
    assert vserver_state(enabled=False, services=going, keeps_no_flows=True) == State.OUT_OF_SERVICE


@pytest.fixture
def service() -> Service:
    bound = factories.service()
    factories.vserver(bound)
    HealthState.objects.update(state=State.UP, response="echo")
    return bound


@pytest.mark.django_db
@pytest.mark.parametrize("delay", [90, "90", " 90 "])
def test_disabling_with_a_delay_stores_the_moment_and_tells_the_audit(service: Service, delay: Any) -> None:
    before = timezone.now()
    row = services.disable(SYSTEM, service, delay)
    assert before + timedelta(seconds=90) <= row.out_of_service_at <= timezone.now() + timedelta(seconds=90)  # type: ignore[operator]  # compared with a moment, so it is one
    entry = AuditEntry.objects.first()
    assert entry is not None
    assert (entry.verb, entry.before, entry.revision) == (
        AuditVerb.DISABLE,
        {"state": "ENABLED", "out_of_service_at": None},
        Installation.objects.get().revision,
    )
    assert entry.after == {"state": "DISABLED", "out_of_service_at": f"{row.out_of_service_at:%Y-%m-%d %H:%M:%S} UTC"}


@pytest.mark.django_db
def test_enabling_ends_the_delay(service: Service) -> None:
    row = services.enable(SYSTEM, services.disable(SYSTEM, service, 90, graceful="YES"))
    row.refresh_from_db()
    assert (row.state, row.out_of_service_at, row.graceful) == ("ENABLED", None, False)


@pytest.mark.django_db
def test_enabling_by_editing_ends_the_delay_too_and_other_edits_do_not(service: Service) -> None:
    row = services.disable(SYSTEM, service, 90)
    row = services.update(SYSTEM, row, {"comment": "on its way out"})
    assert row.out_of_service_at is not None
    row = services.update(SYSTEM, row, {"state": "ENABLED"})
    row.refresh_from_db()
    assert row.out_of_service_at is None


@pytest.mark.django_db
def test_a_delay_can_be_changed_and_cut_short(service: Service) -> None:
    first = services.disable(SYSTEM, service, 90).out_of_service_at
    second = services.disable(SYSTEM, service, 10).out_of_service_at
    assert first is not None
    assert second is not None
    assert second < first
    assert services.disable(SYSTEM, service).out_of_service_at is None
    assert queries.overview()["services"][0]["state"] == State.OUT_OF_SERVICE


@pytest.mark.django_db
@pytest.mark.parametrize("delay", ["soon", -1, 1.5, True, 31_536_001, "9" * 40, "²"])
def test_delays_that_are_no_number_of_seconds_are_refused(service: Service, delay: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        services.disable(SYSTEM, service, delay)
    assert list(caught.value.message_dict) == ["delay"]
    assert str(delay) in caught.value.message_dict["delay"][0]
    service.refresh_from_db()
    assert service.state == "ENABLED"


@pytest.mark.django_db
@pytest.mark.parametrize("kind", ["service", "server"])
def test_graceful_without_a_delay_is_refused_where_no_flow_is_kept(service: Service, kind: str) -> None:
    actions: Any = services if kind == "service" else servers
    with pytest.raises(ValidationError) as caught:
        actions.disable(SYSTEM, service if kind == "service" else service.server, graceful=True)
    assert "“vserver_DSR” is sessionless" in caught.value.message_dict["graceful"][0]
    assert Service.objects.get().state == Server.objects.get().state == "ENABLED"


@pytest.mark.django_db
def test_graceful_that_is_no_switch_is_refused(service: Service) -> None:
    with pytest.raises(ValidationError, match="neither YES nor NO"):
        services.disable(SYSTEM, service, 5, graceful="gently")


@pytest.mark.django_db
def test_a_service_of_no_vserver_has_no_flows_to_wait_for() -> None:
    row = services.disable(SYSTEM, factories.service(), graceful=True)
    assert (row.state, row.graceful) == ("DISABLED", False)


@pytest.mark.django_db
def test_nobody_takes_a_service_out_without_permission(service: Service) -> None:
    with pytest.raises(PermissionRefused):
        services.disable(factories.actor(factories.outsider()), service, 90)


@pytest.mark.django_db
def test_a_leaving_server_takes_its_services_along(service: Service) -> None:
    server = servers.disable(SYSTEM, service.server, 90)
    seen = queries.overview()
    assert seen["services"][0]["state"] == State.GOING_OUT
    assert seen["services"][0]["leaves_at"] == server.out_of_service_at.isoformat()  # type: ignore[union-attr]  # it leaves
    assert seen["servers"][0]["state_reason"].startswith("its services go out of service at ")
    assert (seen["vservers"][0]["state"], seen["vservers"][0]["state_reason"]) == (
        State.UP,
        "0 of 1 services UP, 1 going out of service",
    )
    assert [row["what"] for row in seen["problems"]] == ["director"]  # none reports in this test


@pytest.mark.django_db
def test_a_leaving_service_that_fails_is_a_problem(service: Service) -> None:
    services.disable(SYSTEM, service, 90)
    HealthState.objects.update(state=State.DOWN, response="no answer")
    found = {row["what"]: row["severity"] for row in queries.overview()["problems"]}
    assert found[f"service {service.name}"] == State.DOWN_GOING_OUT
    assert found["virtual server vserver_DSR"] == State.DOWN


@pytest.mark.django_db
@pytest.mark.parametrize(("delay", "checked"), [(0, False), (90, True)])
def test_a_service_is_checked_until_it_is_out(service: Service, delay: int, checked: bool) -> None:
    services.disable(SYSTEM, service, delay)
    service.refresh_from_db()
    found = store.load(range(SHARDS), timezone.now())
    assert bool(found) is checked
    assert all(plan.ends == service.out_of_service_at for plan, _known in found)
    assert store.load(range(SHARDS), timezone.now() + timedelta(seconds=91)) == []


def count_flows(service: Service, number: int) -> None:
    DirectorCounters.objects.update_or_create(
        director="director1",
        defaults={"taken_at": timezone.now(), "payload": {"services": {str(service.pk): {"flows": number}}}},
    )


@pytest.mark.django_db
def test_a_graceful_service_is_out_when_its_last_flow_has_ended() -> None:
    service = factories.service()
    factories.vserver(service, sessionless="DISABLED")
    HealthState.objects.update(state=State.UP)
    row = services.disable(SYSTEM, service, graceful=True)
    assert (row.out_of_service_at, row.graceful) == (None, True)
    for flows, state in ((None, State.GOING_OUT), (3, State.GOING_OUT), (0, State.OUT_OF_SERVICE)):
        if flows is not None:
            count_flows(service, flows)
        seen = queries.overview()["services"][0]
        assert (seen["state"], seen["flows"]) == (state, flows)
    assert seen["state_reason"] == "it is disabled; its last flow has ended"


@pytest.mark.django_db
def test_without_graceful_no_flow_at_a_moment_ends_nothing() -> None:
    service = factories.service()
    factories.vserver(service, sessionless="DISABLED")
    HealthState.objects.update(state=State.UP)
    services.disable(SYSTEM, service, 90)
    count_flows(service, 0)
    assert queries.overview()["services"][0]["state"] == State.GOING_OUT
    assert queries.overview()["vservers"][0]["state"] == State.DOWN


@pytest.fixture
def owner(client: Client) -> Client:
    client.force_login(factories.owner())
    return client


@pytest.mark.django_db
def test_the_page_tells_what_happens_and_does_it(service: Service, owner: Client) -> None:
    address = f"/services/{service.pk}/disable-after/"
    page = owner.get(address).content.decode()
    assert "vserver_DSR is sessionless: service_Server1_ANY keeps its clients until the delay is over" in page
    assert "no other service of it is UP" in page
    answer = owner.post(address, {"delay": "90"}, follow=True)
    told = [str(message) for message in answer.context["messages"]]
    assert told[0].startswith("service_Server1_ANY goes out of service at ")
    page = answer.content.decode()
    assert "GOING OUT OF SERVICE" in page
    assert 'data-format="until"' in page
    assert "Change the delay" in page
    assert ">Enable<" in page


@pytest.mark.django_db
def test_the_page_names_who_gets_the_clients(service: Service, owner: Client) -> None:
    other = factories.service(factories.server(2))
    from webui.actions import vservers  # noqa: PLC0415 - only here
    from webui.models import VServer  # noqa: PLC0415 - only here

    vservers.bind_service(SYSTEM, VServer.objects.get(), other)
    HealthState.objects.update(state=State.UP)
    page = owner.get(f"/servers/{service.server_id}/disable-after/").content.decode()
    assert f"go to {other.name}." in page


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("given", "said"), [({"delay": "-1"}, "is less than 0"), ({"graceful": "on"}, "is sessionless")]
)
def test_a_refused_form_keeps_its_input_and_says_why(
    service: Service, owner: Client, given: dict[str, str], said: str
) -> None:
    answer = owner.post(f"/services/{service.pk}/disable-after/", given)
    assert answer.status_code == 422
    assert said in answer.content.decode()
    service.refresh_from_db()
    assert service.state == "ENABLED"


@pytest.mark.django_db
def test_who_may_not_change_is_told_at_once_and_vservers_have_no_such_page(service: Service, client: Client) -> None:
    client.force_login(factories.outsider())
    assert client.get(f"/services/{service.pk}/disable-after/").status_code == 403
    client.force_login(factories.owner())
    assert client.get("/vservers/1/disable-after/").status_code == 404
    assert client.get("/services/999/disable-after/").status_code == 404


@pytest.mark.django_db
@pytest.mark.parametrize("number", [1, 7])
def test_the_page_takes_as_many_queries_for_many_services_as_for_one(
    number: int, owner: Client, django_assert_num_queries: Callable[[int], Any]
) -> None:
    server = factories.server()
    for one in range(number):
        bound = factories.service(server, name=f"s{one}", port=one + 1)
        factories.vserver(bound, name=f"v{one}", port=one + 1)
    with django_assert_num_queries(17):  # session, user, password, second factor, the row, the world, the standing
        owner.get(f"/servers/{server.pk}/disable-after/")
