"""The lab's HTTP server: a real one, on IPv4 and IPv6, that says which server it is.

Run inside a server's namespace: ``python -m dataplane.lab.server --name server1 --files DIRECTORY``.
"""

from __future__ import annotations

import argparse
import random
import socket
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

BIG_FILE, BIG_FILE_SIZE = "10mb.bin", 10 * 1024 * 1024
SMALL_FILE, SMALL_FILE_SIZE = "1mb.bin", 1024 * 1024
SEED = 77


def write_files(directory: Path) -> None:
    """Write the files that every server serves: the same random bytes on each run and each server."""
    content = random.Random(SEED).randbytes(BIG_FILE_SIZE)  # noqa: S311 - content to compare, no secret
    for name, size in ((BIG_FILE, BIG_FILE_SIZE), (SMALL_FILE, SMALL_FILE_SIZE)):
        path = directory / name
        path.write_bytes(content[:size])
        path.chmod(0o644)


class LabServer(ThreadingHTTPServer):
    """HTTP/1.1 on one dual-stack socket; ``files`` is a flat directory, ``label`` the server's name."""

    address_family = socket.AF_INET6
    request_queue_size = 1024
    daemon_threads = True

    def __init__(self, label: str, files: Path, port: int) -> None:
        self.label = label
        self.files = files
        super().__init__(("::", port), Handler)

    def server_bind(self) -> None:
        """Bind for both families."""
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_name, self.server_port = self.label, self.socket.getsockname()[1]


class Handler(BaseHTTPRequestHandler):
    """Answer GET and HEAD: ``/`` with the server's name, ``/NAME`` with a file."""

    protocol_version = "HTTP/1.1"
    server: LabServer
    timeout = 75  # seconds; an idle kept-alive connection ends
    disable_nagle_algorithm = True

    def do_HEAD(self) -> None:
        """Answer with headers alone."""
        self._answer(body=False)

    def do_GET(self) -> None:
        """Answer with headers and content."""
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        name = self.path.partition("?")[0].removeprefix("/")
        if not name:
            text = f"{self.server.label}\n".encode()
            self._headers("text/plain; charset=utf-8", len(text))
            if body:
                self.wfile.write(text)
            return
        path = self.server.files / name
        if "/" in name or name.startswith(".") or not path.is_file():
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        with path.open("rb") as file:
            self._headers("application/octet-stream", path.stat().st_size)
            if body:
                self.connection.sendfile(file)

    def _headers(self, kind: str, length: int) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(length))
        self.send_header("X-Server", self.server.label)
        self.end_headers()
        self.flush_headers()

    def handle(self) -> None:
        """Serve one connection; a client that goes away is no error of ours."""
        try:
            super().handle()
        except (ConnectionError, TimeoutError) as error:
            self.log_error("%s", error)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing of each request: health checks alone are several a second."""


def main() -> None:
    """Serve until a signal ends the process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--name", required=True)
    parser.add_argument("--files", type=Path, required=True)
    parser.add_argument("--port", type=int, default=80)
    options = parser.parse_args()
    with LabServer(options.name, options.files, options.port) as server:
        server.serve_forever(poll_interval=3600)


if __name__ == "__main__":
    main()
