"""Explain against the loaded forwarder: every kind of answer, under traffic too, and from the command line."""

from __future__ import annotations

import json
import struct
import threading
from collections.abc import Iterator
from io import StringIO
from ipaddress import ip_address, ip_interface
from pathlib import Path

import pytest
from django.conf import settings as configured
from django.core.management import call_command
from django.core.management.base import CommandError
from pyroute2 import IPRoute

from dataplane.explain import Explanation, Names, ServiceName
from dataplane.explain_query import frame_query, parse_query
from dataplane.kernel.explain import ReadOnlyMaps, explain, open_loaded, open_maps
from dataplane.kernel.filters import INGRESS_PARENT, ensure_filter
from dataplane.kernel.libbpf import run_program
from dataplane.ports import Interface
from dataplane.steps import Put, Table
from dataplane.tables import RING_SLOTS, ForwarderSettings, HashField, ProbeInKey, Reason, ServiceEntry, VServerKey
from tests import factories
from tests import packets as p
from tests.kernel.bench import EGRESS_MAC, OWN_MAC, Bench, inside, run, service_mac, whole_ring

pytestmark = pytest.mark.kernel

VIPS = {4: "203.0.113.80", 6: "2001:db8:80::80"}
CLIENTS = {4: "198.51.100.7", 6: "2001:db8:1::7"}
CLIENT_MAC = bytes.fromhex("02cc00000001")
NAMES = Names(
    {101: "web", 102: "anything"}, {number: ServiceName(f"svc{number}", "s", "10.0.0.1") for number in (1, 2)}
)


def here(bench: Bench) -> Interface:
    return Interface(bench.ifindex, "eth0", OWN_MAC, up=True, addresses=(ip_interface("198.51.100.1/24"),))


def ask(bench: Bench, source: str, destination: str, *rest: str) -> Explanation:
    return ask_frame(bench, b"", source, destination, *rest)


def ask_frame(bench: Bench, frame: bytes, *values: str) -> Explanation:
    query = frame_query(frame) if frame else parse_query(*values)
    elsewhere = Interface(1, "eth9", EGRESS_MAC, up=True, addresses=())
    with inside(bench.namespace):
        maps = ReadOnlyMaps(bench.forwarder.maps)
        return explain(query, maps, bench.forwarder.ingress_fd, (here(bench), elsewhere), names=NAMES)


def add_web(bench: Bench, version: int, fields: HashField = HashField.SOURCE) -> VServerKey:
    """TCP port 80 over services 1 and 2, half of the ring each, in turn."""
    key = VServerKey(ip_address(VIPS[version]), 6, 80)
    ring = struct.pack(f"<{RING_SLOTS}H", *(1 + slot % 2 for slot in range(RING_SLOTS)))
    bench.add_vserver(key, 1, ring, fields=fields)
    return key


@pytest.mark.parametrize("version", [4, 6])
def test_a_forwarded_connection_is_told_from_vserver_to_egress(bench: Bench, version: int) -> None:
    key = add_web(bench, version)
    found = ask(bench, CLIENTS[version], VIPS[version], "tcp", "1234", "80")
    assert (found.verdict, found.reasons, found.agrees) == ("redirect", (Reason.FORWARDED,), True)
    assert (found.vserver_key, found.vserver_name, found.method) == (key, "web", "SOURCEIPHASH")
    assert found.slot is not None
    service = 1 + found.slot % 2
    assert found.service_ids == (service,)
    assert found.result == service_mac(service) + EGRESS_MAC + found.frame[12:]
    assert found.frame[:6] == OWN_MAC
    assert found.egress == "eth9"
    text = found.text()
    for part in ("vserver      web (", "SOURCEIPHASH", f"slot         {found.slot} of", f"svc{service} on server s"):
        assert part in text
    plain = json.loads(json.dumps(found.as_dict()))
    assert plain["services"][0]["mac"] == service_mac(service).hex(":")
    assert (plain["reason"], plain["agrees"]) == ("FORWARDED", True)
    assert plain["after"] == found.result.hex()


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("protocol", ["tcp", "udp", "sctp", "dccp", "udplite", "50"])
@pytest.mark.parametrize("fields", list(map(HashField, range(1, 8))))
def test_program_and_tables_agree_for_every_method_and_protocol(
    bench: Bench, version: int, protocol: str, fields: HashField
) -> None:
    key = VServerKey(ip_address(VIPS[version]), 0, 0)
    ring = struct.pack(f"<{RING_SLOTS}H", *(1 + slot % 9 for slot in range(RING_SLOTS)))
    bench.add_vserver(key, 2, ring, fields=fields)
    for host in range(1, 6):
        client = CLIENTS[version][:-1] + str(host)
        ports = () if protocol == "50" else (str(1000 + host), "443")
        found = ask(bench, client, VIPS[version], protocol, *ports)
        assert (found.reasons, found.agrees) == ((Reason.FORWARDED,), True)
        assert found.slot is not None
        assert found.service_ids == (1 + found.slot % 9,)


def test_a_question_counts_as_one_packet_and_writes_nothing_else(bench: Bench) -> None:
    add_web(bench, 4)
    tables, generation = bench.maps.read(), bench.forwarder.maps["generation"].lookup(bytes(4))
    before = bench.maps.counters()
    found = ask(bench, CLIENTS[4], VIPS[4])
    after = bench.maps.counters()
    assert after.vservers[1].packets == before.vservers[1].packets + 1
    assert after.vservers[1].bytes == before.vservers[1].bytes + len(found.frame)
    assert sum(count.packets for count in after.reasons.values()) == 1 + sum(
        count.packets for count in before.reasons.values()
    )
    assert bench.maps.read() == tables
    assert bench.forwarder.maps["generation"].lookup(bytes(4)) == generation


def ip_frame(
    version: int, payload: bytes, protocol: int = p.TCP, mac: bytes = OWN_MAC, source_mac: bytes = CLIENT_MAC
) -> bytes:
    kind, build = (p.IPV4, p.ipv4) if version == 4 else (p.IPV6, p.ipv6)
    return p.ethernet(mac, source_mac, kind, build(CLIENTS[version], VIPS[version], protocol, payload))


def tcp(port: int, version: int = 4) -> bytes:
    return p.tcp(CLIENTS[version], VIPS[version], (1234, port))


REASONS = {
    "another port": (ip_frame(4, tcp(81)), Reason.DROP_NO_VSERVER),
    "another port, IPv6": (ip_frame(6, tcp(81, 6)), Reason.DROP_NO_VSERVER),
    "another MAC": (ip_frame(4, tcp(80), mac=EGRESS_MAC), Reason.PASS_NOT_TO_US),
    "another address": (
        p.ethernet(OWN_MAC, CLIENT_MAC, p.IPV4, p.ipv4(CLIENTS[4], "203.0.113.81", p.TCP, tcp(80))),
        Reason.PASS_NOT_VIP,
    ),
    "not IP": (p.ethernet(OWN_MAC, CLIENT_MAC, 0x88CC, bytes(50)), Reason.PASS_NOT_IP),
    "IP version 5": (ip_frame(4, tcp(80)).replace(b"\x08\x00\x45", b"\x08\x00\x55", 1), Reason.PASS_MALFORMED),
    "short packet": (ip_frame(4, tcp(80))[:36], Reason.DROP_MALFORMED),
    "short packet, IPv6": (ip_frame(6, tcp(80, 6))[:56], Reason.DROP_MALFORMED),
}


@pytest.mark.parametrize("name", REASONS)
def test_other_fates_have_their_reason_and_agree_with_the_tables(bench: Bench, name: str) -> None:
    add_web(bench, 4)
    if "IPv6" in name:
        add_web(bench, 6)
    frame, reason = REASONS[name]
    found = ask_frame(bench, frame)
    assert (found.reasons, found.agrees) == ((reason,), True), found.text()
    assert found.verdict == ("pass" if reason.name.startswith("PASS") else "drop")
    assert found.result == found.frame == frame
    assert found.services == {}


def test_a_ring_without_services_is_told(bench: Bench) -> None:
    key = VServerKey(ip_address(VIPS[4]), 6, 80)
    bench.add_vserver(key, 1, whole_ring(0))
    found = ask(bench, CLIENTS[4], VIPS[4])
    assert (found.reasons, found.agrees) == ((Reason.DROP_NO_SERVICE,), True)
    assert found.vserver_name == "web"


def test_a_service_with_the_directors_own_mac_and_a_client_with_the_servers_are_told(bench: Bench) -> None:
    add_web(bench, 4)
    bench.put(Table.RINGS, 1, whole_ring(3))
    assert ask_frame(bench, ip_frame(4, tcp(80), source_mac=service_mac(3))).reasons == (Reason.DROP_LOOP,)
    assert ask_frame(bench, ip_frame(4, tcp(80), source_mac=OWN_MAC)).reasons == (Reason.DROP_LOOP,)
    bench.put(Table.SERVICES, 3, ServiceEntry(3, 1, EGRESS_MAC, EGRESS_MAC))
    found = ask_frame(bench, ip_frame(4, tcp(80)))
    assert (found.reasons, found.agrees) == ((Reason.DROP_OWN_MAC,), True)


def test_the_answer_to_a_probe_is_told(bench: Bench) -> None:
    bench.put(Table.SETTINGS, 0, ForwarderSettings(bytes(range(16)), bench.ifindex, OWN_MAC))
    bench.put(Table.PROBES_IN, ProbeInKey(ip_address(CLIENTS[4]), CLIENT_MAC), ip_address("198.18.0.1"))
    found = ask_frame(bench, ip_frame(4, tcp(80)))
    assert (found.reasons, found.agrees) == ((Reason.PROBE_ANSWERED,), True)


def test_fragments_tags_and_pings_are_answered_by_the_program_alone(bench: Bench) -> None:
    add_web(bench, 4)
    packet = p.ipv4(CLIENTS[4], VIPS[4], p.TCP, tcp(80), more=True)
    tagged = p.ethernet(OWN_MAC, CLIENT_MAC, p.VLAN, struct.pack(">HH", 7, p.IPV4) + packet)
    for frame in (p.ethernet(OWN_MAC, CLIENT_MAC, p.IPV4, packet), tagged, ip_frame(4, p.icmp(8, bytes(8)), p.ICMP)):
        found = ask_frame(bench, frame)
        assert found.agrees is None
        assert len(found.reasons) == 1
        assert any(note.startswith("Not compared with the tables") for note in found.notes)


def test_disagreement_is_said(bench: Bench) -> None:
    """A program that works on other tables than those that are read."""
    add_web(bench, 4)
    bench.put(Table.RINGS, 1, whole_ring(1))

    class Wrong(ReadOnlyMaps):
        def read(self):  # type: ignore[no-untyped-def]  # a stand-in for one test
            tables = super().read()
            tables.rings[1] = whole_ring(2)
            return tables

    with inside(bench.namespace):
        found = explain(
            parse_query(CLIENTS[4], VIPS[4]),
            Wrong(bench.forwarder.maps),
            bench.forwarder.ingress_fd,
            (here(bench),),
        )
    assert found.agrees is False
    assert found.service_ids == (1,)  # the program's word counts
    assert found.egress == "interface 1"
    assert "DISAGREE" in found.text()
    assert any("FORWARDED to service 2" in note for note in found.notes)


def test_other_traffic_does_not_mislead(bench: Bench) -> None:
    """While other frames are forwarded, dropped and passed, each answer still has its one reason."""
    add_web(bench, 4)
    stop = threading.Event()
    others = [frame for frame, _ in REASONS.values()] + [ip_frame(4, tcp(80))]
    context = bytearray(192)
    struct.pack_into("=I", context, 40, bench.ifindex)

    def traffic() -> None:
        with inside(bench.namespace):
            while not stop.wait(0.0005):
                for frame in others:
                    run_program(bench.forwarder.ingress_fd, frame, bytes(context))

    thread = threading.Thread(target=traffic)
    thread.start()
    try:
        for _ in range(30):
            for name in ("another port", "another MAC", "not IP", "IP version 5"):
                frame, reason = REASONS[name]
                assert ask_frame(bench, frame).reasons == (reason,)
            assert ask(bench, CLIENTS[4], VIPS[4]).reasons == (Reason.FORWARDED,)
    finally:
        stop.set()
        thread.join()


def test_maps_are_opened_for_reading_alone(bench: Bench) -> None:
    maps = open_maps(bench.forwarder.folder)
    try:
        assert maps.keys() == bench.forwarder.maps.keys()
        with pytest.raises(PermissionError):
            maps["settings"].update(bytes(4), bytes(maps["settings"].value_size))
        assert ReadOnlyMaps(maps).read() == bench.maps.read()
        assert ReadOnlyMaps(maps).reasons() == bench.maps.reasons()
    finally:
        for opened in maps.values():
            opened.close()


@pytest.fixture
def attached(bench: Bench) -> Iterator[str]:
    """The bench's program as the filter of eth0, as the worker attaches it."""
    name = bench.namespace
    pinned = str(bench.forwarder.folder / "hp_ingress")
    run("ip", "-n", name, "addr", "add", "198.51.100.1/24", "dev", "eth0")
    run("ip", "-n", name, "link", "add", "eth7", "type", "veth", "peer", "name", "eth8")
    filtered = ("dev", "eth0", "ingress")
    run("tc", "-n", name, "qdisc", "add", "dev", "eth0", "clsact")
    try:
        with inside(name), IPRoute() as ip:
            ensure_filter(ip, bench.ifindex, INGRESS_PARENT, bench.forwarder.ingress_fd, "hp_ingress")
        assert "hp_ingress" in run("tc", "-n", name, "filter", "show", *filtered)
        yield pinned
    finally:
        run("tc", "-n", name, "qdisc", "del", "dev", "eth0", "clsact")
        run("ip", "-n", name, "link", "del", "eth7")
        run("ip", "-n", name, "addr", "del", "198.51.100.1/24", "dev", "eth0")


def test_the_attached_program_is_found_and_an_unattached_interface_said(bench: Bench, attached: str) -> None:
    pin_dir = bench.forwarder.folder.parent
    with inside(bench.namespace):
        with open_loaded(pin_dir) as loaded:
            assert (loaded.interface.name, loaded.notes) == ("eth0", ())
        with open_loaded(pin_dir, "eth7") as loaded:
            assert loaded.interface.name == "eth7"
            assert "not attached to eth7" in loaded.notes[0]
        with (
            pytest.raises(OSError, match=r"interface 'eth5' is no Ethernet interface .* it has .*eth0"),
            open_loaded(pin_dir, "eth5"),
        ):
            pass
        with pytest.raises(OSError, match="no forwarder is pinned under"), open_loaded(pin_dir / "none"):
            pass


@pytest.mark.django_db(transaction=True)
def test_the_command_tells_names_and_refuses_nonsense(
    bench: Bench, attached: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(configured, "PIN_DIR", bench.forwarder.folder.parent)
    row = factories.vserver(service := factories.service())
    add_web(bench, 4)
    key = VServerKey(ip_address(VIPS[4]), 6, 80)
    entry = bench.maps.read().vservers[key]
    bench.maps.apply(Put(Table.VSERVERS, key, type(entry)(entry.vserver_id, row.pk, entry.hash_fields, entry.mask)))
    bench.put(Table.RINGS, 1, whole_ring(4))
    bench.put(Table.SERVICES, 4, ServiceEntry(service.pk, bench.ifindex, service_mac(4), EGRESS_MAC))

    def command(*arguments: str) -> str:
        out = StringIO()
        with inside(bench.namespace):
            call_command("explain", *arguments, stdout=out)
        return out.getvalue()

    text = command("--from", CLIENTS[4], "--to", VIPS[4])
    assert f"{row.name} (" in text
    assert f"{service.name} on server {service.server.name}, {service.server.address}" in text
    assert "egress       eth0" in text
    plain = json.loads(command("--frame", ip_frame(4, tcp(80)).hex(":"), "--json"))
    assert plain["vserver"]["name"] == row.name
    assert plain["services"][0]["server_address"] == service.server.address
    for arguments, message in {
        ("--from", "10.0.0.1"): "--from and --to: both are needed",
        ("--from", "ten", "--to", VIPS[4]): "from: 'ten': must be an IPv4 or IPv6 address",
        ("--from", "fd00::1", "--to", VIPS[4]): "from: 'fd00::1': must be IPv4",
        ("--from", CLIENTS[4], "--to", VIPS[4], "--dport", "70000"): "dport: '70000': must be a port number",
        ("--frame", "0g"): "frame: '0g': must be pairs of hexadecimal digits",
        ("--frame", "00"): "has 1 bytes",
        ("--frame", "00", "--from", "10.0.0.1"): "--frame: gives the whole frame",
        ("--pcap", str(tmp_path / "none")): "No such file",
        ("--from", CLIENTS[4], "--to", VIPS[4], "--interface", "eth5"): "no Ethernet interface",
    }.items():
        with pytest.raises(CommandError, match=message.replace("[", r"\[")):
            command(*arguments)


def test_without_root_the_command_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(CommandError, match="needs root: try sudo"):
        call_command("explain", "--from", CLIENTS[4], "--to", VIPS[4])
