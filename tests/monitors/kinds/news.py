"""A small news server: ``python -m tests.monitors.kinds.news ADDRESS ADDRESS6 PORT``."""

from __future__ import annotations

import socket
import socketserver
import sys
import threading

PASSWORD = "secret-word"


class News(socketserver.StreamRequestHandler):
    """The part of RFC 3977 and RFC 4643 that a reader begins with."""

    def handle(self) -> None:
        self.say("200 news.example ready")
        known = False
        while line := self.rfile.readline(512).decode().split():
            word, given = " ".join(line[:2]).upper(), line[-1]
            if word == "AUTHINFO USER":
                self.say("381 password, please")
            elif word == "AUTHINFO PASS":
                known = given == PASSWORD
                self.say("281 welcome" if known else "481 wrong password")
            elif line[0].upper() == "GROUP" and not known:
                self.say("480 log in first")
            elif line[0].upper() == "GROUP":
                self.say("211 3 1 3 misc.test" if given == "misc.test" else "411 no such newsgroup")
            elif line[0].upper() == "QUIT":
                self.say("205 goodbye")
                return
            else:
                self.say("500 what?")

    def say(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())


class Server(socketserver.ThreadingTCPServer):
    """IPv4."""

    daemon_threads = True
    allow_reuse_address = True


class Server6(Server):
    """IPv6."""

    address_family = socket.AF_INET6


def main(address: str, address6: str, port: int) -> None:
    """Serve until the process ends."""
    threading.Thread(target=Server6((address6, port), News).serve_forever, daemon=True).start()
    Server((address, port), News).serve_forever()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
