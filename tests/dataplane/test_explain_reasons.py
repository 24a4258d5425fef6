"""From a run to its explanation: the one reason among all counters that moved, and who is right in doubt."""

from __future__ import annotations

import json
import struct
from collections.abc import Collection
from dataclasses import replace
from ipaddress import ip_address

import pytest

from dataplane.explain import DROP, PASS, REDIRECT, Explanation, Ran, Stages, conclude, fingerprint, kind_of, predict
from dataplane.explain_query import build_frame, parse_query
from dataplane.plan import plan
from dataplane.plan_text import describe
from dataplane.ports import Interface
from dataplane.tables import (
    RING_SLOTS,
    ForwarderSettings,
    HashField,
    Reason,
    ServiceEntry,
    SettingFlag,
    Tables,
    VipFlag,
    VServerEntry,
    VServerFlag,
    VServerKey,
)

VIP, CLIENT = "198.51.100.80", "192.0.2.1"
OWN, EGRESS = bytes.fromhex("02aa00000001"), bytes.fromhex("02bb00000001")
ETH0 = Interface(7, "eth0", OWN, up=True, addresses=())
ETH1 = Interface(8, "eth1", EGRESS, up=True, addresses=())
FULL = ip_address("255.255.255.255")


def mac(service: int) -> bytes:
    return bytes.fromhex("025e00000000")[:5] + bytes([service])


NO_RULES = SettingFlag(0)


def tables(flags: SettingFlag = NO_RULES) -> Tables:
    """TCP port 80 over services 1 and 2 in turn; 3 has the server of 1."""
    made = Tables(ForwarderSettings(b"k" * 16, flags=flags))
    made.vips[ip_address(VIP)] = VipFlag.ANSWER | VipFlag.PROTO_PORT
    made.vservers[VServerKey(ip_address(VIP), 6, 80)] = VServerEntry(1, 11, HashField.SOURCE, FULL)
    made.rings[1] = struct.pack(f"<{RING_SLOTS}H", *(1 + slot % 2 for slot in range(RING_SLOTS)))
    for number in (1, 2):
        made.services[number] = ServiceEntry(20 + number, 8, mac(number), EGRESS)
    made.services[3] = ServiceEntry(23, 8, mac(1), EGRESS)
    return made


FRAME = build_frame(parse_query(CLIENT, VIP), OWN)


def explained(verdict: str, result: bytes, moved: Collection[Reason], frame: bytes = FRAME) -> Explanation:
    ran = Ran(verdict, result, frozenset(moved))
    return conclude(frame, Stages(ran), tables(), interface=ETH0, interfaces=(ETH0, ETH1))


def chosen() -> int:
    """The service of CLIENT by the tables."""
    return predict(tables(), FRAME, OWN).service_id


def forwarded(service: int) -> bytes:
    return mac(service) + EGRESS + FRAME[12:]


def test_a_forwarded_frame_needs_no_luck_with_counters() -> None:
    found = explained(REDIRECT, forwarded(chosen()), list(Reason))
    assert (found.reasons, found.agrees, found.service_ids) == ((Reason.FORWARDED,), True, (chosen(),))
    assert (found.egress, found.key_fingerprint) == ("eth1", fingerprint(b"k" * 16))
    assert found.key_fingerprint in describe(plan(tables(), Tables()), Tables())  # the same as in plans
    assert "row 11 (198.51.100.80 TCP port 80; kernel id 1)" in found.text()
    assert json.loads(json.dumps(found.as_dict()))["reason"] == "FORWARDED"


def test_counters_of_another_verdict_are_no_reason() -> None:
    other = build_frame(parse_query(CLIENT, VIP, "tcp", "", "81"), OWN)
    found = explained(DROP, other, [Reason.FORWARDED, Reason.PASS_NOT_VIP, Reason.DROP_NO_VSERVER], other)
    assert (found.reasons, found.agrees) == ((Reason.DROP_NO_VSERVER,), True)


def test_of_several_that_fit_the_tables_choose() -> None:
    other = build_frame(parse_query(CLIENT, VIP, "tcp", "", "81"), OWN)
    moved = [Reason.DROP_NO_VSERVER, Reason.DROP_TTL]
    assert explained(DROP, other, moved, other).reasons == (Reason.DROP_NO_VSERVER,)
    unknown = explained(DROP, FRAME, moved)
    assert unknown.reasons == tuple(moved)
    assert unknown.agrees is False
    assert unknown.as_dict()["reason"] is None
    assert "drop no vserver or drop ttl" in unknown.text()
    assert any("ask again" in note for note in unknown.notes)


def test_the_programs_word_counts_and_disagreement_is_said() -> None:
    other = 3 - chosen()
    found = explained(REDIRECT, forwarded(other), [Reason.FORWARDED])
    assert found.agrees is False
    assert other in found.service_ids
    assert chosen() not in found.service_ids
    assert any(f"FORWARDED to service {chosen()}, by slot {found.slot} of" in note for note in found.notes)
    dropped = explained(DROP, FRAME, [Reason.DROP_TABLE])
    assert (dropped.reasons, dropped.agrees, dropped.services) == ((Reason.DROP_TABLE,), False, {})


def test_services_of_one_server_are_told_apart_by_the_slot_or_the_ring() -> None:
    found = explained(REDIRECT, forwarded(1), [Reason.FORWARDED])
    assert found.service_ids == (1,)  # 3 has the same MAC, but no slot


def test_counters_set_to_zero_meanwhile_leave_no_reason() -> None:
    found = explained(DROP, FRAME, [])
    assert found.reasons == ()
    assert "reason unknown" in found.text()


@pytest.mark.parametrize(("hops", "reason"), [(2, Reason.FORWARDED), (1, Reason.DROP_TTL), (0, Reason.DROP_TTL)])
def test_the_ttl_rule_is_predicted(hops: int, reason: Reason) -> None:
    frame = FRAME[:22] + bytes([hops]) + FRAME[23:]
    assert predict(tables(SettingFlag.TTL), frame, OWN).reason is reason
    assert predict(tables(), frame, OWN).reason is Reason.FORWARDED


def test_every_reason_has_a_verdict() -> None:
    assert {kind_of(reason) for reason in Reason} == {PASS, DROP, REDIRECT}
    assert kind_of(Reason.FORWARDED) == kind_of(Reason.ARP_ANSWERED) == REDIRECT


def test_a_vserver_that_remembers_is_not_compared_and_a_slot_that_did_not_decide_not_shown() -> None:
    made = tables()
    key, entry = next(iter(made.vservers.items()))
    made.vservers[key] = replace(entry, flags=VServerFlag.SESSIONS)
    for service in (1, 2):
        ran = Ran(REDIRECT, forwarded(service), frozenset({Reason.FORWARDED}))
        found = conclude(FRAME, Stages(ran), made, interface=ETH0, interfaces=(ETH0, ETH1))
        assert (found.agrees, found.service_ids) == (None, (service,))
        assert (found.slot is None) == (service != chosen())
        assert any("remembers flows or clients" in note for note in found.notes)
