"""``python -m dataplane.bench.audit_rows``: fill the audit, and time pages of its review.

A program of its own, since the benchmark knows no Django. The answer is JSON: milliseconds by name. What is timed is
the whole answer of the console, as a browser gets it, but for the network and the session.
"""

from __future__ import annotations

import argparse
import html
import json
import os
import re
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webui.settings")
django.setup()

from django.conf import settings  # noqa: E402 - Django must be set up before models are imported
from django.contrib.auth.models import User  # noqa: E402
from django.db import connection, transaction  # noqa: E402
from django.test import Client  # noqa: E402
from django.utils import timezone  # noqa: E402

from webui.audit import chain  # noqa: E402
from webui.models import AuditEntry, AuditHead, HealthTransition  # noqa: E402

BATCH = 10_000
DEEP = 8  # pages that are turned
ROUNDS = 3
NEXT = re.compile(r'href="([^"]*)" rel="next"')

# Common, rare and missing values of each filter, alone and together; words that are everywhere, rare and nowhere.
QUERIES = {
    "no filter": "",
    "kind": "kind=server",
    "rare kind": "kind=installation",
    "object": "object=web7",
    "object by number": "kind=server&id=7",
    "actor": "actor=alice",
    "rare actor": "actor=mallory",
    "unknown actor": "actor=nobody",
    "verb": "verb=update",
    "rare verb": "verb=delete",
    "changes of state": "verb=state",
    "interface": "interface=api",
    "outcome": "outcome=refused",
    "time": "from={early}&to={late}",
    "correlation": "correlation=000000000007a120",
    "revision": "revision=500000",
    "two common": "kind=server&interface=api",
    "common without a match": "actor=alice&verb=delete",
    "rare without a match": "actor=mallory&verb=delete",
    "all filters": "kind=server&object=web7&actor=alice&verb=update&interface=page&outcome=success&from={early}",
    "common word": "q=rack",
    "rare word": "q=needle",
    "word without a match": "q=zebra",
    "three words without a match": "q=rack+web+zebra",
    "word and filter": "q=needle&kind=server",
    "word and time": "q=needle&to={late}",
}


def fill(count: int) -> None:
    """``count`` chained entries of the last two years, and a tenth as many changes of state."""
    began = timezone.now() - timedelta(days=730)
    step = timedelta(days=729) / count
    previous, number = chain.GENESIS, 0
    while number < count:
        with transaction.atomic():
            batch = []
            for row in _entries(number + 1, min(number + BATCH, count), began, step):
                row.previous = previous
                row.hash = previous = chain.digest(chain.content(row))
                batch.append(row)
            AuditEntry.objects.bulk_create(batch)
            number += len(batch)
    AuditHead.objects.update_or_create(pk=1, defaults={"sequence": number, "hash": previous})
    for first in range(0, count // 10, BATCH):
        HealthTransition.objects.bulk_create(
            HealthTransition(
                at=began + step * 10 * one,
                service_name=f"web{one % 1000}",
                monitor_name="tcp",
                vip="10.0.0.1",
                old="UP",
                new="DOWN",
                reason="connection refused",
            )
            for one in range(first, min(first + BATCH, count // 10))
        )


def _entries(first: int, last: int, began: datetime, step: timedelta) -> Iterator[AuditEntry]:
    kinds = ("server", "service", "vserver", "monitor", "server", "service", "user")
    for number in range(first, last + 1):
        kind = kinds[number % len(kinds)]
        yield AuditEntry(
            pk=number,
            at=began + step * number,
            actor_name="mallory" if number % 50_000 == 7 else ("alice", "bob", "carol")[number % 3],
            source_address="192.0.2.7",
            interface=("page", "api", "cli")[number // 7 % 3],
            verb="login" if kind == "user" else "delete" if number % 999 == 1 else "update",
            outcome="refused" if number % 500 == 3 else "success",
            kind="installation" if number % 100_000 == 11 else kind,
            object_id=number % 1000,
            object_name=f"web{number % 1000}",
            before={"comment": f"rack {number % 40}", "state": "ENABLED"},
            after={"comment": "needle" if number % 300_000 == 5 else f"rack {number % 41}", "state": "DISABLED"},
            command=f"set {kind} web{number % 1000} -comment 'rack {number % 41}' -state DISABLED",
            correlation=f"{number:016x}",
            revision=number,
        )


def measure() -> Iterator[tuple[str, float]]:
    """The slowest of the first and the next pages of each filter, each the quickest of a few rounds, milliseconds."""
    settings.ALLOWED_HOSTS = ["testserver"]
    user = User.objects.create_superuser("bench")
    client = Client()
    client.force_login(user)
    newest = AuditEntry.objects.values_list("at", flat=True)[0]
    times = {"early": newest - timedelta(days=400), "late": newest - timedelta(days=200)}
    words = {name: f"{at.astimezone(UTC):%Y-%m-%d}" for name, at in times.items()}
    client.get("/audit/")  # templates are compiled
    for name, query in QUERIES.items():
        slowest, address = 0.0, "?" + query.format(**words)
        for _ in range(DEEP):
            taken = []
            for _ in range(ROUNDS):
                began = time.perf_counter()
                answer = client.get(f"/audit/{address}")
                taken.append((time.perf_counter() - began) * 1000)
                if answer.status_code != 200:
                    sys.exit(f"{address}: {answer.status_code}")
            slowest = max(slowest, min(taken))
            following = NEXT.search(answer.content.decode())
            if following is None:
                break
            address = html.unescape(following[1])
        yield name, slowest


def main() -> int:
    """Fill, measure, tell."""
    parser = argparse.ArgumentParser(prog="dataplane.bench.audit_rows", description=__doc__)
    parser.add_argument("--entries", type=int, default=1_000_000, help="how many to make; 0: measure what is there")
    options = parser.parse_args()
    found: dict[str, float] = {}
    if options.entries:
        began = time.perf_counter()
        fill(options.entries)
        found["filled in s"] = time.perf_counter() - began
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")
    found |= measure()
    sys.stdout.write(json.dumps(found) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
