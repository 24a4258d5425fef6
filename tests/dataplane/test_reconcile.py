"""Rounds over fake ports: what is applied when, and what is left alone."""

from __future__ import annotations

import errno
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_address, ip_network
from unittest.mock import Mock

import pytest

from dataplane import reconcile
from dataplane.desired import Configuration, ProbeTarget, VServerConfig
from dataplane.forwarding import Forwarding, Mode, Wish
from dataplane.plan_text import dump
from dataplane.reconcile import HOLD_SECONDS, VERIFY_SECONDS, Reconciler
from dataplane.steps import Step, Table
from dataplane.tables import Count, IPAddress, Reason, Tables
from tests.dataplane.network import ETH0, HASH_KEY, mac_of, service, vserver
from tests.fakes import FakeLinks, FakeMaps, FakeNeighbours, Packet, where

CLIENT = Packet(source=ip_address("10.77.0.1"), destination=ip_address("10.77.0.10"), protocol=6)
SERVERS = [ip_address(f"10.77.0.{number}") for number in (21, 22, 23)]
VIP = ip_address("10.77.0.10")


@dataclass
class Bench:
    """A director whose kernel and clock a test moves by hand."""

    maps: FakeMaps = field(default_factory=FakeMaps)
    links: FakeLinks = field(default_factory=lambda: FakeLinks(present=[ETH0]))
    neighbours: FakeNeighbours = field(
        default_factory=lambda: FakeNeighbours(hosts={(2, address): mac_of(address) for address in SERVERS})
    )
    now: float = 100.0
    reconciler: Reconciler = field(init=False)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        """A new process: it knows nothing but what the kernel holds."""
        networks = (ip_network("198.18.0.0/15"), ip_network("2001:2:0:1::/112"))
        self.reconciler = Reconciler(
            self.maps, self.links, self.neighbours, ["eth0"], networks, clock=lambda: self.now, sleep=self.sleep
        )

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def three_services(revision: int = 1, *down: int) -> Configuration:
    services = [
        service(number, str(address), eligible=number not in down, reason="DOWN" if number in down else "")
        for number, address in enumerate(SERVERS, start=1)
    ]
    return configuration(vserver(1, *services), revision=revision)


def configuration(*vservers: VServerConfig, revision: int = 1, servers: tuple[IPAddress, ...] = ()) -> Configuration:
    probes = tuple(
        ProbeTarget(ip_address("198.18.0.0") + number, VIP, address) for number, address in enumerate(SERVERS, start=1)
    )
    return Configuration(revision, HASH_KEY, vservers, probes, servers)


def test_the_first_round_fills_the_tables_before_it_attaches() -> None:
    bench = Bench()
    done = bench.reconciler.round(three_services())
    assert done.error == ""
    assert bench.links.attached == {2}
    assert where(bench.maps.tables, CLIENT).reason is Reason.FORWARDED
    assert "attached to ifindex 2" in done.summary
    assert bench.maps.tables.settings.probe_ifindex == 99


def test_a_round_without_news_does_nothing() -> None:
    bench = Bench()
    bench.reconciler.round(three_services())
    bench.maps.steps.clear()
    done = bench.reconciler.round(three_services())
    assert bench.maps.steps == []
    assert done.summary == ""


def test_a_new_process_takes_over_without_writing_anything() -> None:
    bench = Bench()
    bench.reconciler.round(three_services())
    before = dump(bench.maps.tables)
    bench.maps.steps.clear()
    bench.start()
    done = bench.reconciler.round(three_services())
    assert bench.maps.steps == []
    assert dump(bench.maps.tables) == before
    assert not done.drift


def test_a_restart_waits_for_neighbours_instead_of_emptying_the_ring() -> None:
    bench = Bench()
    bench.reconciler.round(three_services())
    before = dump(bench.maps.tables)
    hosts, bench.neighbours.hosts = bench.neighbours.hosts, {}
    bench.start()

    def answer_after_a_second(seconds: float) -> None:
        bench.now += seconds
        if bench.now > 101:
            bench.neighbours.hosts = hosts

    bench.reconciler.sleep = answer_after_a_second
    bench.reconciler.round(three_services())
    assert dump(bench.maps.tables) == before


def test_a_server_that_never_answers_holds_up_the_start_for_a_bounded_time() -> None:
    bench = Bench()
    del bench.neighbours.hosts[2, SERVERS[0]]
    started = bench.now
    done = bench.reconciler.round(three_services())
    assert bench.now - started < 5
    reasons = [item.reason for item in done.desired.vservers[0].services]
    assert "not known yet" in reasons[0]
    assert reasons[1:] == ["", ""]


def test_a_flushed_neighbour_table_moves_no_client_while_the_kernel_asks_again() -> None:
    bench = Bench()
    bench.reconciler.round(three_services())
    before = dump(bench.maps.tables)
    hosts, bench.neighbours.hosts = bench.neighbours.hosts, {}
    bench.now += 1
    bench.reconciler.round(three_services())
    assert dump(bench.maps.tables) == before
    bench.now += HOLD_SECONDS + 1
    done = bench.reconciler.round(three_services())
    assert where(bench.maps.tables, CLIENT).reason is Reason.DROP_NO_SERVICE
    assert not any(item.eligible for item in done.desired.vservers[0].services)
    bench.neighbours.hosts = hosts
    bench.reconciler.round(three_services())
    assert dump(bench.maps.tables) == before


def test_a_deleted_neighbour_entry_is_asked_for_in_the_next_round() -> None:
    bench = Bench()
    bench.reconciler.round(three_services())
    bench.reconciler.round(three_services())
    bench.neighbours.watched = frozenset()
    bench.reconciler.round(three_services())
    assert len(bench.neighbours.watched) == 3


def test_without_news_nothing_is_resolved_or_compiled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    for _ in range(2):
        bench.reconciler.round(three_services())
    monkeypatch.setattr(reconcile, "resolve", Mock(side_effect=AssertionError))
    monkeypatch.setattr(reconcile, "compile_tables", Mock(side_effect=AssertionError))
    bench.now += VERIFY_SECONDS + 0.1
    assert not bench.reconciler.round(three_services()).drift


def test_a_verdict_is_applied_without_working_out_everything_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    for _ in range(2):
        bench.reconciler.round(three_services())
    anew = Bench()
    monkeypatch.setattr(reconcile, "resolve", Mock(side_effect=AssertionError))
    monkeypatch.setattr(reconcile, "compile_tables", Mock(side_effect=AssertionError))
    bench.maps.steps.clear()
    for number, down in enumerate(((2,), (1, 2), (), (3,)), start=2):
        done = bench.reconciler.round(three_services(number, *down))
        assert (done.error, done.desired.revision) == ("", number)
    assert [step.table for step in bench.maps.steps] == [Table.RINGS] * 4
    monkeypatch.undo()
    for down in ((), (3,)):
        anew.reconciler.round(three_services(5, *down))
    assert dump(bench.maps.tables) == dump(anew.maps.tables)


def test_a_verdict_is_applied_without_asking_about_the_network_when_nothing_happened_to_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench()
    for _ in range(2):
        bench.reconciler.round(three_services())
    for port, name in ((FakeLinks, "interfaces"), (FakeLinks, "ensure_attached"), (FakeNeighbours, "table")):
        monkeypatch.setattr(port, name, Mock(side_effect=AssertionError(name)))
    assert where(bench.maps.tables, CLIENT).reason is Reason.FORWARDED
    done = bench.reconciler.round(three_services(2, 1, 2), same_network=True)
    assert (done.error, done.desired.revision, done.summary.count("ring 1")) == ("", 2, 1)
    assert not bench.reconciler.round(three_services(2, 1, 2), same_network=True).summary
    monkeypatch.undo()
    anew = Bench()
    for _ in range(2):
        anew.reconciler.round(three_services(2, 1, 2))
    assert dump(bench.maps.tables) == dump(anew.maps.tables)
    assert not bench.reconciler.round(three_services(2, 1, 2)).summary


@pytest.mark.parametrize("down", [(1, 2, 3), ()], ids=["the last service goes", "another vserver comes"])
def test_more_than_a_verdict_asks_about_the_network_all_the_same(down: tuple[int, ...]) -> None:
    bench = Bench()
    for _ in range(2):
        bench.reconciler.round(three_services())
    wanted = three_services(2, *down)
    if not down:
        other = replace(wanted.vservers[0], config_id=77, port=81, name="other")
        wanted = replace(wanted, vservers=(*wanted.vservers, other))
    bench.reconciler.round(wanted, same_network=True)
    anew = Bench()
    anew.reconciler.round(three_services())
    anew.reconciler.round(wanted)
    assert dump(bench.maps.tables) == dump(anew.maps.tables)


def test_a_small_change_that_was_refused_is_made_up_for() -> None:
    bench = Bench()
    for _ in range(2):
        bench.reconciler.round(three_services())
    put, bench.maps.apply = bench.maps.apply, Mock(side_effect=OSError(errno.ENOMEM, "no memory"))  # type: ignore[method-assign] # the next step is refused
    assert bench.reconciler.round(three_services(2, 1)).error.startswith("step 1 of 1: ring 1")
    bench.maps.apply = put  # type: ignore[method-assign] # all is well again
    done = bench.reconciler.round(three_services(2, 1))
    assert done.error == ""
    assert "ring 1" in done.summary


def test_news_does_not_wait_for_a_look_at_the_maps_that_the_next_round_takes() -> None:
    bench = Bench()
    for _ in range(2):
        bench.reconciler.round(three_services())
    bench.maps.tables.vips.clear()
    bench.now += VERIFY_SECONDS + 0.1
    done = bench.reconciler.round(three_services(2, 1))
    assert not done.drift
    assert "ring 1" in done.summary
    assert bench.reconciler.round(three_services(2, 1)).drift
    assert bench.maps.tables.vips


def test_with_news_all_the_time_drift_is_found_all_the_same() -> None:
    bench = Bench()
    for _ in range(2):
        bench.reconciler.round(three_services())
    bench.maps.tables.vips.clear()
    found = []
    for number in range(9):
        bench.now += VERIFY_SECONDS / 4
        found.append(bench.reconciler.round(three_services(2 + number, 1 + number % 2)).drift)
    assert found.count(True) == 1


def test_a_small_change_after_drift_mends_the_drift_too() -> None:
    bench = Bench()
    for _ in range(2):
        bench.reconciler.round(three_services())
    bench.maps.tables.vips.clear()
    bench.now += 2 * VERIFY_SECONDS + 0.1
    done = bench.reconciler.round(three_services(2, 1))
    assert done.drift
    assert bench.maps.tables.vips
    assert not bench.reconciler.round(three_services(2, 1)).summary


def test_a_neighbour_that_failed_is_taken_out_at_once() -> None:
    bench = Bench()
    bench.reconciler.round(three_services())
    bench.neighbours.silent.add((2, SERVERS[0]))
    done = bench.reconciler.round(three_services())
    assert "does not answer ARP" in done.desired.vservers[0].services[0].reason


def test_drift_is_found_repaired_and_told() -> None:
    bench = Bench()
    bench.reconciler.round(three_services())
    before = dump(bench.maps.tables)
    bench.maps.tables.vips.clear()
    bench.now += VERIFY_SECONDS + 0.1
    done = bench.reconciler.round(three_services())
    assert done.drift
    assert dump(bench.maps.tables) == before


def test_a_detached_filter_is_attached_again() -> None:
    bench = Bench()
    bench.reconciler.round(three_services())
    bench.links.attached.clear()
    assert "attached to ifindex 2" in bench.reconciler.round(three_services()).summary
    assert bench.links.attached == {2}


class OnceRefusing(FakeMaps):
    """Refuses the third step, once."""

    def apply(self, step: Step) -> None:
        if len(self.steps) == 2 and not hasattr(self, "refused"):
            self.refused = True
            raise OSError(errno.E2BIG, "Argument list too long")
        super().apply(step)


def test_a_refused_step_is_told_and_made_up_for_in_the_next_round() -> None:
    bench = Bench(maps=OnceRefusing())
    done = bench.reconciler.round(three_services())
    assert done.error.startswith("step 3 of ")
    assert bench.links.announced == []
    done = bench.reconciler.round(three_services())
    assert done.error == ""
    assert where(bench.maps.tables, CLIENT).reason is Reason.FORWARDED


def test_a_new_vip_is_announced_twice_and_an_old_one_never_again() -> None:
    bench = Bench()
    for _ in range(3):
        bench.reconciler.round(three_services())
    assert bench.links.announced == [(2, VIP), (2, VIP)]


def test_a_vip_that_went_away_is_not_announced_again() -> None:
    bench = Bench()
    bench.reconciler.round(three_services())
    bench.reconciler.round(configuration(revision=2))
    assert bench.links.announced == [(2, VIP)]
    assert bench.maps.tables.vips == {}


def test_a_configuration_that_does_not_compile_leaves_what_runs_as_it_is() -> None:
    bench = Bench()
    bench.reconciler.round(three_services())
    before = dump(bench.maps.tables)
    twice = configuration(vserver(1, service(1, "10.77.0.21")), vserver(2, service(2, "10.77.0.22")), revision=7)
    done = bench.reconciler.round(twice)
    assert done.error.startswith("Configuration 7 cannot be applied")
    assert dump(bench.maps.tables) == before


def test_counters_of_a_new_object_start_at_zero() -> None:
    bench = Bench()
    for number in range(1, 4):
        bench.maps.vserver_counts[number] = Count(5, 500)
    bench.reconciler.round(three_services())
    assert set(bench.maps.counters().vservers.values()) == {Count()}
    bench.maps.send(CLIENT)
    bench.reconciler.round(three_services(2, 1))
    assert [count.packets for count in bench.maps.counters().vservers.values()] == [1]


def test_servers_of_no_vserver_are_looked_for_too() -> None:
    bench = Bench()
    done = bench.reconciler.round(configuration(servers=(SERVERS[0], ip_address("192.0.2.1"))))
    paths = dict(done.desired.servers)
    assert paths[SERVERS[0]].mac == mac_of(SERVERS[0])
    assert "outside every subnet" in paths[ip_address("192.0.2.1")].reason


def test_an_interface_that_is_down_is_not_attached() -> None:
    bench = Bench()
    bench.links.set_up(2, up=False)
    done = bench.reconciler.round(three_services())
    assert bench.links.attached == set()
    assert "is down" in done.desired.vservers[0].services[0].reason


def test_a_probe_device_that_cannot_be_made_holds_up_no_traffic(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    refused = Mock(side_effect=OSError(errno.EOPNOTSUPP, "Operation not supported"))
    monkeypatch.setattr(FakeLinks, "ensure_probe_device", refused)
    done = bench.reconciler.round(three_services())
    assert done.error == "health checks cannot be sent: [Errno 95] Operation not supported"
    assert where(bench.maps.tables, CLIENT).reason is Reason.FORWARDED


def test_what_the_kernel_cannot_be_asked_is_raised() -> None:
    class Gone(FakeMaps):
        def read(self) -> Tables:
            raise OSError(errno.ENODEV, "No such device")

    with pytest.raises(OSError, match="No such device"):
        Bench(maps=Gone()).reconciler.round(three_services())


# XDP or tc


def modes_in_use(bench: Bench) -> dict[int, str]:
    return {index: str(found.mode) for index, found in bench.reconciler.forwarding.items()}


def test_the_mode_and_the_interfaces_of_services_reach_the_kernel_and_come_back() -> None:
    bench = Bench()
    bench.links.xdp_capable = {2}
    bench.reconciler.round(replace(three_services(), mode=Mode.XDP))
    assert bench.links.wishes == [Wish(Mode.XDP, frozenset([2]))]
    assert modes_in_use(bench) == {2: "xdp"}
    bench.reconciler.round(replace(three_services(2), mode=Mode.TC), same_network=True)
    assert bench.links.wishes[-1].mode is Mode.TC
    assert modes_in_use(bench) == {2: "tc"}


def test_before_a_service_gets_another_interface_tc_takes_over_where_xdp_could_not_send_there() -> None:
    bench = Bench()
    bench.links.add(3, "eth1", bytes.fromhex("020000000003"), "10.88.0.2/24")
    bench.reconciler.wanted_interfaces = None
    bench.links.xdp_capable = {2}
    far = ip_address("10.88.0.21")
    bench.neighbours.hosts[3, far] = mac_of(SERVERS[0])
    bench.reconciler.round(configuration(vserver(1, service(1, str(SERVERS[0])))))
    assert modes_in_use(bench) == {2: "xdp", 3: "tc"}
    moved = configuration(vserver(1, service(1, str(SERVERS[0])), service(2, str(far))), revision=2)
    bench.reconciler.round(moved)  # which only asks for the new server's MAC
    bench.links.wishes.clear()
    at_first_wish: list[set[int]] = []
    ensure = bench.links.ensure_modes

    def watched(self: FakeLinks, ifindexes: Collection[int], wish: Wish) -> tuple[list[str], Mapping[int, Forwarding]]:
        at_first_wish.append({entry.ifindex for entry in bench.maps.tables.services.values()})
        del self
        return ensure(ifindexes, wish)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FakeLinks, "ensure_modes", watched)
        bench.reconciler.round(moved)
    assert [wish.egress for wish in bench.links.wishes] == [frozenset([2, 3])] * 2
    assert at_first_wish == [{2}, {2, 3}]
    assert modes_in_use(bench) == {2: "tc", 3: "tc"}
