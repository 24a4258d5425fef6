"""``python -m dataplane.bench.import_rows``: time the import of a large ``ns.conf``, dry run and apply.

A program of its own, since the benchmark knows no Django. The database is empty but for what a migration makes. The
answer is JSON: how many lines, and how many of them in a second by name.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webui.settings")
django.setup()

from webui.actions.base import Actor  # noqa: E402 - Django must be set up before models are imported
from webui.nscli.conf import import_configuration  # noqa: E402


def lines(vservers: int) -> Iterator[str]:
    """Commands of an installation: two servers, four services and five bindings for each virtual server."""
    for number in range(50):
        yield f"add lb monitor mon{number} TCP -interval 10 -resptimeout 3"
    for number in range(2 * vservers):
        address = f"10.{number >> 14}.{number >> 7 & 127}.{number & 127 | 1 << 7}"
        yield f'add server web{number} {address} -comment "rack {number % 40}"'
    for number in range(4 * vservers):
        port = (80, 443)[number % 2]
        yield f"add service svc{number} web{number // 2} TCP {port} -usip YES"
    for number in range(vservers):
        vip = f"172.16.{number >> 7}.{number & 127 | 1 << 7}"
        yield f"add lb vserver vs{number} TCP {vip} {(80, 443)[number % 2]} -m MAC -lbMethod SOURCEIPHASH"
    for number in range(vservers):
        for server in range(2 * number, 2 * number + 2):
            yield f"bind lb vserver vs{number} svc{2 * server + number % 2} -weight {1 + server % 5}"
        yield f"bind service svc{4 * number + number % 2} -monitorName mon{number % 50}"


def main() -> int:
    """Import once as a dry run and once in earnest, and tell how fast."""
    parser = argparse.ArgumentParser(prog="dataplane.bench.import_rows", description=__doc__)
    parser.add_argument("--vservers", type=int, default=500, help="ten lines for each")
    options = parser.parse_args()
    text = "\n".join(lines(options.vservers))
    found: dict[str, float] = {"lines": text.count("\n") + 1}
    for name, apply in (("dry run", False), ("apply", True)):
        began = time.perf_counter()
        report = import_configuration(Actor.system("bench"), text, apply=apply)
        found[name] = found["lines"] / (time.perf_counter() - began)
        if report.counts["refused"] or report.counts["ignored"] or report.done != apply:
            sys.exit(next(f"{one.line}: {one.why}" for one in report.lines if one.outcome != "applied"))
    sys.stdout.write(json.dumps(found) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
