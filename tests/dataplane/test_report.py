"""Status rows and rates."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from ipaddress import ip_address
from typing import Any

import pytest

from dataplane import report
from dataplane.desired import Path
from dataplane.forwarding import Forwarding, Mode
from dataplane.tables import Count, Counters, HashField, Reason, ServiceEntry, Tables, VServerEntry, VServerKey
from tests import factories
from tests.dataplane.network import ETH0
from webui.models import ServerPath

VIP = ip_address("10.77.0.10")


def tables(vserver_row: int = 5, service_row: int = 7) -> Tables:
    entry = VServerEntry(1, vserver_row, HashField.SOURCE, ip_address("255.255.255.255"))
    return Tables(
        vservers={VServerKey(VIP, 0, 0): entry},
        services={3: ServiceEntry(service_row, 2, bytes(6), bytes(6))},
    )


def counters(packets: int, size: int = 100) -> Counters:
    count = Count(packets, packets * size)
    return Counters({1: count}, {3: count}, {Reason.FORWARDED: count})


def test_rates_are_per_second_and_keyed_by_row() -> None:
    rates = report.Rates()
    first = rates.payload(counters(10), tables(), 100.0)
    assert first["vservers"]["5"] == {
        "packets": 10,
        "bytes": 1000,
        "packets_per_second": 0.0,
        "bits_per_second": 0.0,
        "dropped": 0,
        "dropped_per_second": 0.0,
    }
    second = rates.payload(counters(30), tables(), 102.0)
    assert second["vservers"]["5"]["packets_per_second"] == 10.0
    assert second["services"]["7"]["bits_per_second"] == 8000.0
    assert second["reasons"]["FORWARDED"] == {"packets": 30, "packets_per_second": 10.0}


def test_an_id_that_passed_to_another_row_starts_without_a_rate() -> None:
    rates = report.Rates()
    rates.payload(counters(10), tables(), 100.0)
    assert rates.payload(counters(30), tables(vserver_row=6), 101.0)["vservers"]["6"]["packets_per_second"] == 0.0


def test_counters_that_went_back_give_no_negative_rate() -> None:
    rates = report.Rates()
    rates.payload(counters(30), tables(), 100.0)
    assert rates.payload(counters(3), tables(), 101.0)["vservers"]["5"]["packets_per_second"] == 0.0


def test_flows_are_summed_by_row_of_vserver_and_service() -> None:
    payload = report.Rates().payload(counters(1), tables(), 100.0, {(5, 7): 3, (5, 8): 4, (6, 7): 2})
    assert {row: entry["flows"] for row, entry in payload["vservers"].items()} == {"5": 7, "6": 2}
    assert {row: entry["flows"] for row, entry in payload["services"].items()} == {"7": 5, "8": 4}
    assert "flows" not in report.Rates().payload(counters(1), tables(), 100.0)["services"]["7"]


def test_flows_that_began_have_a_rate_where_somebody_counts_them() -> None:
    def begun(vserver: int, service: int, packets: int = 10) -> Counters:
        return replace(counters(packets), vserver_flows={1: vserver}, service_flows={3: service})

    def of(payload: dict[str, Any], kind: str, row: str) -> tuple[Any, Any]:
        return payload[kind][row].get("new_flows"), payload[kind][row].get("new_flows_per_second")

    rates = report.Rates()
    first = rates.payload(begun(4, 4), tables(), 100.0)
    assert (of(first, "vservers", "5"), of(first, "services", "7")) == ((4, 0.0), (4, 0.0))
    second = rates.payload(begun(10, 6), tables(), 102.0)
    assert (of(second, "vservers", "5"), of(second, "services", "7")) == ((10, 3.0), (6, 1.0))
    passed_on = rates.payload(begun(20, 9), tables(vserver_row=6), 103.0)
    assert (of(passed_on, "vservers", "6"), of(passed_on, "services", "7")) == ((20, 0.0), (9, 3.0))
    uncounted = rates.payload(begun(0, 0), tables(vserver_row=6), 104.0)
    assert (of(uncounted, "vservers", "6"), of(uncounted, "services", "7")) == ((None, None), (None, None))
    idle = rates.payload(begun(0, 0, packets=0), tables(vserver_row=6), 105.0)
    assert of(idle, "vservers", "6") == (0, 0.0)


def test_the_moment_at_which_a_guard_moved_is_kept_until_it_moves_again() -> None:
    def looped(packets: int) -> Counters:
        return Counters({}, {}, {Reason.DROP_LOOP: Count(packets, 0), Reason.DROP_TTL: Count(packets, 0)})

    rates = report.Rates()
    assert "moved_at" not in rates.payload(looped(5), tables(), 100.0)["reasons"]["DROP_LOOP"]  # before we looked
    moved = rates.payload(looped(6), tables(), 101.0)["reasons"]
    assert datetime.fromisoformat(moved["DROP_LOOP"]["moved_at"]).tzinfo is not None
    assert "moved_at" not in moved["DROP_TTL"]
    assert rates.payload(looped(6), tables(), 102.0)["reasons"]["DROP_LOOP"] == moved["DROP_LOOP"] | {
        "packets_per_second": 0.0
    }


def test_a_flood_of_syns_begins_once_and_ends_when_it_was_quiet_for_a_while() -> None:
    watch = report.SynWatch()
    told = {second: watch.step(dropped, second) for second, dropped in enumerate([0, 5, 0, 7, *[0] * 20, 3])}
    assert {second: text for second, text in told.items() if text} == {
        1: "The SYN filter began to drop: 5 SYNs at first.",
        13: "The SYN filter ended: 12 SYNs dropped within 2 s.",
        24: "The SYN filter began to drop: 3 SYNs at first.",
    }


def test_dropped_syns_of_both_kinds_are_one_event() -> None:
    def dropped(rate: int, source: int) -> Counters:
        return Counters({}, {}, {Reason.DROP_SYN_RATE: Count(rate, 0), Reason.DROP_SYN_SOURCE: Count(source, 0)})

    rates = report.Rates()
    rates.payload(dropped(100, 7), tables(), 1.0)
    assert rates.events == []
    rates.payload(dropped(104, 9), tables(), 2.0)
    assert rates.events == ["The SYN filter began to drop: 6 SYNs at first."]


@pytest.mark.django_db
def test_paths_are_written_once_and_again_only_when_they_change() -> None:
    server = factories.server(1)
    address = ip_address(server.address)
    good = Path(2, bytes.fromhex("020000000011"), ETH0.mac, "")
    assert report.save_paths("d", {server.pk: address}, {address: good}, (ETH0,))
    assert not report.save_paths("d", {server.pk: address}, {address: good}, (ETH0,))
    row = ServerPath.objects.get()
    assert (row.mac, row.interface, row.eligible, row.reason) == ("02:00:00:00:00:11", "eth0", True, "")
    bad = Path(0, bytes(6), bytes(6), "Server does not answer ARP requests on eth0")
    assert report.save_paths("d", {server.pk: address}, {address: bad}, (ETH0,))
    row.refresh_from_db()
    assert (row.mac, row.interface, row.eligible, row.reason) == ("", "", False, bad.reason)


@pytest.mark.django_db
def test_a_server_that_was_added_after_the_round_is_left_for_the_next_one() -> None:
    server = factories.server(1)
    assert not report.save_paths("d", {server.pk: ip_address(server.address)}, {}, (ETH0,))


def test_interfaces_tell_their_mode_where_the_forwarder_is_attached() -> None:
    found = {ETH0.ifindex: Forwarding(Mode.TC, "the driver tg3 has no native XDP", refused=True)}
    [row] = report.interface_rows((ETH0,), frozenset([ETH0.ifindex]), found)
    assert (row["attached"], row["mode"], row["mode_refused"]) == (True, "tc", True)
    assert row["mode_reason"] == "the driver tg3 has no native XDP"
    [row] = report.interface_rows((ETH0,), frozenset(), found)
    assert not row["attached"]
    assert "mode" not in row
