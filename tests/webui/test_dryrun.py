"""A preview tells what really happens, and changes nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.core.exceptions import ObjectDoesNotExist, ValidationError
from django.db import connection, transaction
from django.utils import timezone
from hypothesis import given, settings
from hypothesis import strategies as st

from dataplane import compile as compile_module
from dataplane import desired, snapshot
from dataplane.compile import compile_tables
from dataplane.plan import plan
from dataplane.reconcile import Reconciler
from dataplane.steps import Put, Step, Table
from dataplane.tables import RING_SLOTS, Tables
from tests import factories
from tests.examples import examples
from tests.fakes import FakeLinks, FakeMaps, FakeNeighbours
from tests.webui import reports
from webui import dryrun, explained
from webui.actions import installation, monitors, servers, services, vservers
from webui.actions.base import Actor
from webui.actions.errors import ConflictError, NotFoundError, PermissionRefused
from webui.choices import State
from webui.models import (
    AuditEntry,
    HealthState,
    Monitor,
    Server,
    ServerPath,
    Service,
    VServer,
)

SYSTEM = factories.SYSTEM
REFUSALS = (ValidationError, PermissionRefused, ConflictError, NotFoundError, ObjectDoesNotExist)


def content() -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table, the counters of row numbers included."""
    found = {}
    with connection.cursor() as cursor:
        names = connection.introspection.table_names(cursor)
        names += ["sqlite_sequence"] if connection.vendor == "sqlite" else []
        for name in names:
            cursor.execute(f'SELECT * FROM "{name}"')  # noqa: S608 - the names are the database's own
            found[name] = sorted(cursor.fetchall(), key=repr)
    return found


def checked() -> None:
    """Every check has succeeded."""
    HealthState.objects.update(state=State.UP)


@pytest.fixture
def bound(db: None) -> list[Service]:
    return [factories.service(factories.server(number)) for number in (1, 2, 3)]


@pytest.fixture
def web(bound: list[Service]) -> VServer:
    found = factories.vserver(*bound, name="web")
    checked()
    reports.director()
    return found


# What a preview tells ------------------------------------------------------------------------------------------------


def test_a_weight_moves_the_clients_that_the_ring_says(web: VServer, bound: list[Service]) -> None:
    found = dryrun.preview(SYSTEM, lambda who: vservers.set_weight(who, web, bound[0], 4))
    (move,) = found.vservers
    assert move.moved is not None
    assert 30 < move.moved < 40
    shares = {one.name: (round(one.before), round(one.after)) for one in move.shares}
    assert shares == {bound[0].name: (33, 67), bound[1].name: (33, 17), bound[2].name: (33, 17)}
    (director,) = found.directors
    assert director.writes == 1
    assert director.lines[0].startswith("~ ring 1: 3 services 10921/2730/2730 slots")
    assert found.consequences[0] == f"web: {dryrun.percent(move.moved)} of the clients will move."
    assert [(one.kind, one.what, one.fields[0].before, one.fields[0].after) for one in found.changes] == [
        ("binding of a service", "changed", "1", "4")
    ]


def test_unbinding_takes_the_clients_of_that_service_and_few_others(web: VServer, bound: list[Service]) -> None:
    found = dryrun.preview(SYSTEM, lambda who: vservers.unbind_service(who, web, bound[0]))
    (move,) = found.vservers
    assert move.moved is not None
    assert 33 < move.moved < 38
    assert (move.lost, move.served, move.later) == (0, 0, None)


def test_the_last_service_leaves_everybody_without_an_answer(web: VServer, bound: list[Service]) -> None:
    def all_of_them(who: Actor) -> None:
        for one in bound:
            services.disable(who, one)

    found = dryrun.preview(SYSTEM, all_of_them)
    (move,) = found.vservers
    assert (move.moved, move.lost) == (100, 100)
    assert "web: 100 % of the clients will get no answer any more." in found.consequences
    assert len(found.changes) == 3


def test_a_service_that_is_not_checked_yet_gets_its_clients_later(web: VServer) -> None:
    new = factories.service(factories.server(4))
    ServerPath.objects.create(
        director=reports.DIRECTOR, server=new.server, eligible=True, mac="02:bb:00:00:00:99", interface="eth1"
    )
    (move,) = dryrun.preview(SYSTEM, lambda who: vservers.bind_service(who, web, new)).vservers
    assert move.moved == 0
    assert move.later is not None
    assert 24 < move.later < 30
    assert any(f"Once {new.name} is checked and UP" in line for line in move.words)
    (share,) = [one for one in move.shares if one.name == new.name]
    assert (share.before, share.after, round(share.later)) == (0, 0, 25)


def test_a_service_on_a_server_that_no_director_knows_is_told_as_later(web: VServer) -> None:
    new = factories.service(factories.server(4), health_monitor=False)
    (move,) = dryrun.preview(SYSTEM, lambda who: vservers.bind_service(who, web, new)).vservers
    assert (move.moved, round(move.later or 0) in range(24, 31)) == (0, True)


def test_flows_stay_where_they_are_and_those_of_a_service_that_goes_are_told(bound: list[Service]) -> None:
    web = factories.vserver(*bound, name="web", sessionless="DISABLED", persistence_type="SOURCEIP")
    checked()
    reports.director()
    found = dryrun.preview(SYSTEM, lambda who: services.disable(who, bound[0]))
    (move,) = found.vservers
    assert move.keeps_flows
    assert "Flows that exist stay where they are; the share is of new ones." in move.words
    assert any("is remembered keep it until they are silent for 120 s" in line for line in move.words)
    assert f"Flows at {bound[0].name} get another service at once." in move.words
    vservers.update(SYSTEM, web, {"down_state_flush": "DISABLED"})
    (move,) = dryrun.preview(SYSTEM, lambda who: services.disable(who, bound[0])).vservers
    assert f"Flows at {bound[0].name} go on until they end." in move.words


def test_where_services_take_turns_no_share_of_clients_is_named(bound: list[Service]) -> None:
    web = factories.vserver(*bound, name="web", sessionless="DISABLED", lb_method="ROUNDROBIN")
    checked()
    found = dryrun.preview(SYSTEM, lambda who: vservers.set_weight(who, web, bound[0], 4))
    (move,) = found.vservers
    assert (move.moved, found.seen_from, found.directors) == (None, "", ())
    assert any("take turns" in line for line in move.words)


def test_another_hash_moves_all_but_those_who_meet_their_server_again(web: VServer) -> None:
    (move,) = dryrun.preview(SYSTEM, lambda who: vservers.update(who, web, {"lb_method": "SRCIPDESTIPHASH"})).vservers
    assert move.moved == pytest.approx(100 * 2 / 3, abs=0.01)


def test_a_new_vip_leaves_the_clients_of_the_old_one_without_an_answer(web: VServer) -> None:
    (move,) = dryrun.preview(SYSTEM, lambda who: vservers.update(who, web, {"address": "10.77.0.99"})).vservers
    assert (move.moved, move.lost) == (100, 100)
    assert move.words[0] == "Clients reach it at 10.77.0.99 now; at 10.77.0.10 it answers nobody any more."


def test_a_narrower_virtual_server_takes_clients_from_a_wider_one(web: VServer, bound: list[Service]) -> None:
    values = {"name": "narrow", "address": web.address, "service_type": "TCP", "port": 80}
    (move,) = dryrun.preview(SYSTEM, lambda who: vservers.create(who, values)).vservers
    assert (move.appears, move.moved, move.lost) == (True, 100, 100)
    assert "web took them before." in move.words
    narrow = vservers.create(SYSTEM, values)
    (move,) = dryrun.preview(SYSTEM, lambda who: vservers.delete(who, narrow)).vservers
    assert (move.goes, move.served) == (True, 100)
    assert "They go to web." in move.words


def test_a_rename_moves_nobody_and_writes_nothing(web: VServer) -> None:
    found = dryrun.preview(SYSTEM, lambda who: vservers.update(who, web, {"name": "other"}))
    assert [one.moved for one in found.vservers] == [0]
    assert [one.writes for one in found.directors] == [0]


def test_what_changes_nothing_is_told_so(web: VServer) -> None:
    found = dryrun.preview(SYSTEM, lambda who: vservers.update(who, web, {"name": web.name}))
    assert found.nothing
    assert found.consequences == ("Nothing changes.",)


def test_every_director_has_its_own_plan_by_what_it_reaches(web: VServer, bound: list[Service]) -> None:
    reports.director("director2")
    ServerPath.objects.filter(director="director2", server=bound[0].server).update(eligible=False, reason="no ARP")
    found = dryrun.preview(SYSTEM, lambda who: vservers.unbind_service(who, web, bound[0]))
    assert {one.director: one.writes for one in found.directors} == {"director1": 4, "director2": 0}


def test_a_preview_is_json(web: VServer) -> None:
    found = dryrun.preview(SYSTEM, lambda who: vservers.delete(who, web)).as_dict()
    assert json.loads(json.dumps(found)) == found
    assert found["directors"][0]["writes"] == len(found["directors"][0]["lines"])


def test_the_lines_are_those_that_the_reconcile_would_write(web: VServer, bound: list[Service]) -> None:
    links, neighbours = FakeLinks(), FakeNeighbours()
    director = explained.directors()[0]
    links.present = list(director.interfaces)
    for address, path in explained.paths_of(director).items():
        neighbours.hosts[path.ifindex, address] = path.mac
    from django.conf import settings as project  # noqa: PLC0415 - hypothesis has the name

    worker = Reconciler(FakeMaps(), links, neighbours, None, (project.PROBE_NETWORK, project.PROBE_NETWORK6))
    actions: list[dryrun.Action] = [
        lambda who: vservers.set_weight(who, web, bound[0], 4),
        lambda who: services.disable(who, bound[2]),
        lambda who: vservers.update(who, web, {"lb_method": "ROUNDROBIN", "sessionless": "DISABLED"}),
        lambda who: installation.update(who, {"ttl_rule": True}),
        lambda who: vservers.unbind_service(who, web, bound[0]),
    ]
    for action in actions:
        worker.maps = FakeMaps()  # a director that starts anew, as previews number kernel ids
        worker.observed, worker._known, worker._settled = Tables(), False, None
        worker.round(snapshot.read()[1])
        expected = dryrun.preview(SYSTEM, action).directors[0].lines
        action(SYSTEM)
        done = worker.round(snapshot.read()[1]).summary.replace(
            "to ifindex 99 02:00:00:00:00:99", "by the probe device"
        )
        assert done.splitlines() == list(expected)
        assert expected


def test_what_no_director_can_hold_is_told(web: VServer, monkeypatch: pytest.MonkeyPatch) -> None:
    factories.vserver(name="other", address="10.77.0.50")
    monkeypatch.setattr(compile_module, "MAX_VSERVERS", 3)
    values = {"name": "third", "address": "10.77.0.60"}
    found = dryrun.preview(SYSTEM, lambda who: vservers.create(who, values))
    assert found.directors[0].refused == (
        "The change could not be applied: 3 virtual servers are configured; the forwarder holds at most 2."
    )
    assert any("could not be applied" in line for line in found.consequences)


# It changes nothing --------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_outside_of_a_transaction_nothing_remains_and_nobody_is_woken(wakes: list[str]) -> None:
    bound = [factories.service(factories.server(number)) for number in (1, 2)]
    web = factories.vserver(*bound, name="web")
    checked()
    reports.director()
    wakes.clear()
    before = content()
    assert dryrun.preview(SYSTEM, lambda who: services.delete(who, bound[0])).changes
    assert not connection.in_atomic_block
    assert (content(), wakes) == (before, [])
    with transaction.atomic():
        assert dryrun.preview(SYSTEM, lambda who: vservers.delete(who, web)).changes
    assert (content(), wakes) == (before, [])


def test_errors_come_back_as_on_the_real_change_and_no_attempt_is_recorded(web: VServer) -> None:
    nobody = factories.actor(factories.outsider())
    before = content()
    entries = AuditEntry.objects.count()
    with pytest.raises(PermissionRefused, match="may not delete a vserver"):
        dryrun.preview(nobody, lambda who: vservers.delete(who, web))
    with pytest.raises(ValidationError) as refused:
        dryrun.preview(SYSTEM, lambda who: vservers.set_weights(who, web, {"service_Server1_ANY": 101}))
    assert list(refused.value.message_dict) == ["service_Server1_ANY"]
    with pytest.raises(ConflictError):
        dryrun.preview(SYSTEM, lambda who: vservers.update(who, web, {"comment": "x"}, web.version - 1))
    assert AuditEntry.objects.count() == entries
    for name in ("auth_user", "sqlite_sequence"):  # the latter is SQLite's
        before.pop(name, None)
    assert {name: rows for name, rows in content().items() if name in before} == before


def test_a_change_of_somebody_else_in_between_makes_it_try_again(
    web: VServer, bound: list[Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = snapshot.read_vservers
    calls: list[int] = []

    def meddling(pks: Any, now: Any) -> Any:
        calls.append(len(calls))
        if len(calls) == 2:  # after the rows of the first try were rolled back
            vservers.set_weight(SYSTEM, web, bound[1], 50)
        return read(pks, now)

    monkeypatch.setattr(snapshot, "read_vservers", meddling)
    (move,) = dryrun.preview(SYSTEM, lambda who: vservers.unbind_service(who, web, bound[0])).vservers
    assert len(calls) == 4
    assert round(next(one.before for one in move.shares if one.pk == bound[1].pk)) == round(100 * 50 / 52)


# It tells what really happens ----------------------------------------------------------------------------------------


def whole(director: explained.Director, paths: dict[Any, desired.Path], previous: Tables | None) -> Tables:
    """All tables of a director for the rows as they are."""
    configuration = snapshot.read()[1]

    def path(address: Any) -> desired.Path:
        return paths.get(address, explained.NOT_LOOKED_FOR)

    state = desired.DesiredState(
        configuration.revision,
        configuration.hash_key,
        tuple(desired.resolve_vserver(one, path) for one in configuration.vservers),
        tuple(desired.Probe(one.address, one.vip, one.server, path(one.server)) for one in configuration.probes),
        director.interfaces,
        (),
        (),
        configuration.rules,
    )
    sends = any(one.path.usable for one in state.probes)
    return compile_tables(state, previous or Tables(), **dryrun._probing(sends))


def named(steps: Any, before: Tables, after: Tables) -> list[str]:
    """Steps without kernel ids: these are numbered by whatever else a director has."""
    services = {number: one.config_id for some in (before, after) for number, one in some.services.items()}
    vservers = {one.vserver_id: one.config_id for some in (before, after) for one in some.vservers.values()}
    return sorted(_named(step, services, vservers) for step in steps)


def _named(step: Step, services: dict[int, int], vservers: dict[int, int]) -> str:
    key, value = step.key, step.value if isinstance(step, Put) else None
    if step.table is Table.SERVICES:
        key = services[key]
    elif step.table in {Table.RINGS, Table.POLICIES}:
        key = vservers[key]
    elif step.table is Table.CLOSED:
        key = (key.vserver, services[key.service])
    if step.table is Table.RINGS and value is not None:
        value = [services.get(one, 0) for one in memoryview(value).cast("H")]
        assert len(value) == RING_SLOTS
        value = hash(tuple(value))
    if step.table is Table.VSERVERS and value is not None:
        value = (value.config_id, value.hash_fields, value.mask, value.flags)
    return f"{type(step).__name__} {step.table} {key!r} {value!r}"


Deed = Callable[[Actor], Any]
NUMBERS = st.integers(1, 4)


def _server(number: int) -> Server:
    return Server.objects.get(name=f"s{number}")


def _service(number: int) -> Service:
    return Service.objects.get(name=f"svc{number}")


def _vserver(number: int) -> VServer:
    return VServer.objects.get(name=f"v{number}")


def _create_service(who: Actor, number: int, web: bool) -> None:
    port = {"service_type": "TCP", "port": 80} if web else {}
    services.create(who, {"name": f"svc{number}", "server": f"10.77.0.{10 + (number + 1) // 2}"} | port)


def _create_vserver(who: Actor, number: int, values: dict[str, Any]) -> None:
    port = {"service_type": "TCP", "port": 80} if number % 2 else {}
    vservers.create(who, {"name": f"v{number}", "address": f"10.77.0.{100 + (number + 1) // 2}"} | port | values)


def _several(who: Actor, number: int) -> None:
    services.disable(who, _service(number))
    vservers.delete(who, _vserver(number))


OPTIONS = st.sampled_from(
    [
        {"lb_method": "ROUNDROBIN", "sessionless": "DISABLED"},
        {"sessionless": "DISABLED"},
        {"sessionless": "DISABLED", "persistence_type": "SOURCEIP"},
        {"lb_method": "SRCIPDESTIPHASH", "sessionless": "ENABLED"},
        {"netmask": "255.255.255.0"},
        {"address": "10.77.0.101"},
        {"address": "10.77.0.103"},
        {"address": "fd77::10"},
        {"backup_vserver": "v2"},
        {"backup_vserver": "v3"},
        {"backup_vserver": None},
        {"ping": "DROP"},
        {"when_down": "REJECT"},
        {"syn_rate": 100},
        {"fail_open": 30},
        {"comment": "x"},
    ]
)
BACKED = st.sampled_from([{}, {"sessionless": "DISABLED"}])
DEEDS = st.one_of(
    st.builds(lambda n: lambda who: servers.create(who, {"name": f"s{n}", "address": f"10.77.0.{10 + n}"}), NUMBERS),
    st.builds(lambda n, web: lambda who: _create_service(who, n, web), NUMBERS, st.booleans()),
    st.builds(lambda n, values: lambda who: _create_vserver(who, n, values), NUMBERS, BACKED),
    st.builds(
        lambda n, m, w: lambda who: vservers.bind_service(who, _vserver(n), _service(m), w),
        NUMBERS,
        NUMBERS,
        st.integers(0, 5),
    ),
    st.builds(lambda n, m: lambda who: vservers.unbind_service(who, _vserver(n), _service(m)), NUMBERS, NUMBERS),
    st.builds(
        lambda n, m, w: lambda who: vservers.set_weights(who, _vserver(n), {f"svc{m}": w}),
        NUMBERS,
        NUMBERS,
        st.integers(0, 9),
    ),
    st.builds(lambda n, values: lambda who: vservers.update(who, _vserver(n), values), NUMBERS, OPTIONS),
    st.builds(lambda n: lambda who: vservers.disable(who, _vserver(n)), NUMBERS),
    st.builds(lambda n: lambda who: vservers.enable(who, _vserver(n)), NUMBERS),
    st.builds(lambda n: lambda who: vservers.delete(who, _vserver(n)), NUMBERS),
    st.builds(
        lambda n, delay: lambda who: services.disable(who, _service(n), delay), NUMBERS, st.sampled_from([0, 90])
    ),
    st.builds(lambda n: lambda who: services.enable(who, _service(n)), NUMBERS),
    st.builds(lambda n: lambda who: services.delete(who, _service(n)), NUMBERS),
    st.builds(lambda n: lambda who: services.update(who, _service(n), {"health_monitor": False}), NUMBERS),
    st.builds(lambda n: lambda who: services.bind_monitor(who, _service(n), "tcp-80"), NUMBERS),
    st.builds(lambda n: lambda who: services.unbind_monitor(who, _service(n), "tcp-80"), NUMBERS),
    st.builds(lambda: lambda who: monitors.disable(who, Monitor.objects.get(name="tcp-80"))),
    st.builds(
        lambda n, to: lambda who: servers.update(who, _server(n), {"address": f"10.77.0.{10 + to}"}),
        NUMBERS,
        st.integers(1, 6),
    ),
    st.builds(lambda n: lambda who: servers.disable(who, _server(n)), NUMBERS),
    st.builds(lambda n: lambda who: servers.delete(who, _server(n)), NUMBERS),
    st.builds(lambda on: lambda who: installation.update(who, {"ttl_rule": on}), st.booleans()),
    st.builds(lambda n: lambda who: _several(who, n), NUMBERS),
)


def begin() -> None:
    """Four servers and services, three vservers that share some of them and two VIPs, and a director."""
    factories.monitor()
    for number in range(1, 5):
        factories.server(number, name=f"s{number}")
    for number in range(1, 4):
        factories.service(_server(number), name=f"svc{number}")
    factories.vserver(_service(1), _service(2), name="v1", address="10.77.0.101")
    factories.vserver(_service(2), _service(3), name="v2", address="10.77.0.102", sessionless="DISABLED")
    factories.vserver(_service(1), name="v3", address="10.77.0.101", service_type="TCP", port=80)
    checked()
    reports.director()


def _attempt(deed: Callable[[], Any]) -> tuple[Any, str]:
    try:
        return deed(), ""
    except REFUSALS as error:
        return None, f"{type(error).__name__} {error}"


@pytest.mark.django_db
@settings(max_examples=examples(25))
@given(st.lists(st.tuples(DEEDS, st.sampled_from(["", "UP", "DOWN"])), min_size=1, max_size=6))
def test_a_preview_changes_nothing_and_its_tables_are_those_of_the_real_change(deeds: list[tuple[Deed, str]]) -> None:
    with transaction.atomic():
        begin()
        director = explained.directors()[0]
        for deed, checks in deeds:
            rows, paths = content(), explained.paths_of(director)
            before = whole(director, paths, None)
            told, refused = _attempt(lambda deed=deed: dryrun.preview(SYSTEM, deed))  # type: ignore[misc]
            assert content() == rows
            with transaction.atomic():
                assert _attempt(lambda deed=deed: deed(SYSTEM))[1] == refused  # type: ignore[misc]
            if told is not None:
                after = whole(director, paths, before)
                expected = named(plan(after, before), before, after)
                written = [named(one.steps, one.before, one.after) for one in told.directors] or [[]]
                assert written == [expected]
            _settle(checks)
        transaction.set_rollback(True)


def _settle(checks: str) -> None:
    """The director finds new servers; checks find something, or nothing yet."""
    for server in Server.objects.exclude(paths__director=reports.DIRECTOR):
        mac = reports.mac_of(server)
        ServerPath.objects.create(director=reports.DIRECTOR, server=server, eligible=True, mac=mac, interface="eth1")
    if checks:
        HealthState.objects.filter(state=State.UNKNOWN).update(state=checks, since=timezone.now())


def test_vservers_of_a_service_that_are_not_concerned_keep_it_in_the_tables(web: VServer, bound: list[Service]) -> None:
    factories.vserver(bound[0], name="other", address="10.77.0.50")
    checked()
    (found,) = dryrun.preview(SYSTEM, lambda who: vservers.unbind_service(who, web, bound[0])).directors
    assert not [line for line in found.lines if line.startswith("- service")]


def test_a_service_that_is_closed_to_others_already_is_not_told_to_be_closed_anew(
    web: VServer, bound: list[Service]
) -> None:
    factories.vserver(bound[0], name="other", address="10.77.0.50", sessionless="DISABLED")
    checked()
    services.disable(SYSTEM, bound[0])
    (found,) = dryrun.preview(SYSTEM, lambda who: vservers.update(who, web, {"sessionless": "DISABLED"})).directors
    assert [line for line in found.lines if "closed" in line]
    assert not [line for line in found.lines if line.startswith("~ service")]
    vservers.update(SYSTEM, web, {"sessionless": "DISABLED"})
    (found,) = dryrun.preview(SYSTEM, lambda who: vservers.update(who, web, {"sessionless": "ENABLED"})).directors
    assert not [line for line in found.lines if line.startswith("~ service")]
