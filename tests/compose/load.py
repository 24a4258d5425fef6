"""Requests from a client's addresses, one after the other; run inside the client's container, so it imports nothing.

``load.py VIP PREFIX FIRST COUNT (NUMBER | until FILE)``. Writes one JSON object: answers by source, failures by text.
"""

from __future__ import annotations

import http.client
import json
import sys
import time
from collections import Counter
from pathlib import Path

PAUSE = 0.005  # seconds; the machine has other work, too


def ask(vip: str, source: str) -> str:
    """The name of the server that answers."""
    connection = http.client.HTTPConnection(vip, timeout=2, source_address=(source, 0))
    try:
        connection.request("GET", "/")
        answer = connection.getresponse()
        body = answer.read().decode().strip()
        if answer.status != http.HTTPStatus.OK:
            message = f"status {answer.status}"
            raise OSError(message)
        return body
    finally:
        connection.close()


def main() -> None:
    """Ask until the number is reached or the file appears."""
    vip, prefix, first, count, how, *file = sys.argv[1:]
    answers: dict[str, Counter[str]] = {}
    failures: Counter[str] = Counter()
    number = 0
    while not Path(file[0]).exists() if file else number < int(how):
        source = f"{prefix}.{int(first) + number % int(count)}"
        number += 1
        try:
            answers.setdefault(source, Counter())[ask(vip, source)] += 1
        except (OSError, http.client.HTTPException) as error:
            failures[repr(error)] += 1
        if file:
            time.sleep(PAUSE)
    json.dump({"requests": number, "answers": answers, "failures": failures}, sys.stdout)


main()
