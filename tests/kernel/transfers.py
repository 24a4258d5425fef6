"""Clients that download in two parts, so that something can happen in between: HTTP, FTP and TFTP."""

from __future__ import annotations

import ftplib
import http.client
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from tests.kernel.bench import inside, run

SECONDS = 30
_WINDOW = 65536  # of the client's TCP: what the server could send ahead stays far below a file
FTP_CONFIGURATION = """\
listen=NO
listen_ipv6=YES
background=NO
anonymous_enable=YES
local_enable=NO
no_anon_password=YES
anon_root={files}
ftp_username=ftp
nopriv_user=nobody
secure_chroot_dir={empty}
connect_from_port_20=YES
port_enable=YES
pasv_enable=YES
pasv_min_port=50000
pasv_max_port=50999
isolate=NO
isolate_network=NO
seccomp_sandbox=NO
xferlog_enable=NO
"""


class Transfer(Protocol):
    """A download that was begun when it was made."""

    def read(self, size: int) -> bytes:
        """That much more; less only at the end."""

    def finish(self) -> bytes:
        """All that is left. Raises when the server does not confirm the end."""


class Http:
    """GET of a file."""

    def __init__(self, namespace: str, source: str, vip: str, name: str) -> None:
        with inside(namespace):
            self._socket = socket.socket(socket.AF_INET6 if ":" in vip else socket.AF_INET, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _WINDOW)
        self._socket.settimeout(SECONDS)
        self._socket.bind((source, 0))
        self._socket.connect((vip, 80))
        self._connection = http.client.HTTPConnection("vip")
        self._connection.sock = self._socket
        self._connection.request("GET", f"/{name}")
        self._answer = self._connection.getresponse()
        assert self._answer.status == 200
        self.server = self._answer.headers["X-Server"]

    def read(self, size: int) -> bytes:
        return self._answer.read(size)

    def finish(self) -> bytes:
        rest = self._answer.read()
        self._connection.close()
        return rest


class Ftp:
    """RETR of a file, anonymously; ``passive`` says who opens the data connection."""

    def __init__(self, namespace: str, source: str, vip: str, name: str, *, passive: bool) -> None:
        self._ftp = ftplib.FTP(timeout=SECONDS, source_address=(source, 0))  # noqa: S321 - what DSR must carry
        with inside(namespace):
            self._ftp.connect(vip)
            self._ftp.login()
            self._ftp.set_pasv(passive)
            self._ftp.voidcmd("TYPE I")
            self._data = self._ftp.transfercmd(f"RETR {name}")
        self._data.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _WINDOW)

    def read(self, size: int) -> bytes:
        parts = []
        while size and (part := self._data.recv(min(size, 1 << 16))):
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def finish(self) -> bytes:
        rest = self.read(1 << 30)
        self._data.close()
        self._ftp.voidresp()
        self._ftp.quit()
        return rest


class Tftp:
    """RRQ of a file in octet mode (RFC 1350), a block at a time."""

    BLOCK = 512

    def __init__(self, namespace: str, source: str, vip: str, name: str) -> None:
        with inside(namespace):
            self._socket = socket.socket(socket.AF_INET6 if ":" in vip else socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.settimeout(1)
        self._socket.bind((source, 0))
        self._vip = vip
        self._blocks = self._receive(struct.pack(">H", 1) + name.encode() + b"\0octet\0")

    def _receive(self, request: bytes) -> Iterator[bytes]:
        sent, peer, expected, tries = request, (self._vip, 69), 1, 0
        while True:
            self._socket.sendto(sent, peer)
            try:
                data, whole = self._socket.recvfrom(4 + self.BLOCK)
            except TimeoutError:
                tries += 1
                assert tries < 10, f"no block {expected}"
                continue
            if whole[0] != self._vip:
                # tftpd-hpa learns the address asked from its second request on: the first it answers from its own
                tries += 1
                assert tries < 10, f"answered by {whole[0]}, not by the VIP"
                continue
            code, number = struct.unpack(">HH", data[:4])
            assert code == 3, f"TFTP error {number}: {data[4:]!r}"
            if number != expected & 0xFFFF:
                continue
            peer, sent, expected, tries = whole[:2], struct.pack(">HH", 4, number), expected + 1, 0
            yield data[4:]
            if len(data) < 4 + self.BLOCK:
                self._socket.sendto(sent, peer)
                return

    def read(self, size: int) -> bytes:
        assert size % self.BLOCK == 0
        return b"".join(next(self._blocks) for _ in range(size // self.BLOCK))

    def finish(self) -> bytes:
        rest = b"".join(self._blocks)
        self._socket.close()
        return rest


def write_ftp_configuration(folder: Path, files: Path) -> Path:
    """For vsftpd(8); ``folder`` must be reachable by everybody."""
    empty = folder / "empty"
    empty.mkdir(exist_ok=True)
    path = folder / "vsftpd.conf"
    path.write_text(FTP_CONFIGURATION.format(files=files, empty=empty))
    run("chown", "root:root", str(path))
    return path
