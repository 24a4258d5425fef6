"""Every kind against a real server of its protocol that has the VIP on its loopback, over the real path.

The checks leave the director's namespace through the forwarder; the servers are Debian's, in the namespace s1, bound to
the VIPs. Each is seen up, without its VIP, with an answer that is not the wanted one, slow, and refusing.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from dataplane.kernel.assemble import Kernel, open_kernel, remove_everything
from monitors.registry import KINDS, run
from monitors.spec import ProbeResult
from tests.kernel.bench import inside
from tests.kernel.bench import run as command
from tests.kernel.network import VIP, VIP6, Network, address, network
from tests.kernel.test_forward_network import PROBES, VIPS, add_probes, configure
from tests.monitors.kinds import (
    login_site,
    news,
    servers,
    test_citrix_wi_extended,
    test_dns,
    test_ftp,
    test_ldap,
    test_mail,
    test_mysql,
    test_ntp,
    test_others,
    test_postgresql,
    test_radius,
    test_snmp,
    test_web,
)
from tests.monitors.kinds.places import public_folder
from tests.monitors.kinds.servers import Authority, Place
from tests.ports import free_port

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(180)]

CLOSED = 1
SHORT, LONG = 0.4, 8.0  # seconds
# A query for www.example.test, as UDP-ECV has to spell it.
DNS_QUERY = r"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03www\x07example\x04test\x00\x00\x01\x00\x01"


@dataclass(frozen=True)
class Case:
    """A kind's server and how to ask it; ``wrong`` are parameters that it must fail with, in ``words``."""

    port: int
    place: Place
    given: dict[str, Any] = field(default_factory=dict)
    wrong: dict[str, Any] = field(default_factory=dict)
    words: str = ""
    secure: bool = False


Farm = dict[str, Case]
OF_THE_NETWORK = ("PING", "ARP", "ND6")  # the kernel of the server answers
ASKED = sorted(KINDS.keys() - {*OF_THE_NETWORK})


@pytest.fixture(scope="module")
def net(object_file: Path) -> Iterator[Network]:
    with network() as made:
        with inside(made.namespace("director")):
            Path("/proc/sys/net/ipv4/ping_group_range").write_text("0 2147483647")
        with inside(made.namespace("s1")):
            # So many closed ports are asked in a row that the kernel would keep some of its errors back.
            Path("/proc/sys/net/ipv4/icmp_ratelimit").write_text("0")
            Path("/proc/sys/net/ipv6/icmp/ratelimit").write_text("0")
        yield made


@pytest.fixture(scope="module")
def path(net: Network, object_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    """The forwarder in the director's namespace, with a probe address for each VIP on each server."""
    mounted = tmp_path_factory.mktemp("bpffs")
    command("mount", "-t", "bpf", "bpf", str(mounted))
    try:
        with inside(net.namespace("director")):
            kernel = open_kernel(object_file, mounted / "halfpipe", on_event=lambda: None)
        try:
            with inside(net.namespace("director")):
                configure(kernel, net)
                add_probes(kernel, net)
            yield kernel
        finally:
            with inside(net.namespace("director")):
                kernel.close()
                remove_everything(mounted / "halfpipe")
    finally:
        command("umount", str(mounted))


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def farm(net: Network, authority: Authority) -> Iterator[Farm]:
    """All servers, on s1."""
    with ExitStack() as stack:
        yield _farm(net, authority, stack)


def _farm(net: Network, authority: Authority, stack: ExitStack) -> Farm:
    def place() -> Place:
        director = address("director"), address("director", 6)
        return Place(VIP, VIP6, *director, entered=lambda: inside(net.namespace("s1")))

    def folder() -> Path:
        return stack.enter_context(public_folder())

    def start(made: Any) -> Any:
        return stack.enter_context(made)

    found: Farm = {}
    found |= _web(place(), folder(), authority, start)
    found |= _names_and_time(place, folder, start)
    found |= _files(place, folder, start)
    found |= _mail_and_news(place, folder, authority, start)
    found |= _directories(place, folder, authority, start)
    found |= _databases(place, folder, authority, start)
    at = place()
    port = start(test_citrix_wi_extended.login_site_at(at))
    login: dict[str, Any] = {"site_path": "/", "user_name": login_site.USER, "password": login_site.PASSWORD}
    wrong = {"password": "hunter2"}
    found["CITRIX-WI-EXTENDED"] = Case(port, at, login, wrong, "login refused: /login/ asks for the password again")
    return found


def _web(at: Place, folder: Path, authority: Authority, start: Any) -> Farm:
    web = start(test_web.nginx_at(at, folder, authority))
    request = {"send": r"GET / HTTP/1.0\r\n\r\n", "recv": "200 OK"}
    plugin = {"script_name": "check_http", "script_args": "-I %a -p %p -t %t -u / -s hello"}
    return {
        "TCP": Case(web.plain, at),
        "TCP-ECV": Case(web.plain, at, request, {"recv": "404"}, "“404” not in the answer “HTTP/1.1 200 OK"),
        "HTTP": Case(web.plain, at, {}, {"http_request": "GET /down"}, "HTTP 503, wanted 200"),
        "HTTP-ECV": Case(web.plain, at, {"recv": "hello"}, {"recv": "goodbye"}, "HTTP 200, “goodbye” not found in"),
        "HTTPS": Case(web.secure, at, {"sni": "soon.example"}, {"sni": "old.example"}, "certificate ended 3 days ago"),
        "TLS": Case(web.secure, at, {}, {"sni": "early.example"}, "certificate begins in 2 days"),
        "USER": Case(
            web.plain,
            at,
            plugin,
            {"script_args": "-I %a -p %p -t %t -u / -s goodbye"},
            "check_http: HTTP CRITICAL: HTTP/1.1 200 OK - string 'goodbye' not found",
        ),
    }


def _names_and_time(place: Any, folder: Any, start: Any) -> Farm:
    at, clock = place(), place()
    bind = start(test_dns.bind_at(at, folder()))
    chrony = start(test_ntp.chrony_at(clock, folder()))
    query = {"query": "www.example.test", "ip_address": "192.0.2.2"}
    wrong = {"ip_address": "192.0.2.9"}
    return {
        "DNS": Case(bind, at, query, wrong, "wanted 192.0.2.9"),
        "DNS-TCP": Case(bind, at, query, wrong, "wanted 192.0.2.9"),
        "UDP-ECV": Case(
            bind, at, {"send": DNS_QUERY, "recv": "example"}, {"recv": "nonsense"}, "“nonsense” not in the answer “"
        ),
        "NTP": Case(chrony, clock, {"max_offset": 1000}, {"max_stratum": 2}, "; the largest stratum is 2"),
    }


def _files(place: Any, folder: Any, start: Any) -> Farm:
    ftp, tftp = place(), place()
    ports = [free_port(), free_port()]
    files, blocks = folder(), folder()
    for version in (4, 6):
        start(test_ftp.vsftpd_at(ftp, files, ports[0], version=version))
        start(test_others.tftp_at(tftp, blocks, ports[1], version=version))
    stranger = {"user_name": "somebody", "password": "hunter2"}
    return {
        "FTP": Case(ports[0], ftp, {}, stranger, "USER somebody: 530 This FTP server is anonymous only."),
        "FTP-EXTENDED": Case(
            ports[0], ftp, {"file_name": "there.txt"}, {"file_name": "gone"}, "RETR gone: 550 Failed to open file."
        ),
        "TFTP": Case(ports[1], tftp, {"file_name": "small"}, {"file_name": "gone"}, "gone: error 1, File not found"),
    }


def _mail_and_news(place: Any, folder: Any, authority: Authority, start: Any) -> Farm:
    boxes, postfix, groups = place(), place(), place()
    mail = start(test_mail.dovecot_at(boxes, folder(), authority))
    login: dict[str, Any] = {"user_name": test_mail.USER, "password": test_mail.PLAIN_PASSWORD}
    reader: dict[str, Any] = {"user_name": "probe", "password": news.PASSWORD, "group": "misc.test"}
    wrong = {"password": "hunter2"}
    return {
        "POP3": Case(mail.pop3, boxes, login, wrong, "PASS: “-ERR"),
        "IMAP": Case(mail.imap, boxes, login | {"mailbox": "INBOX"}, wrong, "LOGIN: NO "),
        "SMTP": Case(
            start(test_mail.postfix_at(postfix, folder(), authority)),
            postfix,
            {"start_tls": True},
            {"user_name": "a", "password": "b"},
            "the server offers neither AUTH PLAIN nor AUTH LOGIN",
        ),
        "NNTP": Case(
            start(test_others.news_at(groups)), groups, reader, {"group": "gone"}, "GROUP gone: 411 no such newsgroup"
        ),
    }


def _directories(place: Any, folder: Any, authority: Authority, start: Any) -> Farm:
    ldap, radius, snmp = place(), place(), place()
    slapd = start(test_ldap.slapd_at(ldap, folder(), authority))
    ports = start(test_radius.radius_at(radius, folder()))
    agent = start(test_snmp.agent_at(snmp, folder()))
    bind: dict[str, Any] = {"bind_dn": test_ldap.ADMIN, "password": test_ldap.PASSWORD, "base_dn": test_ldap.BASE}
    login: dict[str, Any] = {
        "user_name": "halfpipe",
        "password": test_radius.PASSWORD,
        "rad_key": test_radius.KEY,
    }
    value: dict[str, Any] = {"snmp_community": "halfpipe", "snmp_oid": test_snmp.SERVICES}
    return {
        "LDAP": Case(
            slapd.plain, ldap, bind | {"start_tls": True}, {"password": "no"}, "bind: invalidCredentials (49)"
        ),
        "RADIUS": Case(ports.login, radius, login, {"password": "no"}, "Access-Reject (3)"),
        "RADIUS_ACCOUNTING": Case(
            ports.accounting, radius, {"rad_key": test_radius.KEY}, {"rad_key": "no"}, "no answer within 0.4 s"
        ),
        "SNMP": Case(agent, snmp, value, {"snmp_threshold": "71"}, "= 72, more than 71"),
    }


def _databases(place: Any, folder: Any, authority: Authority, start: Any) -> Farm:
    maria, postgres, redis = place(), place(), place()
    mariadb = start(test_mysql.mariadb_in(folder(), authority, maria))
    postgresql = start(test_postgresql.postgresql_in(folder(), authority, postgres))
    store = start(test_others.redis(folder(), at=redis))
    mine: dict[str, Any] = {"user_name": test_mysql.USER, "password": test_mysql.PASSWORD, "database": "shop"}
    theirs: dict[str, Any] = {"user_name": test_postgresql.ROLE, "password": test_postgresql.PASSWORD}
    return {
        "MYSQL": Case(mariadb, maria, mine, {"sql_query": "SELECT * FROM gone"}, "(1146)", secure=True),
        "MYSQL-ECV": Case(
            mariadb,
            maria,
            mine | {"sql_query": "SELECT * FROM items"},
            {"eval_rule": "MYSQL.RES.ATLEAST_ROWS_COUNT(3)"},
            "the rule is not true of the answer: 2 rows",
        ),
        "POSTGRESQL": Case(
            postgresql, postgres, theirs | {"database": "shop"}, {"password": "no"}, "login: ", secure=True
        ),
        "REDIS": Case(
            store, redis, {"role": "MASTER"}, {"role": "REPLICA"}, "PONG, but the role is MASTER, wanted REPLICA"
        ),
    }


def check(
    net: Network, kind: str, case: Case, *, version: int = 4, timeout: float = LONG, port: int = 0, **changes: Any
) -> ProbeResult:
    """One check from the director, to the VIP on s1."""
    to = PROBES[version].format(1)
    given = case.given | changes
    spec = servers.spec(kind, port or case.port, timeout, secure=case.secure, address=to, **given)
    with inside(net.namespace("director")):
        return asyncio.run(run(replace(spec, vip=VIPS[version])))


@pytest.fixture(autouse=True)
def plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALFPIPE_MONITOR_SCRIPTS", "/usr/lib/nagios/plugins")


def test_every_kind_has_its_server(farm: Farm) -> None:
    assert sorted(farm) == ASKED


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("kind", ASKED)
def test_a_server_that_is_up_passes(net: Network, path: Kernel, farm: Farm, kind: str, version: int) -> None:
    servers.passed(check(net, kind, farm[kind], version=version))


@pytest.mark.parametrize("kind", [kind for kind in ASKED if kind != "TCP"])  # which looks at no answer
def test_another_answer_than_the_wanted_one_fails(net: Network, path: Kernel, farm: Farm, kind: str) -> None:
    case = farm[kind]
    timeout = SHORT if case.words.startswith("no answer") else LONG
    assert case.words in servers.failed(check(net, kind, case, timeout=timeout, **case.wrong))


@contextmanager
def stopped(case: Case) -> Iterator[None]:
    """Its processes stand still, as those of a host that has too much to do: connections open, nothing more."""
    processes = [pid for one in case.place.started for pid in _tree(one.pid)]
    for pid in processes:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
    end = time.monotonic() + 5
    while not all(_stands_still(pid) for pid in processes):
        assert time.monotonic() < end
        time.sleep(0.005)
    try:
        yield
    finally:
        for pid in processes:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def _stands_still(pid: int) -> bool:
    """Whether all threads are stopped, or ended."""
    with suppress(FileNotFoundError, ProcessLookupError):
        states = [stat.read_text().rpartition(")")[2].split()[0] for stat in Path(f"/proc/{pid}/task").glob("*/stat")]
        return set(states) <= {"T", "Z", "X"}
    return True


def _tree(pid: int) -> list[int]:
    with suppress(FileNotFoundError, ProcessLookupError):
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [pid, *(one for child in children for one in _tree(int(child)))]
    return []


@pytest.mark.parametrize("kind", [kind for kind in ASKED if kind != "TCP"])  # the kernel's handshake goes on
def test_a_slow_server_fails_when_the_time_is_over_and_passes_when_it_answers_in_time(
    net: Network, path: Kernel, farm: Farm, kind: str
) -> None:
    case = farm[kind]
    with stopped(case):
        result = check(net, kind, case, timeout=SHORT)
        assert "within 0.4 s" in servers.failed(result)
        assert SHORT * 0.9 <= result.duration < SHORT + 1
    until = threading.Event()

    def hold() -> None:
        with stopped(case):
            begun.set()
            until.wait(0.5)

    begun = threading.Event()
    holder = threading.Thread(target=hold)
    holder.start()
    try:
        assert begun.wait(5)
        result = check(net, kind, case)
    finally:
        until.set()
        holder.join(5)
    servers.passed(result)
    assert result.duration > 0.3


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("kind", ASKED)
def test_a_closed_port_is_known_at_once(net: Network, path: Kernel, farm: Farm, kind: str, version: int) -> None:
    result = check(net, kind, farm[kind], version=version, port=CLOSED)
    assert "connection refused" in servers.failed(result).lower()
    assert result.duration < 2


@contextmanager
def without_vip(net: Network) -> Iterator[None]:
    """The VIPs are gone from s1, whose own addresses still answer."""
    net.ip("s1", "addr", "del", f"{VIP}/32", "dev", "lo")
    net.ip("s1", "addr", "del", f"{VIP6}/128", "dev", "lo")
    try:
        yield
    finally:
        net.ip("s1", "addr", "add", f"{VIP}/32", "dev", "lo")
        net.ip("s1", "addr", "add", f"{VIP6}/128", "dev", "lo", "nodad")


def test_without_its_vip_every_kind_finds_the_server_down(net: Network, path: Kernel, farm: Farm) -> None:
    with without_vip(net):
        for kind in ASKED:
            words = servers.failed(check(net, kind, farm[kind], timeout=SHORT))
            assert "within 0.4 s" in words, kind
        for version in (4, 6):
            ping = check(net, "PING", Case(0, Place()), version=version, timeout=SHORT)
            assert servers.failed(ping) == "no answer within 0.4 s"
    for kind in ASKED:
        servers.passed(check(net, kind, farm[kind]))


@pytest.mark.parametrize("version", [4, 6])
def test_ping_gets_its_echo_from_the_vip(net: Network, path: Kernel, version: int) -> None:
    assert servers.passed(check(net, "PING", Case(0, Place()), version=version)).startswith("echo reply in ")


@pytest.mark.parametrize(("kind", "version"), [("ARP", 4), ("ND6", 6)])
def test_the_servers_own_address_answers_arp_and_solicitations_or_not(
    net: Network, path: Kernel, kind: str, version: int
) -> None:
    own = address("s3", version)
    spec = replace(servers.spec(kind, 0, 2.0, address=PROBES[version].format(3)), vip=VIPS[version], server=own)

    def ask() -> ProbeResult:
        net.ip("director", "neigh", "flush", "to", own)
        with inside(net.namespace("director")):
            return asyncio.run(run(spec))

    assert " has MAC 02:77:00:00:00:17, " in servers.passed(ask())
    length = {4: 24, 6: 64}[version]
    net.ip("s3", "addr", "del", f"{own}/{length}", "dev", "eth0")
    try:
        assert f"{own} does not answer " in servers.failed(ask())
    finally:
        net.ip("s3", "addr", "add", f"{own}/{length}", "dev", "eth0", *(["nodad"] if version == 6 else []))
    assert servers.passed(ask())


@pytest.mark.parametrize("version", [4, 6])
def test_server_name_and_host_reach_the_server(net: Network, path: Kernel, farm: Farm, version: int) -> None:
    case = farm["HTTPS"]
    words = servers.passed(check(net, "HTTPS", case, version=version))
    assert words == "HTTP 200, certificate ends in 9 days (warning below 30 days)"
    headers = {"custom_headers": "Host: good.example", "recv": "hello from good.example by good.example"}
    assert servers.passed(check(net, "HTTP-ECV", replace(case, given=headers, secure=True), version=version))
    vip = f"[{VIP6}]" if version == 6 else VIP
    plain = farm["HTTP-ECV"]
    assert servers.passed(check(net, "HTTP-ECV", plain, version=version, recv=f"hello from {vip}:{plain.port},"))


def test_an_answer_of_maintenance_arrives_as_such(net: Network, path: Kernel, farm: Farm) -> None:
    result = check(net, "HTTP", farm["HTTP"], http_request="GET /maintenance", trofs_code=503)
    assert (result.leaving, result.message) == (True, "HTTP 503, the maintenance code")


def test_a_server_that_was_killed_refuses(net: Network, path: Kernel, farm: Farm) -> None:
    case = farm["NNTP"]  # the last to need it
    for one in case.place.started:
        one.kill()
        one.wait(5)
    end = time.monotonic() + 5
    while (result := check(net, "NNTP", case)).success:
        assert time.monotonic() < end
    assert servers.failed(result) == "connection refused"
