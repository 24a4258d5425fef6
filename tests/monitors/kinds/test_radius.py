"""RADIUS against FreeRADIUS, and against servers that misbehave."""

from __future__ import annotations

import hashlib
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given as given_by
from hypothesis import settings
from hypothesis import strategies as st

from monitors.kinds.radius.kind import Parameters
from monitors.kinds.radius.probe import request_of
from monitors.registry import KINDS
from monitors.wire.radius import reply_to
from monitors.wire.stream import WrongAnswer
from tests.monitors.kinds.servers import HERE, Place, failed, passed, probe, process, spec, trace
from tests.monitors.kinds.tracing import steps, texts
from tests.monitors.kinds.udp import Peer, datagrams, mute, noise
from tests.ports import free_port

KEY, PASSWORD = "s3cret-key", "s3cret-password"
CONFIGURATION = """
prefix = /usr
libdir = /usr/lib/freeradius
raddbdir = {folder}
logdir = {folder}
run_dir = {folder}
pidfile = {folder}/pid
modconfdir = {folder}
proxy_requests = no
security {{ max_attributes = 200
 reject_delay = 0
 status_server = no }}
client probe {{ ipaddr = {at.clients}
 secret = {key}
 require_message_authenticator = yes }}
client probe6 {{ ipv6addr = {at.clients6}
 secret = {key} }}
thread pool {{ start_servers = 1
 max_servers = 1
 min_spare_servers = 1
 max_spare_servers = 1 }}
modules {{
 pap {{
 }}
 files {{ usersfile = {folder}/users }}
 detail {{ filename = {folder}/detail }}
}}
server default {{
 listen {{ type = auth
  ipaddr = {at.address}
  port = {ports.login} }}
 listen {{ type = auth
  ipv6addr = {at.address6}
  port = {ports.login} }}
 listen {{ type = acct
  ipaddr = {at.address}
  port = {ports.accounting} }}
 listen {{ type = acct
  ipv6addr = {at.address6}
  port = {ports.accounting} }}
 authorize {{
  files
  pap
 }}
 preacct {{
 }}
 accounting {{
  detail
 }}
 authenticate {{ Auth-Type PAP {{
   pap
  }}
 }}
}}
"""
USERS = f"""
halfpipe Cleartext-Password := "{PASSWORD}"
 Reply-Message = "Hello"
nas Cleartext-Password := "{PASSWORD}", NAS-Identifier == "director-1", NAS-IP-Address == 192.0.2.7
 Reply-Message = "Known NAS"
"""


@dataclass(frozen=True)
class Radius:
    login: int
    accounting: int
    folder: Path


@contextmanager
def radius_at(at: Place, folder: Path) -> Iterator[Radius]:
    """FreeRADIUS; accounts go into the file “detail”."""
    ports = Radius(free_port(), free_port(), folder)
    (folder / "radiusd.conf").write_text(CONFIGURATION.format(folder=folder, key=KEY, ports=ports, at=at))
    (folder / "users").write_text(USERS)
    (folder / "dictionary").write_text("$INCLUDE /usr/share/freeradius/dictionary\n")
    command = ["/usr/sbin/freeradius", "-f", "-l", "stdout", "-d", str(folder)]
    with process(command, ports.accounting, udp=True, at=at):
        yield ports


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Radius]:
    with radius_at(HERE, tmp_path_factory.mktemp("radius")) as ports:
        yield ports


@pytest.fixture(scope="module")
def server(servers: Radius) -> int:
    return servers.login


def login(port: int, timeout: float = 2, address: str = "127.0.0.1", **given: Any) -> Any:
    everything = {"user_name": "halfpipe", "password": PASSWORD, "rad_key": KEY, **given}
    result = probe("RADIUS", port, timeout, address=address, **everything)
    assert "s3cret" not in repr(result)
    return result


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_login_passes_with_the_servers_words(server: int, address: str) -> None:
    assert passed(login(server, address=address)) == "Access-Accept (2): Hello"


def test_the_nas_is_told(server: int) -> None:
    words = passed(login(server, user_name="nas", rad_nas_id="director-1", rad_nas_ip="192.0.2.7"))
    assert words == "Access-Accept (2): Known NAS"
    assert failed(login(server, user_name="nas", rad_nas_ip="192.0.2.7")) == "Access-Reject (3), wanted 2"


def account(port: int, timeout: float = 2, **given: Any) -> Any:
    result = probe("RADIUS_ACCOUNTING", port, timeout, **{"rad_key": KEY, **given})
    assert "s3cret" not in repr(result)
    return result


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_an_accounting_request_is_acknowledged_and_written_down(servers: Radius, address: str) -> None:
    given: dict[str, Any] = {"user_name": "halfpipe", "rad_account_type": 3, "rad_account_session": f"at {address}"}
    given |= {"rad_framed_ip": "192.0.2.5", "rad_apn": "internet", "rad_msisdn": "4912345"}
    assert passed(account(servers.accounting, address=address, **given)) == "Accounting-Response (5)"
    written = (servers.folder / "detail").read_text()
    assert f'Acct-Session-Id = "at {address}"' in written
    for line in (
        "Acct-Status-Type = Interim-Update",
        'User-Name = "halfpipe"',
        'Called-Station-Id = "internet"',
        'Calling-Station-Id = "4912345"',
        "Framed-IP-Address = 192.0.2.5",
        'NAS-Identifier = "Halfpipe"',
    ):
        assert line in written


def test_accounting_with_another_key_gets_no_answer(servers: Radius) -> None:
    words = failed(account(servers.accounting, 0.3, rad_key="s3cret-wrong"))
    assert words.startswith("no answer within 0.3 s (servers are silent too when ")


def test_an_accounting_request_needs_an_accounting_response() -> None:
    with datagrams(lambda server, data, peer: accept(server, data, peer, KEY)) as port:
        assert failed(account(port)) == "code 2, wanted Accounting-Response (5)"
    with datagrams(noise) as port:
        assert failed(account(port)) == "answered, but what came is no RADIUS message"


def test_the_trace_shows_no_bytes_that_the_secrets_went_into(server: int) -> None:
    found = trace("RADIUS", server, user_name="halfpipe", password=PASSWORD, rad_key=KEY)
    assert steps(found) == ["request", "sent", "received", "answer", "verdict"]
    assert "User-Name halfpipe, User-Password, NAS-Identifier Halfpipe" in texts(found, "request")
    assert texts(found, "sent") == texts(found, "received") == "RADIUS message (not shown)"
    assert texts(found, "answer") == "Access-Accept (2), signed with the shared secret"


def test_a_wrong_password_is_rejected_unless_a_reject_is_wanted(server: int) -> None:
    assert failed(login(server, password="s3cret-other")) == "Access-Reject (3): Hello, wanted 2"
    assert passed(login(server, password="s3cret-other", resp_code="2-3")) == "Access-Reject (3): Hello"


def test_a_wrong_key_gets_no_answer_and_the_words_say_what_that_may_mean(server: int) -> None:
    words = failed(login(server, 0.3, rad_key="s3cret-wrong"))
    assert words.startswith("no answer within 0.3 s (servers are silent too when ")


def test_a_refused_port_fails_at_once() -> None:
    result = login(free_port(), 5)
    assert failed(result) == "connection refused"
    assert result.duration < 4


def test_a_silent_server_fails_when_the_time_is_over() -> None:
    with datagrams(mute) as port:
        assert failed(login(port, 0.3)).startswith("no answer within 0.3 s")


def accept(server: socket.socket, data: bytes, peer: Peer, key: str, number: int = 0) -> None:
    head = struct.pack("!BBH", 2, data[1] ^ number, 20)
    server.sendto(head + hashlib.md5(head + data[4:20] + key.encode()).digest(), peer)  # noqa: S324 - RFC 2865


def test_an_answer_signed_with_another_key_fails() -> None:
    with datagrams(lambda server, data, peer: accept(server, data, peer, "s3cret-forged")) as port:
        assert failed(login(port)) == "answered, but the answer is not signed with this shared secret"
    with datagrams(lambda server, data, peer: accept(server, data, peer, KEY)) as port:
        assert passed(login(port)) == "Access-Accept (2)"


def test_an_answer_to_another_request_does_not_count() -> None:
    with datagrams(lambda server, data, peer: accept(server, data, peer, KEY, number=1)) as port:
        assert failed(login(port, 0.3)) == "no answer within 0.3 s"


def test_what_is_no_radius_fails() -> None:
    with datagrams(noise) as port:
        assert failed(login(port)) == "answered, but what came is no RADIUS message"


@given_by(data=st.binary(max_size=120))
@settings(max_examples=300, deadline=None)
def test_no_bytes_make_the_decoder_raise_anything_else(data: bytes) -> None:
    request = request_of(Parameters(user_name="a", password="b", rad_key="c"))
    request.RequestPacket()
    head = struct.pack("!BBH16s", 2, request.id, 20 + len(data), bytes(16))
    for wire in (data, head + data):
        try:
            assert reply_to(request, wire) is None
        except WrongAnswer as error:
            assert str(error).startswith("answered, but")  # noqa: PT017 - not raising is fine too


def test_secrets_are_in_no_representation() -> None:
    given: dict[str, Any] = {"user_name": "u", "password": PASSWORD, "rad_key": KEY}
    assert "s3cret" not in repr(spec("RADIUS", 1812, **given))
    assert "s3cret" not in repr(Parameters(**given))


def test_wrong_parameters_are_refused() -> None:
    given = {"user_name": "ü" * 127, "password": "ü" * 65, "rad_key": "k", "rad_nas_ip": "1.2", "resp_code": "0"}
    problems = KINDS["RADIUS"].clean(given)[1]
    assert problems.keys() == {"user_name", "password", "rad_nas_ip", "resp_code"}
    assert "ü" not in problems["password"]
    assert KINDS["RADIUS"].clean({})[1].keys() == {"user_name", "password", "rad_key"}
