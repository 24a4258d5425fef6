"""Probe addresses and health rows follow the bindings."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone
from hypothesis import HealthCheck, given, strategies
from hypothesis import settings as property_settings

from tests import factories
from tests.examples import examples
from tests.factories import SYSTEM
from webui.actions import checks, monitors, servers, services, vservers
from webui.choices import State
from webui.models import HealthState, HealthTransition, ProbeTarget, VServer

pytestmark = pytest.mark.django_db


def targets() -> dict[tuple[str, str], str]:
    return {(one.vip, one.server.name): one.address for one in ProbeTarget.objects.select_related("server")}


def test_each_vip_on_each_server_has_the_lowest_free_probe_address() -> None:
    first, second = factories.service(factories.server(1)), factories.service(factories.server(2))
    factories.vserver(first, second)
    assert targets() == {("10.77.0.10", "Server1"): "198.18.0.1", ("10.77.0.10", "Server2"): "198.18.0.2"}


def test_an_address_that_became_free_is_used_again_and_the_others_stay() -> None:
    first, second = factories.service(factories.server(1)), factories.service(factories.server(2))
    vserver = factories.vserver(first, second)
    kept = ProbeTarget.objects.get(server=second.server).pk
    vservers.unbind_service(SYSTEM, vserver, first)
    assert targets() == {("10.77.0.10", "Server2"): "198.18.0.2"}
    factories.vserver(second, name="v2", address="10.77.0.9")
    assert targets() == {("10.77.0.10", "Server2"): "198.18.0.2", ("10.77.0.9", "Server2"): "198.18.0.1"}
    assert ProbeTarget.objects.filter(pk=kept).exists()


def test_two_vservers_of_one_vip_share_the_probe_address() -> None:
    server = factories.server()
    factories.vserver(factories.service(server, name="a", port=80), name="a", port=80)
    factories.vserver(factories.service(server, name="b", port=81), name="b", port=81)
    assert len(targets()) == 1
    assert HealthState.objects.count() == 2


def test_ipv6_vips_take_probe_addresses_of_their_own_network() -> None:
    factories.vserver(factories.service(), address="fd00:77::10")
    assert targets() == {("fd00:77::10", "Server1"): "2001:2:0:1::1"}


def test_a_full_probe_network_is_told_and_nothing_is_bound(settings: Any) -> None:
    settings.PROBE_NETWORK = ip_network("198.18.0.0/30")
    vserver = factories.vserver(*(factories.service(factories.server(number)) for number in (1, 2)))
    assert sorted(targets().values()) == ["198.18.0.1", "198.18.0.2"]
    third = factories.service(factories.server(3))
    with pytest.raises(ValidationError, match=r"198\.18\.0\.0/30 has no free address left"):
        vservers.bind_service(SYSTEM, vserver, third)
    assert vserver.service_bindings.count() == 2


def test_after_a_change_of_the_probe_network_addresses_are_given_anew(settings: Any) -> None:
    factories.vserver(factories.service())
    settings.PROBE_NETWORK = ip_network("203.0.113.0/24")
    checks.sync_checks()
    assert list(targets().values()) == ["203.0.113.1"]


def test_there_is_a_state_for_each_target_service_and_bound_monitor() -> None:
    service = factories.service()
    factories.vserver(service)
    assert list(HealthState.objects.values_list("monitor__name", "state")) == [("ping-default", State.UNKNOWN)]
    factories.monitor("a")
    factories.monitor("b")
    services.bind_monitor(SYSTEM, service, "a")
    services.bind_monitor(SYSTEM, service, "b")
    assert set(HealthState.objects.values_list("monitor__name", flat=True)) == {"a", "b"}
    services.unbind_monitor(SYSTEM, service, "a")
    assert list(HealthState.objects.values_list("monitor__name", flat=True)) == ["b"]


def test_states_still_wanted_keep_what_they_know() -> None:
    first, second = factories.service(factories.server(1)), factories.service(factories.server(2))
    vserver = factories.vserver(first)
    HealthState.objects.update(state=State.UP, recent="PPP", probes=3)
    vservers.bind_service(SYSTEM, vserver, second)
    assert HealthState.objects.get(service=first).recent == "PPP"
    assert HealthState.objects.get(service=second).state == State.UNKNOWN


def test_deleting_a_vserver_or_service_takes_its_checks_along() -> None:
    service = factories.service()
    vserver = factories.vserver(service)
    vservers.delete(SYSTEM, vserver)
    assert (HealthState.objects.count(), ProbeTarget.objects.count()) == (0, 0)
    factories.vserver(service)
    services.delete(SYSTEM, service)
    assert (HealthState.objects.count(), ProbeTarget.objects.count()) == (0, 0)


def all_up() -> None:
    HealthState.objects.update(state=State.UP, recent="PPP", checked_at=timezone.now(), response="fine", edition=7)


def test_a_new_address_of_a_server_makes_its_states_unknown_and_history_says_why() -> None:
    first, second = factories.service(factories.server(1)), factories.service(factories.server(2))
    factories.vserver(first, second)
    all_up()
    servers.update(SYSTEM, first.server, {"address": "10.77.0.21"})
    forgotten, kept = HealthState.objects.get(service=first), HealthState.objects.get(service=second)
    assert (forgotten.state, forgotten.recent, forgotten.checked_at) == (State.UNKNOWN, "", None)
    assert forgotten.edition == 8  # figures in Redis, and a check under way, count no more
    assert (kept.state, kept.recent, kept.edition) == (State.UP, "PPP", 7)
    transition = HealthTransition.objects.get()
    assert (transition.service, transition.old, transition.new) == (first, State.UP, State.UNKNOWN)
    assert "from 10.77.0.11 to 10.77.0.21" in transition.reason


def test_other_changes_of_a_server_leave_its_states() -> None:
    service = factories.service()
    factories.vserver(service)
    all_up()
    servers.update(SYSTEM, service.server, {"comment": "x"})
    assert HealthState.objects.get().state == State.UP


def test_a_new_vip_is_checked_from_the_start() -> None:
    vserver = factories.vserver(factories.service())
    all_up()
    vservers.update(SYSTEM, vserver, {"address": "10.77.0.9"})
    state = HealthState.objects.get()
    assert (state.state, state.target.vip, state.probes) == (State.UNKNOWN, "10.77.0.9", 0)
    assert (state.checked_at, state.edition == 7) == (None, False)


@pytest.mark.parametrize(
    ("values", "edition", "recent"),
    [({"interval": 9}, 7, "PPP"), ({"dest_port": 81}, 8, ""), ({"name": "new"}, 7, "PPP")],
)
def test_results_count_on_unless_another_question_is_asked(values: dict[str, Any], edition: int, recent: str) -> None:
    service, monitor = factories.service(), factories.monitor()
    services.bind_monitor(SYSTEM, service, monitor)
    factories.vserver(service)
    all_up()
    monitors.update(SYSTEM, monitor, values)
    state = HealthState.objects.get()
    assert (state.edition, state.recent, state.state) == (edition, recent, State.UP)


@pytest.mark.parametrize("size", [1, 12])
def test_the_number_of_queries_does_not_grow_with_the_configuration(size: int, django_assert_num_queries: Any) -> None:
    bound = [factories.service(factories.server(number)) for number in range(1, size + 1)]
    factories.vserver(*bound)
    with django_assert_num_queries(5):  # nothing to do: vservers, bindings, targets, monitors, states
        checks.sync_checks()
    ProbeTarget.objects.all().delete()
    with django_assert_num_queries(7):  # as above, and both kinds inserted
        checks.sync_checks()
    assert HealthState.objects.count() == size
    VServer.objects.all().delete()
    with django_assert_num_queries(9):  # both kinds looked up and deleted
        checks.sync_checks()
    assert not ProbeTarget.objects.exists()


@property_settings(
    max_examples=examples(20), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=strategies.lists(strategies.tuples(strategies.integers(0, 2), strategies.integers(0, 3)), max_size=14))
def test_after_any_bindings_and_unbindings_the_rows_are_what_the_bindings_ask_for(
    django_db_blocker: Any, steps: list[tuple[int, int]]
) -> None:
    from django.db import transaction  # noqa: PLC0415 - after django.setup()

    with transaction.atomic():
        bound = [factories.service(factories.server(number)) for number in range(1, 5)]
        vips = ["10.77.0.101", "10.77.0.102", "fd00:77::103"]
        made = [factories.vserver(name=f"v{number}", address=vip) for number, vip in enumerate(vips)]
        wanted: dict[tuple[str, str], str] = {}
        for vserver, service in ((made[v], bound[s]) for v, s in steps):
            pair = (vserver.address, service.server.name)
            if pair in wanted:
                vservers.unbind_service(SYSTEM, vserver, service)
                del wanted[pair]
            else:
                vservers.bind_service(SYSTEM, vserver, service)
                wanted[pair] = targets()[pair]
            assert targets() == wanted  # also: none that stays moves
            assert len(set(wanted.values())) == len(wanted)
            assert HealthState.objects.count() == len(wanted)
        transaction.set_rollback(True)
