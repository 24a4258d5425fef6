from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_interface

import pytest

from dataplane.desired import Configuration, DesiredState, ProbeTarget, Service, VServerConfig, ineligible, resolve
from dataplane.ports import Interface, Neighbour
from dataplane.tables import IPAddress
from tests.dataplane.network import ALL_NEIGHBOURS, ETH0, ETH1, HASH_KEY, mac_of, neighbour_table, service, vserver


def resolved(
    *vservers: VServerConfig,
    neighbours: dict[tuple[int, IPAddress], Neighbour] | None = None,
    interfaces: tuple[Interface, ...] = (ETH0, ETH1),
    wanted: list[str] | None = None,
) -> DesiredState:
    table = ALL_NEIGHBOURS if neighbours is None else neighbours
    return resolve(Configuration(1, HASH_KEY, vservers, ()), interfaces, table, wanted)


def only_service(state: DesiredState) -> Service:
    return state.vservers[0].services[0]


def test_a_server_is_reached_through_the_interface_of_its_subnet() -> None:
    found = only_service(resolved(vserver(1, service(4, "10.78.0.21"))))
    assert found.eligible
    assert not found.reason
    assert (found.path.ifindex, found.path.mac) == (ETH1.ifindex, mac_of(ip_address("10.78.0.21")))
    assert found.path.source_mac == ETH1.mac


def test_the_longest_connected_prefix_wins() -> None:
    narrow = Interface(7, "eth7", bytes.fromhex("020000000007"), True, (ip_interface("10.77.0.17/28"),))
    address = ip_address("10.77.0.21")
    table = {(7, address): Neighbour(7, address, mac_of(address), failed=False)}
    found = only_service(resolved(vserver(1, service(4, "10.77.0.21")), neighbours=table, interfaces=(ETH0, narrow)))
    assert found.path.ifindex == 7


def test_of_equal_prefixes_one_that_is_up_wins() -> None:
    down = replace(ETH0, ifindex=1, name="eth9", up=False)
    found = only_service(resolved(vserver(1, service(4, "10.77.0.21")), interfaces=(down, ETH0)))
    assert found.path.ifindex == ETH0.ifindex


@pytest.mark.parametrize(
    ("address", "mac", "failed", "reason"),
    [
        (
            "10.9.0.5",
            None,
            False,
            "Server 10.9.0.5 is outside every subnet that the director is connected to "
            "(10.77.0.0/24 on eth0, 10.78.0.0/24 on eth1)",
        ),
        ("10.77.0.21", None, False, "The MAC address of server 10.77.0.21 is not known yet on eth0"),
        ("10.77.0.21", None, True, "Server 10.77.0.21 does not answer ARP requests on eth0"),
        (
            "10.77.0.21",
            mac_of(ip_address("10.77.0.21")),
            True,
            "Server 10.77.0.21 does not answer ARP requests on eth0",
        ),
        ("fd77::21", None, True, "Server fd77::21 does not answer neighbour solicitations on eth0"),
        ("10.77.0.1", None, False, "Server 10.77.0.1 is an address of the director itself, on eth0"),
        ("10.77.0.21", ETH1.mac, False, "Server 10.77.0.21 has the MAC address of the director's own eth1"),
        (
            "10.77.0.255",
            bytes.fromhex("ffffffffffff"),
            False,
            "Server 10.77.0.255 has ff:ff:ff:ff:ff:ff as MAC address, which is not that of one host",
        ),
        (
            "10.77.0.10",
            None,
            False,
            "Server 10.77.0.10 has the address of a virtual server, which the director answers for",
        ),
    ],
)
def test_a_server_that_cannot_be_reached_stays_with_the_reason(
    address: str, mac: bytes | None, failed: bool, reason: str
) -> None:
    server = ip_address(address)
    table = {(ETH0.ifindex, server): Neighbour(ETH0.ifindex, server, mac, failed)}
    state = resolved(vserver(1, service(4, address)), neighbours=table)
    found = only_service(state)
    assert (found.eligible, found.reason, found.path.usable) == (False, reason, False)
    assert [(binding.name, item.name) for binding, item in ineligible(state)] == [("v1", "s4")]


def test_a_family_without_subnet_is_named() -> None:
    found = only_service(resolved(vserver(1, service(4, "fd77::21")), interfaces=(ETH1,)))
    assert found.reason == "Server fd77::21: the director is connected to no IPv6 subnet"


def test_an_interface_that_is_down_is_named() -> None:
    found = only_service(resolved(vserver(1, service(4, "10.77.0.21")), interfaces=(replace(ETH0, up=False),)))
    assert found.reason == "Interface eth0, which leads to server 10.77.0.21, is down"


def test_interfaces_that_are_not_wanted_are_not_used_but_their_addresses_are_the_directors() -> None:
    state = resolved(
        vserver(1, service(4, "10.78.0.21"), service(5, "10.78.0.1"), service(6, "10.77.0.21")), wanted=["eth0"]
    )
    outside, own, fine = state.vservers[0].services
    assert "outside every subnet" in outside.reason
    assert "eth1" not in outside.reason
    assert "the director itself, on eth1" in own.reason
    assert fine.eligible
    assert state.interfaces == (ETH0,)


def test_a_service_that_is_down_keeps_its_path_and_its_own_reason() -> None:
    found = only_service(resolved(vserver(1, service(4, "10.77.0.21", eligible=False, reason="Monitor tcp: refused"))))
    assert (found.eligible, found.reason, found.path.usable) == (False, "Monitor tcp: refused", True)


def test_both_reasons_are_given_when_a_service_is_down_and_its_server_silent() -> None:
    silent = neighbour_table([ip_address("10.77.0.21")], {ip_address("10.77.0.21"): None})
    down = service(4, "10.77.0.21", eligible=False, reason="Disabled")
    found = only_service(resolved(vserver(1, down), neighbours=silent))
    assert found.reason == "Disabled; Server 10.77.0.21 does not answer ARP requests on eth0"


def test_one_service_may_be_eligible_in_one_vserver_and_not_in_another() -> None:
    state = resolved(
        vserver(1, service(4, "10.77.0.21")),
        vserver(2, service(4, "10.77.0.21", eligible=False, reason="DOWN"), address="10.78.0.11"),
    )
    assert [item.services[0].eligible for item in state.vservers] == [True, False]


def test_targets_are_all_servers_on_a_subnet_each_once_and_in_order() -> None:
    bound = [service(4, "10.78.0.21"), service(5, "10.77.0.99"), service(6, "10.9.9.9"), service(7, "10.77.0.1")]
    state = resolved(vserver(1, *bound), vserver(2, *bound, address="10.78.0.11"), neighbours={})
    assert state.targets == ((2, ip_address("10.77.0.99")), (3, ip_address("10.78.0.21")))


def test_a_probed_server_is_a_target_too_and_a_silent_one_has_a_reason() -> None:
    target = ProbeTarget(ip_address("198.18.0.1"), ip_address("10.77.0.10"), ip_address("10.77.0.99"))
    state = resolve(Configuration(1, HASH_KEY, (), (target,)), [ETH0], {})
    assert state.targets == ((2, ip_address("10.77.0.99")),)
    assert state.probes[0].path.reason == "The MAC address of server 10.77.0.99 is not known yet on eth0"


def test_the_path_of_a_server_that_no_vserver_uses_can_be_asked_for() -> None:
    server = ip_address("10.77.0.21")
    state = resolve(Configuration(1, HASH_KEY, (), (), (server,)), [ETH0], ALL_NEIGHBOURS)
    assert state.targets == ((2, server),)
    assert dict(state.servers)[server].mac == mac_of(server)


def test_equal_inputs_give_equal_and_hashable_states() -> None:
    first = resolved(vserver(1, service(4, "10.77.0.21")))
    second = resolved(vserver(1, service(4, "10.77.0.21")))
    assert first == second
    assert hash(first) == hash(second)
    assert first != resolved(vserver(1, service(4, "10.77.0.22")))
