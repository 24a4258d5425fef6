"""The rules of servers, services, vservers, bindings and monitors, each by its sentence."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import ValidationError

from tests import factories
from tests.factories import SYSTEM
from webui.actions import monitors, servers, services, vservers
from webui.models import AuditEntry, DataplaneStatus, Installation, Monitor, Server

pytestmark = pytest.mark.django_db


def refusal(call: Any, *args: Any, **kwargs: Any) -> dict[str, str]:
    """The texts of a refused call, by field; fails unless it is refused and nothing changes."""
    before = (Installation.objects.get().revision, AuditEntry.objects.count())
    with pytest.raises(ValidationError) as caught:
        call(*args, **kwargs)
    assert (Installation.objects.get().revision, AuditEntry.objects.count()) == before
    error = caught.value
    if hasattr(error, "error_dict"):
        return {name: " ".join(texts) for name, texts in error.message_dict.items()}
    return {"": " ".join(error.messages)}


def refused_server(**values: Any) -> dict[str, str]:
    return refusal(servers.create, SYSTEM, {"name": "Server9", "address": "10.77.0.19"} | values)


def refused_vserver(**values: Any) -> dict[str, str]:
    return refusal(vservers.create, SYSTEM, {"name": "vserver_DSR", "address": "10.77.0.10"} | values)


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("127.0.0.1", "loopback"),
        ("::1", "loopback"),
        ("224.0.0.5", "multicast"),
        ("ff02::1", "multicast"),
        ("0.0.0.0", "unspecified"),
        ("0.1.2.3", "this network"),
        ("::", "unspecified"),
        ("255.255.255.255", "broadcast"),
        ("169.254.1.1", "link-local"),
        ("fe80::1", "link-local"),
        ("::ffff:10.0.0.1", "write 10.0.0.1"),
        ("198.18.0.1", "198.18.0.0/15"),
        ("2001:2:0:1::5", "2001:2:0:1::/112"),
    ],
)
def test_addresses_that_no_machine_can_be_known_by_are_refused_with_the_reason(address: str, reason: str) -> None:
    for texts in (refused_server(address=address), refused_vserver(address=address)):
        assert list(texts) == ["address"]
        assert reason in texts["address"]


@pytest.mark.parametrize("address", ["10.77.0", "10.77.0.300", "10.77.0.010", "", None, "server1", 7])
def test_what_is_no_address_is_refused_by_name_of_the_field(address: Any) -> None:
    assert list(refused_server(address=address)) == ["address"]


@pytest.fixture
def director() -> DataplaneStatus:
    interface = {"ifindex": 2, "name": "eth0", "mac": "02:00:00:00:00:01", "up": True, "attached": True}
    interface["addresses"] = ["10.77.0.2/24", "fd00:77::2/64"]
    return DataplaneStatus.objects.create(director="lb1", interfaces=[interface])


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("10.77.0.2", "address of eth0 of director “lb1”"),
        ("fd00:77::2", "address of eth0 of director “lb1”"),
        ("10.77.0.255", "network or broadcast address of 10.77.0.0/24"),
        ("10.77.0.0", "network or broadcast address of 10.77.0.0/24"),
    ],
)
def test_addresses_of_a_director_and_its_networks_edges_are_refused(
    director: DataplaneStatus, address: str, reason: str
) -> None:
    assert reason in refused_server(address=address)["address"]
    assert reason in refused_vserver(address=address)["address"]


def test_a_director_that_takes_an_address_later_does_not_block_other_changes(director: DataplaneStatus) -> None:
    server = factories.server()
    director.interfaces[0]["addresses"].append(f"{server.address}/24")
    director.save()
    assert servers.update(SYSTEM, server, {"comment": "rack 4"}).comment == "rack 4"


def test_a_server_cannot_have_a_vip_and_a_vserver_not_a_servers_address() -> None:
    factories.vserver()
    server = factories.server()
    assert "VIP of vserver “vserver_DSR”" in refused_server(address="10.77.0.10")["address"]
    assert "“Server1”" in refused_vserver(name="v2", address=server.address)["address"]
    assert "VIP of vserver" in refusal(servers.update, SYSTEM, server, {"address": "10.77.0.10"})["address"]


def test_two_servers_cannot_share_an_address() -> None:
    factories.server()
    assert "server “Server1” already" in refused_server(address="10.77.0.11")["address"]


def test_names_differ_by_more_than_case_and_the_clash_is_named() -> None:
    service = factories.service()
    factories.vserver()
    factories.monitor()
    assert "“Server1”" in refused_server(name="SERVER1")["name"]
    values = {"name": service.name.upper(), "server": service.server, "port": 81}
    assert service.name in refusal(services.create, SYSTEM, values)["name"]
    assert "“vserver_DSR”" in refused_vserver(name="VSERVER_dsr", address="10.77.0.9")["name"]
    assert "“tcp-80”" in refusal(monitors.create, SYSTEM, {"name": "TCP-80", "monitor_type": "TCP"})["name"]


@pytest.mark.parametrize("name", ["", "-x", " x", "x ", "a/b", "ä", "9lives", "10.0.0.1", "x\n"])
def test_names_outside_netscalers_rules_are_refused(name: str) -> None:
    assert "name" in refused_server(name=name)


def test_a_server_may_be_named_after_its_own_address_only() -> None:
    assert servers.create(SYSTEM, {"name": "10.77.0.11", "address": "10.77.0.11"}).name == "10.77.0.11"
    assert "not this server's" in refused_server(name="10.77.0.99")["name"]


def test_names_of_vservers_and_monitors_may_start_with_a_digit_and_hold_spaces() -> None:
    assert factories.vserver(name="1 first").name == "1 first"
    assert factories.monitor(name="80-open").name == "80-open"


@pytest.mark.parametrize(("field", "value"), [("service_type", "TCP"), ("port", 81)])
def test_type_and_port_of_services_and_vservers_are_fixed(field: str, value: Any) -> None:
    service = factories.service(port=80)
    vserver = factories.vserver(service, port=80)
    assert "fixed when it is made" in refusal(services.update, SYSTEM, service, {field: value})[field]
    assert "fixed when it is made" in refusal(vservers.update, SYSTEM, vserver, {field: value})[field]


def test_a_service_stays_on_its_server() -> None:
    service = factories.service()
    other = factories.server(2)
    assert "fixed when it is made" in refusal(services.update, SYSTEM, service, {"server": other})["server"]


def test_a_server_has_a_type_and_port_once() -> None:
    service = factories.service()
    texts = refusal(services.create, SYSTEM, {"name": "again", "server": service.server, "port": "*"})
    assert "ANY port * of server “Server1”" in texts["port"]


def test_a_hash_id_belongs_to_one_service() -> None:
    first = factories.service(hash_id=7)
    texts = refusal(services.create, SYSTEM, {"name": "again", "server": first.server, "port": 9, "hash_id": "7"})
    assert first.name in texts["hash_id"]
    assert services.update(SYSTEM, first, {"hash_id": ""}).hash_id is None


def test_use_source_ip_no_and_mac_mode_exclude_each_other() -> None:
    service = factories.service(usip="NO")
    assert service.usip is False
    vserver = factories.vserver()
    assert "use source IP NO" in refusal(vservers.bind_service, SYSTEM, vserver, service)["service"]
    service = services.update(SYSTEM, service, {"usip": "YES"})
    vservers.bind_service(SYSTEM, vserver, service)
    assert "bound to vserver_DSR" in refusal(services.update, SYSTEM, service, {"usip": False})["usip"]


@pytest.mark.parametrize("service_type", ["ANY", "TCP"])
def test_a_tcp_monitor_without_port_cannot_check_a_service_of_any_port(service_type: str) -> None:
    service = factories.service(service_type=service_type)
    monitor = factories.monitor(dest_port=0)
    assert "give the monitor a destination port" in refusal(services.bind_monitor, SYSTEM, service, monitor)["monitor"]


def test_a_tcp_monitor_without_port_cannot_check_a_udp_service() -> None:
    service = factories.service(service_type="UDP", port=69)
    monitor = factories.monitor(dest_port=0)
    assert "UDP only" in refusal(services.bind_monitor, SYSTEM, service, monitor)["monitor"]


def test_a_bound_monitor_cannot_lose_the_port_that_it_needs() -> None:
    service, monitor = factories.service(), factories.monitor()
    services.bind_monitor(SYSTEM, service, monitor)
    assert service.name in refusal(monitors.update, SYSTEM, monitor, {"dest_port": 0})["dest_port"]


def test_a_vip_protocol_and_port_exist_once_and_the_other_vserver_is_named() -> None:
    factories.vserver(port=80)
    assert "Vserver “vserver_DSR” has ANY 10.77.0.10 port 80" in refused_vserver(name="v2", port=80)["address"]
    other = factories.vserver(name="v3", port=81)
    assert vservers.update(SYSTEM, other, {"address": "10.77.0.9"}).address == "10.77.0.9"


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("service_type", "HTTP", "use TCP"),
        ("service_type", "ssl", "use TCP"),
        ("service_type", "FTP", "use ANY with port *"),
        ("service_type", "DNS", "use UDP"),
        ("service_type", "NONSENSE", "“NONSENSE” is none of "),
        ("lb_method", "LEASTCONNECTION", "set sessionless to DISABLED"),
        ("lb_method", "LEASTRESPONSETIME", "use LRTM"),
        ("lb_method", "LEASTPACKETS", "use LEASTBANDWIDTH"),
        ("lb_method", "LEASTREQUEST", "layer 7"),
        ("lb_method", "URLHASH", "layer 7"),
        ("lb_method", "TOKEN", "layer 7"),
        ("lb_method", "CUSTOMLOAD", "not available"),
        ("persistence_type", "COOKIEINSERT", "layer 7"),
        ("persistence_type", "DESTIP", "DESTINATIONIPHASH"),
        ("persist_mask", "0.0.0.0", "same server"),
        ("timeout", 0, ""),
        ("timeout", 1441, ""),
        ("clt_timeout", -1, ""),
        ("clt_timeout", 31_536_001, ""),
        ("down_state_flush", "SOMETIMES", ""),
        ("syn_rate", -1, ""),
        ("syn_rate", 100_000_001, ""),
        ("syn_burst", 5, "without a limit"),
        ("source_syn_burst", 5, "without a limit"),
        ("source_syn_mask", "0.0.0.0", ""),
        ("v6_source_syn_mask_len", 0, ""),
        ("ping", "ACTIVE", "called ANSWER"),
        ("ping", "PASSIVE", "use ANSWER"),
        ("mode", "IP", "use MAC"),
        ("mode", "IPTUNNEL", "use MAC"),
        ("mode", "TOS", "use MAC"),
        ("conn_failover", "STATEFUL", "use STATELESS"),
        ("netmask", "0.0.0.0", "same server"),
        ("netmask", "255.0", ""),
        ("v6_netmask_len", 0, ""),
        ("v6_netmask_len", 129, ""),
        ("port", 65536, ""),
        ("port", -1, ""),
        ("port", 1.5, "not a whole number"),
        ("port", True, "not a whole number"),
        ("port", "http", ""),
    ],
)
def test_options_of_a_vserver_that_cannot_be_had_are_refused_with_the_reason(
    field: str, value: Any, reason: str
) -> None:
    texts = refused_vserver(**{field: value})
    assert list(texts) == [field]
    assert reason in texts[field]


def test_a_netmask_need_not_be_contiguous() -> None:
    assert factories.vserver(netmask="255.0.255.0").netmask == "255.0.255.0"


@pytest.mark.parametrize(
    ("vserver_port", "service_port", "fits"),
    [(80, 80, True), (80, 0, True), (0, 0, True), (80, 81, False), (0, 80, False)],
)
def test_ports_are_equal_or_the_services_is_any(vserver_port: int, service_port: int, fits: bool) -> None:
    service, vserver = factories.service(port=service_port), factories.vserver(port=vserver_port)
    if fits:
        assert vservers.bind_service(SYSTEM, vserver, service).weight == 1
    else:
        texts = refusal(vservers.bind_service, SYSTEM, vserver, service)
        assert "Port translation is impossible in MAC mode" in texts["service"]


@pytest.mark.parametrize(
    ("vserver_type", "service_type", "fits"),
    [("TCP", "TCP", True), ("TCP", "ANY", True), ("TCP", "UDP", False), ("ANY", "TCP", False), ("ANY", "ANY", True)],
)
def test_types_are_equal_or_the_services_is_any(vserver_type: str, service_type: str, fits: bool) -> None:
    service = factories.service(service_type=service_type, port=80)
    vserver = factories.vserver(service_type=vserver_type, port=80)
    if fits:
        assert vservers.bind_service(SYSTEM, vserver, service).service == service
    else:
        texts = refusal(vservers.bind_service, SYSTEM, vserver, service)
        assert f"is {service_type}, vserver “vserver_DSR” is {vserver_type}" in texts["service"]


def test_a_server_known_by_ipv4_may_carry_an_ipv6_vip() -> None:
    vserver = factories.vserver(factories.service(), address="fd00:77::10")
    assert vserver.service_bindings.count() == 1


def test_a_server_serves_a_vserver_once() -> None:
    first = factories.service(port=80)
    second = factories.service(first.server, name="second", port=0)
    vserver = factories.vserver(first, port=80)
    assert "higher weight" in refusal(vservers.bind_service, SYSTEM, vserver, second)["service"]
    assert "bound to vserver “vserver_DSR” already" in refusal(vservers.bind_service, SYSTEM, vserver, first)["service"]


@pytest.mark.parametrize("weight", [0, 101, -1, "heavy", 1.5])
def test_weights_are_from_1_to_100(weight: Any) -> None:
    service, vserver, monitor = factories.service(), factories.vserver(), factories.monitor()
    assert list(refusal(vservers.bind_service, SYSTEM, vserver, service, weight=weight)) == ["weight"]
    assert list(refusal(services.bind_monitor, SYSTEM, service, monitor, weight=weight)) == ["weight"]


@pytest.mark.parametrize(
    ("values", "field", "reason"),
    [
        ({"resp_timeout": 2}, "resp_timeout", "(2 s) must be shorter than the interval (2 s)"),
        ({"failure_retries": 4}, "failure_retries", "last 3 checks"),
        ({"monitor_type": "PING", "dest_port": 80}, "dest_port", "no port"),
        ({"monitor_type": "RTSP"}, "monitor_type", "not available"),
        ({"monitor_type": "TELEPATHY"}, "monitor_type", "no type of monitor"),
        ({"monitor_type": "HTTP-INLINE"}, "monitor_type", "watches replies"),
        ({"interval": 0}, "interval", ""),
        ({"retries": 128}, "retries", ""),
        ({"success_retries": 0}, "success_retries", ""),
        ({"down_time": 0}, "down_time", ""),
        ({"reverse": "perhaps"}, "reverse", "neither YES nor NO"),
    ],
)
def test_monitors_that_cannot_work_are_refused(values: dict[str, Any], field: str, reason: str) -> None:
    base = {"name": "m", "monitor_type": "TCP", "interval": 2, "resp_timeout": 1}
    texts = refusal(monitors.create, SYSTEM, base | values)
    assert list(texts) == [field]
    assert reason in texts[field]


def test_the_type_of_a_monitor_is_fixed() -> None:
    monitor = factories.monitor(dest_port=0)
    assert (
        "fixed when it is made" in refusal(monitors.update, SYSTEM, monitor, {"monitor_type": "PING"})["monitor_type"]
    )


@pytest.mark.parametrize("name", ["ping-default", "tcp-default"])
def test_built_in_monitors_cannot_be_changed_disabled_or_deleted(name: str) -> None:
    monitor = Monitor.objects.get(name=name)
    for call, extra in ((monitors.update, [{"interval": 9}]), (monitors.disable, []), (monitors.delete, [])):
        texts = refusal(call, SYSTEM, monitor, *extra)
        assert "built in" in " ".join(texts.values())
    assert Monitor.objects.get(name=name).version == 1


def test_an_operator_cannot_make_a_monitor_built_in() -> None:
    texts = refusal(monitors.create, SYSTEM, {"name": "m", "monitor_type": "PING", "built_in": True})
    assert "is not an option of a monitor" in texts["built_in"]


def test_every_problem_is_told_at_once() -> None:
    texts = refused_vserver(name="-", address="127.0.0.1", lb_method="TOKEN", port=70000)
    assert set(texts) == {"name", "address", "lb_method", "port"}


def test_a_row_that_breaks_a_rule_is_not_stored() -> None:
    refused_server(address="127.0.0.1")
    assert not Server.objects.exists()


def test_a_monitor_is_bound_to_a_service_once() -> None:
    service, monitor = factories.service(), factories.monitor()
    services.bind_monitor(SYSTEM, service, monitor)
    texts = refusal(services.bind_monitor, SYSTEM, service, "TCP-80")
    assert "is bound to service “service_Server1_ANY” already" in texts["monitor"]
