"""Answers to ARP requests and neighbour solicitations, as whole frames."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from dataplane.steps import Delete, Table
from dataplane.tables import Count, Reason, VipFlag, VServerKey
from tests import packets as p
from tests.kernel.bench import OWN_MAC, Bench, Outcome, whole_ring

pytestmark = pytest.mark.kernel

ASKER_MAC = bytes.fromhex("02cc00000001")
ASKER, VIP, QUIET = "192.0.2.1", "192.0.2.80", "192.0.2.81"
ASKER6, VIP6, QUIET6 = "2001:db8::1", "2001:db8::80", "2001:db8::81"
ALL_NODES_MAC = bytes.fromhex("333300000001")
SOLICITED_AND_OVERRIDE, OVERRIDE = 0x60000000, 0x20000000
SOURCE_MAC_OPTION = b"\x01\x01" + ASKER_MAC


@pytest.fixture
def vips(bench: Bench) -> Bench:
    """VIP and VIP6 are answered for, QUIET and QUIET6 are not."""
    for address in (VIP, VIP6):
        bench.put(Table.VIPS, ip_address(address), VipFlag.ANSWER | VipFlag.PROTO_PORT)
    for address in (QUIET, QUIET6):
        bench.put(Table.VIPS, ip_address(address), VipFlag.PROTO_PORT)
    return bench


def passed(frame: bytes, reason: Reason) -> Outcome:
    return Outcome("pass", reason, frame, Count(1, len(frame)))


def request(sender: str, target: str, destination: bytes = p.BROADCAST) -> bytes:
    return p.ethernet(destination, ASKER_MAC, p.ARP, p.arp(1, ASKER_MAC, sender, bytes(6), target)) + bytes(18)


@pytest.mark.parametrize("sender", [ASKER, "0.0.0.0"], ids=["request", "conflict probe"])
@pytest.mark.parametrize("destination", [p.BROADCAST, OWN_MAC], ids=["broadcast", "unicast"])
def test_an_arp_request_for_a_vip_is_answered_in_place(vips: Bench, sender: str, destination: bytes) -> None:
    frame = request(sender, VIP, destination)
    answer = p.ethernet(ASKER_MAC, OWN_MAC, p.ARP, p.arp(2, OWN_MAC, VIP, ASKER_MAC, sender)) + bytes(18)
    assert vips.send(frame) == Outcome("redirect", Reason.ARP_ANSWERED, answer, Count(1, len(frame)))


def test_the_answer_goes_to_the_sender_that_arp_names_not_to_the_frames_source(vips: Bench) -> None:
    relay = bytes.fromhex("02ee00000001")
    frame = p.ethernet(p.BROADCAST, relay, p.ARP, p.arp(1, ASKER_MAC, ASKER, bytes(6), VIP))
    answer = p.ethernet(ASKER_MAC, OWN_MAC, p.ARP, p.arp(2, OWN_MAC, VIP, ASKER_MAC, ASKER))
    assert vips.send(frame).frame == answer


@pytest.mark.parametrize(
    "frame",
    [
        request(ASKER, "192.0.2.99"),
        request(ASKER, QUIET),
        request(VIP, VIP),
        p.ethernet(OWN_MAC, ASKER_MAC, p.ARP, p.arp(2, ASKER_MAC, ASKER, OWN_MAC, VIP)),
    ],
    ids=["other address", "VIP without ANSWER", "announcement", "reply"],
)
def test_other_arp_passes(vips: Bench, frame: bytes) -> None:
    assert vips.send(frame) == passed(frame, Reason.PASS_NOT_VIP)


def test_arp_of_another_shape_or_to_another_host_passes(vips: Bench) -> None:
    good = request(ASKER, VIP)
    for position, value in ((15, 6), (17, 1), (18, 8), (19, 16)):
        odd = good[:position] + bytes([value]) + good[position + 1 :]
        assert vips.send(odd) == passed(odd, Reason.PASS_MALFORMED)
    cut = good[: 14 + 27]
    assert vips.send(cut) == passed(cut, Reason.PASS_MALFORMED)
    elsewhere = request(ASKER, VIP, bytes.fromhex("02dd00000001"))
    assert vips.send(elsewhere) == passed(elsewhere, Reason.PASS_NOT_TO_US)


def test_a_broadcast_request_needs_the_interfaces_entry(vips: Bench) -> None:
    vips.maps.apply(Delete(Table.INTERFACES, vips.ifindex))
    assert vips.send(request(ASKER, VIP)).reason is Reason.DROP_TABLE
    assert vips.send(request(ASKER, VIP, OWN_MAC)).reason is Reason.ARP_ANSWERED


def solicit(source: str, target: str, options: bytes = b"", *, unicast: bool = False, padding: int = 0) -> bytes:
    group, group_mac = p.solicited_node(target)
    destination, mac = (target, OWN_MAC) if unicast else (group, group_mac)
    message = p.solicitation(source, destination, target, options)
    return p.ethernet(mac, ASKER_MAC, p.IPV6, p.ipv6(source, destination, p.ICMPV6, message, hops=255)) + bytes(padding)


def advertised(destination: str, mac: bytes, flags: int) -> bytes:
    message = p.advertisement(VIP6, destination, VIP6, OWN_MAC, flags)
    return p.ethernet(mac, OWN_MAC, p.IPV6, p.ipv6(VIP6, destination, p.ICMPV6, message, hops=255))


@pytest.mark.parametrize("unicast", [False, True], ids=["multicast", "unicast"])
@pytest.mark.parametrize(
    ("options", "padding"),
    [(SOURCE_MAC_OPTION, 0), (b"", 0), (b"\x0e\x01nonces", 0), (SOURCE_MAC_OPTION + b"\x0e\x01nonces", 0), (b"", 9)],
    ids=["source MAC", "none", "nonce", "both", "padded"],
)
def test_a_solicitation_for_a_vip_is_answered_whatever_its_length(
    vips: Bench, options: bytes, padding: int, *, unicast: bool
) -> None:
    frame = solicit(ASKER6, VIP6, options, unicast=unicast, padding=padding)
    done = vips.send(frame)
    assert (done.verdict, done.reason) == ("redirect", Reason.ND_ANSWERED)
    assert done.frame == advertised(ASKER6, ASKER_MAC, SOLICITED_AND_OVERRIDE)


def test_duplicate_address_detection_is_answered_to_all_nodes(vips: Bench) -> None:
    done = vips.send(solicit("::", VIP6))
    assert done.reason is Reason.ND_ANSWERED
    assert done.frame == advertised("ff02::1", ALL_NODES_MAC, OVERRIDE)


def odd_solicitations() -> dict[str, bytes]:
    group, mac = p.solicited_node(VIP6)
    message = p.solicitation(ASKER6, group, VIP6, SOURCE_MAC_OPTION)

    def frame(body: bytes, *, hops: int = 255, length: int | None = None, source: str = ASKER6) -> bytes:
        return p.ethernet(mac, ASKER_MAC, p.IPV6, p.ipv6(source, group, p.ICMPV6, body, hops=hops, length=length))

    return {
        "hop limit 254: from beyond the link": frame(message, hops=254),
        "code 1": frame(p.solicitation(ASKER6, group, VIP6, SOURCE_MAC_OPTION, code=1)),
        "option of length 0": frame(p.solicitation(ASKER6, group, VIP6, b"\x01\0" + ASKER_MAC)),
        "source MAC from ::": frame(p.solicitation("::", group, VIP6, SOURCE_MAC_OPTION), source="::"),
        "shorter than the message": frame(message[:20]),
        "payload length 8": frame(message, length=8),
        "advertisement": frame(p.advertisement(ASKER6, group, VIP6, ASKER_MAC, 0)),
        "other target": solicit(ASKER6, "2001:db8::99"),
        "VIP without ANSWER": solicit(ASKER6, QUIET6),
        "behind an extension header": p.ethernet(
            mac, ASKER_MAC, p.IPV6, p.ipv6(ASKER6, group, p.HOP_BY_HOP, p.extension(p.ICMPV6) + message, hops=255)
        ),
    }


@pytest.mark.parametrize("name", odd_solicitations())
def test_other_multicast_passes(vips: Bench, name: str) -> None:
    frame = odd_solicitations()[name]
    assert vips.send(frame) == passed(frame, Reason.PASS_NOT_TO_US)


def test_detection_sent_to_the_address_itself_is_not_answered(vips: Bench) -> None:
    frame = solicit("::", VIP6, unicast=True)
    assert vips.send(frame).reason is Reason.DROP_NO_VSERVER


def test_an_any_vserver_does_not_swallow_solicitations(vips: Bench) -> None:
    vips.add_vserver(VServerKey(ip_address(VIP6), 0, 0), 1, whole_ring(1))
    assert vips.send(solicit(ASKER6, VIP6, unicast=True)).reason is Reason.ND_ANSWERED
    ping = p.ipv6(ASKER6, VIP6, p.ICMPV6, p.icmpv6(ASKER6, VIP6, 128, b"ping"))
    assert vips.send(p.ethernet(OWN_MAC, ASKER_MAC, p.IPV6, ping)).reason is Reason.FORWARDED
