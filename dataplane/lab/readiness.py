"""Questions that tell whether a process does its work. Each returns None for yes, else what is missing, as a phrase."""

from __future__ import annotations

import http.client
import socket
import struct
from pathlib import Path

from dataplane.lab.netns import open_socket

TIMEOUT = 1.0  # seconds for one question
TFTP_TIMEOUT = 0.2  # a server that is not up yet is silent, so the question is soon asked again


def redis_command(path: Path, command: str) -> str:
    """Send one command without arguments over a unix socket; return the reply's bytes as text, RESP framing included.

    Raises OSError when Redis cannot be reached or goes away.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(TIMEOUT)
        connection.connect(str(path))
        connection.sendall(f"{command}\r\n".encode())
        reply = connection.recv(65536)
        if reply.startswith(b"$"):  # a bulk string: $LENGTH, newline, that many bytes, newline
            head = reply.index(b"\r\n") + 2
            while len(reply) < head + int(reply[1 : head - 2]) + 2:
                if not (more := connection.recv(65536)):
                    raise ConnectionResetError("Redis closed the connection")
                reply += more
        return reply.decode(errors="replace")


def redis_answers(path: Path) -> str | None:
    """Redis answers PING."""
    try:
        reply = redis_command(path, "PING")
    except OSError as error:
        return f"no answer on {path} ({error})"
    return None if reply.startswith("+PONG") else f"it said {reply.strip()!r} to PING"


def celery_consumes(path: Path) -> str | None:
    """Some Celery worker waits for tasks at this Redis (a client is in BRPOP)."""
    try:
        waiting = "cmd=brpop" in redis_command(path, "CLIENT LIST")
    except OSError as error:
        return f"no answer of Redis on {path} ({error})"
    return None if waiting else "no worker waits for tasks"


def http_answers(address: str, port: int, path: str, namespace: str | None = None) -> str | None:
    """GET of ``path`` over HTTP yields 200; from within a network namespace, when one is named."""
    connection = http.client.HTTPConnection(address, port, timeout=TIMEOUT)
    try:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        if namespace is not None:
            connection.sock = open_socket(namespace, family, socket.SOCK_STREAM)
            connection.sock.settimeout(TIMEOUT)
            connection.sock.connect((address, port))
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        status = response.status
    except (OSError, http.client.HTTPException) as error:
        return f"no answer on http://{address}:{port}{path} ({error})"
    finally:
        connection.close()
    return None if status == http.HTTPStatus.OK else f"http://{address}:{port}{path} answers with status {status}"


def tftp_answers(address: str, name: str, namespace: str) -> str | None:
    """A TFTP read request for ``name`` (RFC 1350) yields the first block, from the address that was asked."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with open_socket(namespace, family, socket.SOCK_DGRAM) as client:
        client.settimeout(TFTP_TIMEOUT)
        try:
            client.sendto(struct.pack("!H", 1) + name.encode() + b"\0octet\0", (address, 69))
            reply, sender = client.recvfrom(65536)
            client.sendto(struct.pack("!HH", 5, 0) + b"enough\0", sender)
        except OSError as error:
            return f"no answer on {address} ({error})"
    if sender[0] != address:
        return f"{address} answered as {sender[0]}"
    opcode, block = struct.unpack("!HH", reply[:4])
    return None if (opcode, block) == (3, 1) else f"{address} answered with opcode {opcode}: {reply[4:80]!r}"
