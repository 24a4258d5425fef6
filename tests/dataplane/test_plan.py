from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import dataplane.plan as plan_module
from dataplane.desired import DesiredState, ProbeTarget, VServerOptions
from dataplane.hashing import ring_ids
from dataplane.plan import plan
from dataplane.plan_text import describe, dump
from dataplane.steps import Delete, Put, Step, Table, entries
from dataplane.tables import RING_SLOTS, ForwarderSettings, HashField, Reason, ServiceEntry, Tables, VipFlag, WhenDown
from tests.dataplane.network import HASH_KEY, VIPS, clients, compiled, desired, mac_of, service, states, vserver
from tests.fakes import FakeMaps, Packet, Verdict, perform, where

S1, S2, S3 = (service(number, f"10.77.0.{20 + number}") for number in (1, 2, 3))
CLIENTS = clients()

thorough = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def carried_out(steps: list[Step], tables: Tables) -> Tables:
    after = deepcopy(tables)
    for step in steps:
        perform(after, step)
    return after


def fate(verdict: Verdict) -> tuple[str, int]:
    """Which service gets the frame, or that it is dropped or passed. Rejected is dropped, with a word about it."""
    return verdict.reason.name.partition("_")[0].replace("REJECTED", "DROP"), verdict.service


def macs(service_id: int, *all_tables: Tables) -> set[bytes]:
    return {entry.mac for tables in all_tables for entry in tables.services.values() if entry.config_id == service_id}


def assert_no_client_is_misdirected(wanted: Tables, observed: Tables) -> None:
    """After each step, each packet meets its old fate or its new one."""
    allowed = [(packet, {fate(where(observed, packet)), fate(where(wanted, packet))}) for packet in CLIENTS]
    between = deepcopy(observed)
    for step in plan(wanted, observed):
        perform(between, step)
        for packet, fates in allowed:
            verdict = where(between, packet)
            assert fate(verdict) in fates, (step, packet, verdict, fates)
            assert verdict.reason is not Reason.DROP_TABLE
            if verdict.service:
                assert verdict.mac in macs(verdict.service, observed, wanted)
    assert between == wanted


@thorough
@given(states(), states())
def test_no_step_of_a_change_misdirects_a_client(before: DesiredState, after: DesiredState) -> None:
    observed = compiled(before)
    assert_no_client_is_misdirected(compiled(after, observed), observed)


@thorough
@given(states(), states(), states(), st.floats(0, 1))
def test_no_step_of_a_change_misdirects_a_client_after_an_interrupted_one(
    before: DesiredState, interrupted: DesiredState, after: DesiredState, share: float
) -> None:
    observed = compiled(before)
    steps = plan(compiled(interrupted, observed), observed)
    halfway = carried_out(steps[: int(share * len(steps))], observed)
    assert_no_client_is_misdirected(compiled(after, halfway), halfway)


@thorough
@given(states(), states())
def test_new_then_old_restores_the_first_tables(before: DesiredState, after: DesiredState) -> None:
    observed = compiled(before)
    maps = FakeMaps(observed)
    wanted = compiled(after, observed)
    for target in (wanted, observed):
        for step in plan(target, maps.read()):
            maps.apply(step)
        assert dump(maps.read()) == dump(target)
    assert maps.read() == observed


@thorough
@given(states())
def test_equal_tables_need_no_step(state: DesiredState) -> None:
    tables = compiled(state)
    assert plan(tables, deepcopy(tables)) == []
    assert plan(compiled(state, tables), tables) == []


@thorough
@given(states(), states())
def test_each_entry_is_touched_only_if_it_differs(before: DesiredState, after: DesiredState) -> None:
    observed = compiled(before)
    wanted = compiled(after, observed)
    for step in plan(wanted, observed):
        old = entries(observed, step.table).get(step.key)
        new = entries(wanted, step.table).get(step.key)
        assert old != new


def test_what_is_new_is_built_from_the_bottom_and_what_is_gone_removed_from_the_top() -> None:
    tables = compiled(desired(vserver(1, S1), probes=[ProbeTarget(ip_address("198.18.0.1"), VIPS[0], S1.address)]))
    built = [step.table for step in plan(tables, Tables())]
    removed = [step.table for step in plan(Tables(), tables)]
    assert built == [
        "settings",
        "interfaces",
        "interfaces",
        "services",
        "rings",
        "vservers",
        "vips",
        "probes_in",
        "probes_out",
    ]
    assert removed == [
        "settings",
        "probes_out",
        "probes_in",
        "vips",
        "vservers",
        "rings",
        "services",
        "interfaces",
        "interfaces",
    ]


def test_a_changed_mac_is_one_step() -> None:
    tables = compiled(desired(vserver(1, S1, S2)))
    changed = deepcopy(tables)
    changed.services[1] = replace(changed.services[1], mac=mac_of(S1.address, 1))
    assert plan(changed, tables) == [Put(Table.SERVICES, 1, changed.services[1])]


def test_a_service_that_is_unbound_leaves_the_ring_before_its_entry_goes() -> None:
    observed = compiled(desired(vserver(1, S1, S2)))
    steps = plan(compiled(desired(vserver(1, S2)), observed), observed)
    assert [(type(step), step.table) for step in steps] == [(Put, Table.RINGS), (Delete, Table.SERVICES)]


def test_flags_of_a_vip_stay_until_their_vservers_are_gone() -> None:
    observed = compiled(desired(vserver(1, S1, protocol=6), vserver(2, S2)))
    steps = plan(compiled(desired(vserver(2, S2)), observed), observed)
    narrow = VipFlag.ANY | VipFlag.ANSWER
    assert [step.table for step in steps] == ["vservers", "vips", "rings", "services"]
    assert steps[1] == Put(Table.VIPS, VIPS[0], narrow)


def test_clients_pass_to_a_new_vserver_before_the_ring_they_leave_changes() -> None:
    observed = compiled(desired(vserver(1, S1)))
    wanted = compiled(desired(vserver(1), vserver(2, S1, port=80)), observed)
    assert [(step.table, step.key) for step in plan(wanted, observed) if step.table is Table.RINGS] == [
        ("rings", 2),
        ("rings", 1),
    ]
    assert_no_client_is_misdirected(wanted, observed)


def test_a_vserver_that_nobody_finds_is_removed_before_flags_bring_it_to_light() -> None:
    state = desired(vserver(1, S1), vserver(2, S2, port=80))
    observed = compiled(state)
    # As an interrupted plan leaves it: the vserver is there, the flag is not.
    observed.vips[VIPS[0]] = VipFlag.ANY | VipFlag.ANSWER
    wanted = compiled(desired(vserver(1, S1), vserver(3, S3, protocol=6), vserver(4, S3, port=443)), observed)
    first = plan(wanted, observed)[0]
    assert isinstance(first, Delete)
    assert (first.table, first.key.port) == (Table.VSERVERS, 80)
    assert_no_client_is_misdirected(wanted, observed)
    assert_no_client_is_misdirected(compiled(state, observed), observed)


def test_a_service_id_that_passes_to_another_service_never_sends_clients_astray() -> None:
    observed = compiled(desired(vserver(1, S1, S2, S3)))
    wanted = compiled(desired(vserver(1, S2, S3, service(4, "10.77.0.24"))), observed)
    # As if service 4 had been given the id of service 1, which compile would not do.
    new_id = next(number for number, entry in wanted.services.items() if entry.config_id == 4)
    wanted.services[1] = wanted.services.pop(new_id)
    ring = ring_ids(wanted.rings[1])
    wanted.rings[1] = b"".join((1 if slot == new_id else slot).to_bytes(2, "little") for slot in ring)
    packets = [Packet(ip_address(f"10.77.1.{host}"), VIPS[0]) for host in range(200)]
    allowed = [{fate(where(observed, packet)), fate(where(wanted, packet))} for packet in packets]
    between = deepcopy(observed)
    steps = plan(wanted, observed)
    assert [step.table for step in steps] == ["rings", "services", "rings"]
    for step in steps:
        perform(between, step)
        for packet, fates in zip(packets, allowed, strict=True):
            assert fate(where(between, packet)) in fates
    assert between == wanted


def test_ids_that_pass_crosswise_drop_for_a_moment_and_never_reach_a_wrong_server() -> None:
    observed = compiled(desired(vserver(1, S1, S2)))
    wanted = compiled(desired(vserver(1, service(5, "10.77.0.24"), service(6, "10.77.0.25"))))
    between = deepcopy(observed)
    for step in plan(wanted, observed):
        perform(between, step)
        for host in range(200):
            packet = Packet(ip_address(f"10.77.1.{host}"), VIPS[0])
            assert fate(where(between, packet)) in {
                fate(where(observed, packet)),
                fate(where(wanted, packet)),
                ("DROP", 0),
            }
    assert between == wanted


def test_a_map_without_room_for_old_and_new_is_cleared_of_the_old_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(plan_module._LIMITS, Table.VSERVERS, 3)
    observed = compiled(desired(vserver(1, S1, port=1), vserver(2, S1, port=2)))
    wanted = compiled(desired(vserver(1, S1, port=3), vserver(2, S1, port=4)), observed)
    between = deepcopy(observed)
    for step in plan(wanted, observed):
        perform(between, step)
        assert len(between.vservers) <= 3
    assert between == wanted


def test_description_says_what_is_added_changed_and_removed() -> None:
    observed = compiled(desired(vserver(1, S1, S2), vserver(2, S1, port=80)))
    wanted = compiled(desired(vserver(1, S1, S2, S3), vserver(3, S3, protocol=6, port=443)), observed)
    lines = describe(plan(wanted, observed), observed).splitlines()
    assert lines == [
        "+ service 3 config 3 to 02:00:04:4d:00:17 from 02:00:00:00:00:01 on ifindex 2",
        "~ ring 1: 3 services 5461/5460/5460 slots, 33.4 % of slots change",
        "- ring 2: 1 service 16381 slots, fingerprint " + lines[2].split()[-1],
        "+ ring 3: 1 service 16381 slots, fingerprint " + lines[3].split()[-1],
        "+ vserver 10.77.0.10 tcp/443 id 3 config 3 hash source mask 255.255.255.255",
        "- vserver 10.77.0.10 any/80 id 2 config 2 hash source mask 255.255.255.255",
        "~ vip 10.77.0.10 proto-port+port+any+answer",
        "~ vip 10.77.0.10 proto-port+any+answer",
    ]


def test_texts_never_show_the_hash_key() -> None:
    tables = compiled(desired())
    text = dump(tables) + describe(plan(tables, Tables()), Tables())
    assert "fingerprint" in text
    assert HASH_KEY.hex() not in text
    assert dump(Tables()).startswith("settings hash key none probing off")


def test_the_dump_tells_tables_apart_that_differ_in_anything() -> None:
    tables = compiled(desired(vserver(1, S1, S2), probes=[ProbeTarget(ip_address("198.18.0.1"), VIPS[0], S1.address)]))
    dumps = {dump(tables)}
    for number, step in enumerate(plan(Tables(), tables), start=1):
        other = deepcopy(tables)
        perform(other, step)
        dumps.add(dump(other))
        assert len(dumps) == number + 1
    swapped = deepcopy(tables)
    swapped.rings[1] = swapped.rings[1][2:] + swapped.rings[1][:2]
    assert dump(swapped) not in dumps


def test_a_removal_of_what_is_absent_is_described_as_such() -> None:
    assert describe([Delete(Table.SERVICES, 5)], Tables()) == "- service 5 (absent)\n"


def test_a_ring_of_many_services_is_summed_up() -> None:
    many = [service(number, "10.77.0.21") for number in range(1, 21)]
    assert "ring 1: 20 services 819 to 820 slots each" in dump(compiled(desired(vserver(1, *many))))


def test_settings_alone_are_one_step() -> None:
    wanted = Tables(settings=ForwarderSettings(HASH_KEY))
    assert plan(wanted, Tables()) == [Put(Table.SETTINGS, 0, wanted.settings)]


def test_the_model_drops_what_the_forwarder_drops() -> None:
    tables = compiled(desired(vserver(1, S1, protocol=6, port=80, hash_fields=HashField.SOURCE)))
    client, vip = ip_address("10.77.1.1"), VIPS[0]
    assert where(tables, Packet(client, vip, 6, 1, 80)).service == 1
    assert where(tables, Packet(client, vip, 6, 1, 81)).reason is Reason.DROP_NO_VSERVER
    assert where(tables, Packet(client, vip, 6, fragment=True, later=True)).reason is Reason.DROP_FRAGMENT
    assert where(tables, Packet(client, VIPS[1], 6, 1, 80)).reason is Reason.PASS_NOT_VIP
    tables.services[1] = ServiceEntry(1, 2, bytes.fromhex("020000000001"), bytes.fromhex("020000000001"))
    assert where(tables, Packet(client, vip, 6, 1, 80)).reason is Reason.DROP_OWN_MAC
    tables.rings[1] = bytes(2 * RING_SLOTS)
    assert where(tables, Packet(client, vip, 6, 1, 80)).reason is Reason.DROP_NO_SERVICE
    del tables.rings[1]
    assert where(tables, Packet(client, vip, 6, 1, 80)).reason is Reason.DROP_TABLE


def test_a_rule_to_reject_that_is_new_with_the_services_rejects_nobody() -> None:
    rejecting = VServerOptions(when_down=WhenDown.REJECT)
    down = compiled(desired(vserver(1, service(1, "10.77.0.21", eligible=False, reason="DOWN"))))
    up = compiled(desired(vserver(1, S1, options=rejecting)), down)
    tables = [step.table for step in plan(up, down)]
    assert tables.index(Table.RINGS) < tables.index(Table.POLICIES)
