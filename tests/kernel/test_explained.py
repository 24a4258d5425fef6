"""The console's computed answer against the loaded forwarder: random clients, rows as the worker writes them."""

from __future__ import annotations

import random
from ipaddress import ip_address, ip_interface

import pytest

from dataplane import report, snapshot
from dataplane.apply import apply
from dataplane.compile import compile_tables
from dataplane.desired import resolve
from dataplane.explain_query import Query, build_frame
from dataplane.kernel.explain import ReadOnlyMaps, explain
from dataplane.plan import plan
from dataplane.ports import Interface, Neighbour
from dataplane.tables import Reason, Tables
from tests import factories
from tests.kernel.bench import EGRESS_MAC, OWN_MAC, Bench, inside
from webui import explained
from webui.actions import vservers
from webui.models import Server, Service, VServer

pytestmark = [pytest.mark.kernel, pytest.mark.django_db]

DIRECTOR = "director1"
CLIENTS = 40  # of each virtual server
VIP4, VIP6 = "203.0.113.80", "2001:db8:80::80"


def _configuration() -> None:
    """Methods, masks, weights, families and ports that choose differently; one server is out of reach, one disabled."""
    any4 = [factories.service(factories.server(number)) for number in range(1, 6)]
    web = [factories.service(one.server, name=f"web{one.pk}", service_type="TCP", port=80) for one in any4[:3]]
    ipv6 = [factories.service(factories.server(number, address=f"2001:db8:7::{number}")) for number in range(11, 15)]
    every = factories.vserver(name="every", address=VIP4, netmask="255.255.255.0")
    for number, one in enumerate(any4):
        vservers.bind_service(factories.SYSTEM, every, one, weight=10 + 7 * number)
    factories.vserver(*web, name="web", address=VIP4, service_type="TCP", port=80, lb_method="SRCIPSRCPORTHASH")
    factories.vserver(*ipv6, name="six", address=VIP6, lb_method="SRCIPDESTIPHASH", v6_netmask_len=64)
    factories.vserver(name="empty", address=VIP4, service_type="UDP", port=53)
    factories.vserver(*any4[3:], name="range", address=VIP4, service_type="TCP", port=8000, port_end=8100)
    factories.vserver(name="rejects", address=VIP4, service_type="TCP", port=9, when_down="REJECT")
    Service.objects.update(health_monitor=False)  # all are UP
    Service.objects.filter(pk=any4[1].pk).update(state="DISABLED")


def _interfaces(bench: Bench) -> tuple[Interface, Interface]:
    clients = (ip_interface("198.51.100.1/24"),)
    servers = (ip_interface("10.77.0.2/24"), ip_interface("2001:db8:7::1/64"))
    return (
        Interface(bench.ifindex, "eth0", OWN_MAC, up=True, addresses=clients),
        Interface(1, "eth9", EGRESS_MAC, up=True, addresses=servers),
    )


def _run_worker(bench: Bench, interfaces: tuple[Interface, ...]) -> None:
    """What the worker does in a round: rows to maps, and the report of it to rows."""
    known = {
        (1, ip_address(server.address)): Neighbour(
            1, ip_address(server.address), bytes([2, 0xDD, 0, 0, 0, server.pk]), False
        )
        for server in Server.objects.exclude(name="Server3")  # which answers no ARP
    }
    (revision, _health), configuration = snapshot.read()
    desired = resolve(configuration, interfaces, known)
    observed = bench.maps.read()
    # Ids taken by others, so that the console, which knows no ids, gets different ones
    taken = Tables(services={}, vservers={}, rings=dict.fromkeys(range(1, 9), b""))
    done = apply(plan(compile_tables(desired, taken), observed), bench.maps)
    assert done.complete, done.error
    report.save_status(
        DIRECTOR,
        wanted_revision=revision,
        applied_revision=revision,
        interfaces=report.interface_rows(interfaces, frozenset({bench.ifindex}), {}),
    )
    report.save_paths(DIRECTOR, snapshot.server_addresses(), dict(desired.servers), interfaces)


def _questions(seed: int) -> list[Query]:
    """Packets of random clients to every virtual server, to ports of none, and to an address that is no VIP."""
    chance = random.Random(seed)
    found = []
    for destination, protocol, port in (
        (VIP4, 6, 80), (VIP4, 6, 443), (VIP4, 6, 8050), (VIP4, 6, 9),
        (VIP4, 17, 53), (VIP4, 132, 9), (VIP4, 47, 0), (VIP6, 6, 80), (VIP6, 17, 69),
        ("203.0.113.99", 6, 80),
    ):  # fmt: skip
        for _ in range(CLIENTS):
            to = ip_address(destination)
            source = ip_address(
                chance.randbytes(3).rjust(4, b"\x65") if to.version == 4 else b"\x20\x01" + chance.randbytes(14)
            )
            source_port = chance.randrange(1024, 65536) if port else 0
            found.append(Query(source, to, protocol, source_port, port))
    return found


def test_the_console_computes_what_the_loaded_program_does(bench: Bench) -> None:
    _configuration()
    interfaces = _interfaces(bench)
    _run_worker(bench, interfaces)
    (director,) = explained.directors()
    used: set[tuple[str, str]] = set()
    reasons = set()
    maps = ReadOnlyMaps(bench.forwarder.maps)
    for query in _questions(seed=16):
        computed = explained.explain(query, director)
        with inside(bench.namespace):
            asked = explain(query, maps, bench.forwarder.ingress_fd, interfaces, interface=interfaces[0])
        told = (computed.verdict, (computed.reason,), computed.slot)
        assert told == (asked.verdict, asked.reasons, asked.slot), query
        assert (computed.vserver.config_id if computed.vserver else 0) == (
            asked.vserver.config_id if asked.vserver else 0
        )
        before = build_frame(query, computed.interface.mac)
        after = bytes.fromhex((computed.new_destination_mac + computed.new_source_mac).replace(":", ""))
        if computed.reason is not Reason.REJECTED_RST:
            assert asked.result == (after + before[12:] if computed.service else before)
        (row,) = [entry.config_id for entry in asked.services.values()] or [0]
        assert (computed.service.config_id if computed.service else 0) == row
        assert computed.egress == asked.egress
        reasons.add(computed.reason)
        if computed.vserver and computed.service:
            used.add((computed.vserver.name, computed.service.name))
    assert reasons == {Reason.FORWARDED, Reason.DROP_NO_SERVICE, Reason.PASS_NOT_VIP, Reason.REJECTED_RST}
    assert {name for name, _ in used} == set(
        VServer.objects.exclude(name__in=["empty", "rejects"]).values_list("name", flat=True)
    )
    # Not Server2, which is disabled, and not Server3, which cannot be reached
    assert {service for name, service in used if name == "every"} == {f"service_Server{n}_ANY" for n in (1, 4, 5)}
    assert len([one for one in used if one[0] == "six"]) == 4


def test_of_a_ping_the_console_does_not_claim_to_know(bench: Bench) -> None:
    _configuration()
    interfaces = _interfaces(bench)
    _run_worker(bench, interfaces)
    (director,) = explained.directors()
    query = Query(ip_address("101.1.2.3"), ip_address(VIP4), 1)
    computed = explained.explain(query, director)
    assert computed.unsure
    assert any("Not certain" in note for note in explained.notes(computed))
