"""Who gets XDP and why not, and that no step on the way sends frames to where they cannot leave."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataplane.forwarding import Device, Forwarding, Mode, Wish, XdpFeature, obstacle, path_obstacle, summary
from dataplane.kernel import modes, xdp
from dataplane.kernel.libbpf import ProgramInfo
from dataplane.kernel.loader import Forwarder
from dataplane.kernel.modes import Modes

ABLE = XdpFeature.BASIC | XdpFeature.REDIRECT
FULL = ABLE | XdpFeature.NDO_XMIT
CARD = Device(2, "eth0", up=True, mtu=1500, driver="ixgbe", features=FULL)
OTHER = replace(CARD, ifindex=3, name="eth1")


@pytest.mark.parametrize(
    ("device", "mode", "words"),
    [
        (CARD, Mode.AUTO, ""),
        (CARD, Mode.XDP, ""),
        (CARD, Mode.TC, "the settings say tc"),
        (replace(CARD, features=None), Mode.AUTO, ""),
        (replace(CARD, features=XdpFeature(0), driver="tg3"), Mode.AUTO, "the driver tg3 has no native XDP"),
        (replace(CARD, features=XdpFeature(0), driver="tg3"), Mode.XDP, "the driver tg3 has no native XDP"),
        (replace(CARD, kind="veth", driver="veth"), Mode.AUTO, "veth is a virtual device"),
        (replace(CARD, kind="veth", driver="veth"), Mode.XDP, ""),
        (replace(CARD, driver="vif"), Mode.AUTO, "other Xen guests"),
        (replace(CARD, driver="virtio_net", features=ABLE), Mode.AUTO, ""),
        (replace(CARD, tags=("eth0.5", "eth0.9")), Mode.AUTO, "eth0.5, eth0.9 lies upon it"),
        (replace(CARD, tags=("eth0.5",)), Mode.XDP, "takes VLAN tags out before XDP"),
        (replace(CARD, master="bond0"), Mode.AUTO, "it is a port of bond0"),
        (replace(CARD, kind="bond"), Mode.XDP, "the ports of the bond"),
        (replace(CARD, foreign="XDP program xdp_dispatcher (id 9)"), Mode.XDP, "xdp_dispatcher (id 9) is attached"),
    ],
)
def test_an_interface_gets_xdp_or_the_reason_why_not(device: Device, mode: Mode, words: str) -> None:
    reason = obstacle(device, Wish(mode))
    assert (reason == "") == (words == "")
    assert words in reason


def test_services_behind_other_interfaces_need_redirects_that_both_ends_can_do() -> None:
    wish = Wish(Mode.AUTO, frozenset([2, 3]))
    assert path_obstacle(CARD, {2: CARD, 3: OTHER}, wish) == ""
    mute = replace(OTHER, features=ABLE)
    assert "behind eth1, which cannot send" in path_obstacle(CARD, {2: CARD, 3: mute}, wish)
    assert path_obstacle(mute, {2: CARD, 3: mute}, wish) == "", "its own services need no redirect"
    basic = replace(CARD, features=XdpFeature.BASIC)
    assert "cannot redirect" in path_obstacle(basic, {2: basic, 3: OTHER}, wish)
    assert path_obstacle(basic, {2: basic}, Wish(Mode.AUTO, frozenset([2]))) == ""
    assert "interface 9, which" in path_obstacle(CARD, {2: CARD}, Wish(Mode.AUTO, frozenset([9])))
    silent = replace(CARD, features=None)
    assert "does not tell" in path_obstacle(silent, {2: silent, 3: silent}, wish)
    assert path_obstacle(silent, {2: silent, 3: silent}, Wish(Mode.XDP, wish.egress)) == ""


def test_a_veth_whose_other_end_would_lose_every_frame_gets_no_xdp() -> None:
    deaf = replace(CARD, kind="veth", features=ABLE)
    wish = Wish(Mode.XDP, frozenset([2]))
    assert "the other end of this veth" in path_obstacle(deaf, {2: deaf}, wish)
    assert path_obstacle(deaf, {2: deaf, 3: OTHER}, Wish(Mode.XDP, frozenset([3]))) == ""
    ready = replace(deaf, features=FULL)
    assert path_obstacle(ready, {2: ready}, wish) == ""


def test_one_word_for_all_interfaces() -> None:
    by_tc, by_xdp = Forwarding(Mode.TC, ""), Forwarding(Mode.XDP, "")
    assert [summary(found) for found in ([], [by_tc], [by_xdp, by_xdp], [by_tc, by_xdp])] == [
        "tc",
        "tc",
        "xdp",
        "xdp, tc",
    ]


@dataclass
class Cards:
    """Network cards of which some send for others only while they have a program, and some refuse programs.

    After each change: no card with hp_xdp may have to redirect to one that cannot send.
    """

    devices: dict[int, Device]
    lazy: set[int] = field(default_factory=set)  # NDO_XMIT with a program only
    refusing: set[int] = field(default_factory=set)
    there: dict[int, xdp.Attached] = field(default_factory=dict)
    egress: frozenset[int] = frozenset()
    changes: list[str] = field(default_factory=list)
    names: dict[int, str] = field(default_factory=lambda: {7: "hp_xdp", 8: "hp_xdp_pass"})

    def read(self) -> tuple[dict[int, Device], dict[int, xdp.Attached]]:
        found = {}
        for index, device in self.devices.items():
            features = device.features
            if features is not None and index in self.lazy:
                features = features & ~XdpFeature.NDO_XMIT if index not in self.there else features
            found[index] = replace(device, features=features)
        return found, dict(self.there)

    def close(self) -> None:
        """As the reader's."""

    def attach(self, index: int, fd: int, there: xdp.Attached | None) -> None:
        assert there == self.there.get(index)
        if index in self.refusing:
            raise OSError(95, "ring too large for XDP")
        self.there[index] = xdp.Attached(fd, self.names[fd], native=True)
        self.changes.append(f"{index} {self.names[fd]}")
        self.check()

    def detach(self, index: int, there: xdp.Attached) -> None:
        assert self.there.pop(index) == there
        self.changes.append(f"{index} none")
        self.check()

    def check(self) -> None:
        devices, _there = self.read()
        for index, found in self.there.items():
            if found.name == "hp_xdp":
                for other in self.egress - {index}:
                    features = devices[other].features
                    assert features is None or XdpFeature.NDO_XMIT in features, (self.changes, index, other)


def install(patch: pytest.MonkeyPatch, cards: Cards) -> Cards:
    """Have ``modes`` work on these cards."""
    patch.setattr(xdp, "attach", cards.attach)
    patch.setattr(xdp, "detach", cards.detach)
    patch.setattr(xdp, "load_bridgehead", lambda: 8)
    patch.setattr(modes, "program_info", lambda fd: ProgramInfo(fd, b"", cards.names[fd], ()))
    patch.setattr(modes, "_DRAIN_SECONDS", 0)
    return cards


def modes_of(cards: Cards, xdp_fd: int = 7) -> Modes:
    return Modes(Forwarder(Path(), {}, -1, -1, xdp_fd, "the verifier says no"), cards)  # type: ignore[arg-type] # a fake


BOTH = frozenset([2, 3])


def test_cards_that_send_only_with_a_program_get_a_bridgehead_first(monkeypatch: pytest.MonkeyPatch) -> None:
    cards = install(monkeypatch, Cards({2: CARD, 3: OTHER}, lazy={2, 3}, egress=BOTH))
    made = modes_of(cards)
    _done, found = made.ensure(BOTH, Wish(Mode.AUTO, BOTH))
    assert {item.mode for item in found.values()} == {Mode.XDP}
    assert found[2].reason == "the driver ixgbe runs XDP"
    assert cards.changes == ["2 hp_xdp_pass", "3 hp_xdp_pass", "2 hp_xdp", "3 hp_xdp"]
    cards.changes.clear()
    assert made.ensure(BOTH, Wish(Mode.AUTO, BOTH))[0] == []
    done, found = made.ensure(BOTH, Wish(Mode.TC, BOTH))
    assert cards.changes == ["2 hp_xdp_pass", "3 hp_xdp_pass", "2 none", "3 none"]
    assert done == ["eth0: detached XDP", "eth1: detached XDP"]


def test_a_card_that_stays_silent_even_with_a_program_is_left_alone_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    cards = install(monkeypatch, Cards({2: CARD, 3: replace(OTHER, features=ABLE)}, egress=BOTH))
    made = modes_of(cards)
    _done, found = made.ensure(BOTH, Wish(Mode.XDP, BOTH))
    assert (found[2].mode, found[2].refused) == (Mode.TC, True)
    assert found[3].mode is Mode.XDP, "its own services need no redirect, and eth0 can send"
    cards.changes.clear()
    assert made.ensure(BOTH, Wish(Mode.XDP, BOTH))[0] == []
    assert cards.changes == []


def test_a_refusal_is_told_in_the_drivers_words_and_not_provoked_every_second(monkeypatch: pytest.MonkeyPatch) -> None:
    cards = install(monkeypatch, Cards({2: CARD}, refusing={2}, egress=frozenset([2])))
    made, wish = modes_of(cards), Wish(Mode.XDP, frozenset([2]))
    expected = Forwarding(Mode.TC, "the driver refused: ring too large for XDP", refused=True)
    assert made.ensure([2], wish) == ([], {2: expected})
    cards.refusing.clear()
    assert made.ensure([2], wish) == ([], {2: expected}), "it is not asked again"
    cards.devices[2] = replace(CARD, mtu=1400)
    assert made.ensure([2], wish)[1][2].mode is Mode.XDP, "but when something changed"
    again = install(monkeypatch, Cards({2: CARD}, refusing={2}, egress=frozenset([2])))
    made = modes_of(again)
    made.ensure([2], wish)
    again.refusing.clear()
    monkeypatch.setattr(modes, "RETRY_SECONDS", 0.0)
    assert made.ensure([2], wish)[1][2].mode is Mode.XDP, "or after a while"


def test_a_link_that_the_change_takes_down_is_no_reason_for_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cards = install(monkeypatch, Cards({2: CARD}, egress=frozenset([2])))
    made, wish = modes_of(cards), Wish(Mode.AUTO, frozenset([2]))
    made.ensure([2], wish)
    cards.devices[2] = replace(CARD, up=False)
    cards.changes.clear()
    assert made.ensure([2], wish)[1][2].mode is Mode.XDP
    assert cards.changes == []


def test_without_a_usable_program_tc_does_everything_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    made = modes_of(install(monkeypatch, Cards({2: CARD})), xdp_fd=-1)
    [(_, found)] = made.ensure([2], Wish(Mode.XDP))[1].items()
    assert (found.mode, found.refused) == (Mode.TC, True)
    assert "the verifier says no" in found.reason


@st.composite
def worlds(draw: st.DrawFn) -> tuple[dict[int, Device], set[int], set[int]]:
    devices = {}
    for index in range(2, 2 + draw(st.integers(1, 4))):
        devices[index] = Device(
            index,
            f"eth{index}",
            up=draw(st.sampled_from([True, True, True, False])),
            mtu=1500,
            kind=draw(st.sampled_from(["", "", "", "veth"])),
            features=draw(st.sampled_from([FULL, FULL, FULL, ABLE, XdpFeature(0)])),
            tags=draw(st.sampled_from([(), (), (), ("vlan5",)])),
            foreign=draw(st.sampled_from(["", "", "", "", "theirs"])),
        )
    indexes = st.sampled_from(sorted(devices))
    return devices, draw(st.sets(indexes)), draw(st.sets(indexes, max_size=1))


@settings(max_examples=300, deadline=None)
@given(data=st.data(), start=worlds())
def test_no_step_redirects_to_where_frames_cannot_leave(
    data: st.DataObject, start: tuple[dict[int, Device], set[int], set[int]]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        made = install(patch, Cards(*start))
        keeper = modes_of(made)
        indexes = st.sampled_from(sorted(made.devices))
        for _ in range(data.draw(st.integers(1, 6))):
            mode = data.draw(st.sampled_from(Mode))
            egress, ours = data.draw(st.frozensets(indexes)), data.draw(st.frozensets(indexes, min_size=1))
            for index in data.draw(st.sets(indexes, max_size=1)):  # a VLAN interface comes or goes
                tags = () if made.devices[index].tags else ("vlan5",)
                made.devices[index] = replace(made.devices[index], tags=tags)
            # As the reconciler does: first with the services of before and after, then with those of after
            keeper.ensure(ours | made.egress, Wish(mode, made.egress | egress))
            made.egress = egress
            made.check()
            _done, found = keeper.ensure(ours | egress, Wish(mode, egress))
            made.check()
            assert found.keys() == ours | egress
            for index, forwarding in found.items():
                has = index in made.there and made.there[index].name == "hp_xdp"
                assert (forwarding.mode is Mode.XDP) == has
                assert forwarding.reason
            if mode is Mode.TC:
                assert not made.there
            calm = len(made.changes)
            keeper.ensure(ours | egress, Wish(mode, egress))
            assert len(made.changes) == calm, "what is settled stays"
