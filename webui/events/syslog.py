"""Syslog: RFC 5424 messages over UDP (RFC 5426), TCP with octet counting (RFC 6587) or TLS (RFC 5425)."""

from __future__ import annotations

import os
import re
import socket
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from monitors.parameters import choice, integer, text
from monitors.spec import ParamValue
from webui.events import wire
from webui.events.kind import DeliveryError, TargetKind
from webui.events.message import Event, one_line

# Section 6.2.1 of RFC 5424.
FACILITIES: Final = {f"LOCAL{number}": 16 + number for number in range(8)} | {"DAEMON": 3, "USER": 1}
PORTS: Final = {"UDP": 514, "TCP": 601, "TLS": 6514}
# What every receiver should take (section 6.1).
LONGEST: Final = 2048
# The number for documentation (RFC 5612), as Halfpipe has none of its own.
SD_ID: Final = "event@32473"
BOM: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Parameters:
    """Where the collector is."""

    host: str = text(help="Name or address of the collector.", required=True, check=wire.host_problem)
    transport: str = choice(
        "UDP", ("UDP", "TCP", "TLS"), help="UDP tells nobody what is lost. TLS verifies the collector's certificate."
    )
    port: int = integer(0, low=0, high=65535, help="0: 514 for UDP, 601 for TCP, 6514 for TLS.")
    facility: str = choice("LOCAL0", tuple(FACILITIES), help="Under which the collector files them.")
    ca_certificates: str = wire.authorities()


def message(event: Event, facility: str, host: str) -> bytes:
    """The event as a syslog message of at most LONGEST bytes; text beyond is cut between characters."""
    priority = FACILITIES[facility] * 8 + event.severity
    header = f"<{priority}>1 {event.time} {_name(host, 255)} halfpipe {os.getpid()} {_name(event.type, 32)} "
    values = {"id": event.id, **event.data}
    data = "".join(f' {_name(name, 32)}="{_escaped(value)}"' for name, value in values.items())
    start = f"{header}[{SD_ID}{data}] ".encode() + BOM
    room = max(0, LONGEST - len(start))
    return start + one_line(event.text).encode()[:room].decode(errors="ignore").encode()


def framed(one: bytes) -> bytes:
    """With its length before it (RFC 6587, section 3.4.1): the message may contain anything."""
    return b"%d %b" % (len(one), one)


def _name(value: str, limit: int) -> str:
    """Printable US-ASCII without what would end it; “-” for nothing."""
    return re.sub(r"[^!#-<>-\\^-~]", "_", value)[:limit] or "-"


def _escaped(value: str) -> str:
    """A parameter's value (section 6.3.3)."""
    return re.sub(r'(["\\\]])', r"\\\1", one_line(value)[:255])


def send(given: Parameters, events: Sequence[Event]) -> Iterator[Sequence[Event]]:
    """Send the events; over UDP that they left is all that can be known. Raises DeliveryError."""
    port = given.port or PORTS[given.transport]
    host = socket.gethostname()
    messages = [message(event, given.facility, host) for event in events]
    try:
        if given.transport == "UDP":
            _send_datagrams(given.host, port, messages)
        else:
            _send_stream(given, port, b"".join(map(framed, messages)))
    except (OSError, ValueError) as error:
        raise DeliveryError(f"{given.transport} to {given.host} port {port}: {wire.words(error)}") from error
    yield events


def _send_datagrams(host: str, port: int, messages: Sequence[bytes]) -> None:
    family, kind, protocol, _canonical, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind, protocol) as sender:
        sender.connect(address)  # a refusal that comes back by ICMP fails the next message
        for one in messages:
            sender.send(one)


def _send_stream(given: Parameters, port: int, data: bytes) -> None:
    with wire.Deadline() as deadline, deadline.connect(given.host, port) as plain:
        plain.settimeout(deadline.step())
        if given.transport == "TCP":
            plain.sendall(data)
            plain.shutdown(socket.SHUT_WR)
            _wait_for_end(plain)
            return
        with wire.tls_context(given.ca_certificates).wrap_socket(plain, server_hostname=given.host) as secured:
            secured.sendall(data)
            _say_goodbye(secured)


def _wait_for_end(connection: socket.socket) -> None:
    """A collector that took everything closes, one that did not resets; one that does nothing is believed."""
    connection.settimeout(2)
    with suppress(TimeoutError):
        connection.recv(1)


def _say_goodbye(connection: ssl.SSLSocket) -> None:
    """Exchange close_notify (RFC 5425, section 4.4); without it, a reset is an error and silence is not."""
    connection.settimeout(2)
    try:
        connection.unwrap()
    except (TimeoutError, ssl.SSLEOFError, ssl.SSLSyscallError):
        return
    except OSError as error:
        if isinstance(error, ConnectionResetError):
            raise


def _shown(params: Mapping[str, ParamValue]) -> str:
    transport = str(params.get("transport", "UDP"))
    return f"{params.get('host', '')}, {transport} port {params.get('port') or PORTS[transport]}"


KIND = TargetKind(
    name="SYSLOG",
    label="Syslog (RFC 5424)",
    about="A collector of syslog messages, over UDP, TCP or TLS.",
    parameters_type=Parameters,
    send=send,
    shown=_shown,
)
