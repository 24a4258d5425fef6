"""What a monitor would say before it is bound: one check of each VIP on each server, recorded nowhere.

The request lies in Redis under a token; its answer is written beside it. Nothing of it concerns the rows.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import redis
from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection

from monitors import machine, registry
from monitors.question import spec_of, thresholds_of
from monitors.spec import ProbeSpec
from webui.celery import app
from webui.models import Monitor, ProbeTarget, Service
from webui.preview import ANSWER, LONGEST_CHECK, SECONDS_KEPT, key_of

PROBES_AT_ONCE: Final = 50
AT_ONCE: Final = 2  # previews in one process

log = logging.getLogger(__name__)

_free = threading.Semaphore(AT_ONCE)


@app.task(name="monitors.preview.run")  # type: ignore[untyped-decorator]  # Celery has no types
def run(token: str, monitor: int, pairs: list[list[Any]]) -> None:
    """Start to check each pair of service (row id) and VIP by a monitor; returns at once, so that no sweep waits."""
    if not _free.acquire(blocking=False):
        _write(token, {"error": f"The worker runs {AT_ONCE} previews already; try again in some seconds."})
        return
    threading.Thread(target=_in_thread, args=(token, monitor, pairs), name="preview", daemon=True).start()


def _in_thread(token: str, monitor: int, pairs: Sequence[Sequence[Any]]) -> None:
    try:
        _write(token, {"results": preview(monitor, pairs)})
    except Monitor.DoesNotExist:
        _write(token, {"error": "The monitor was deleted meanwhile."})
    except (DatabaseError, InterfaceError) as error:
        log.warning("A preview could not read what to check: %s", error)
        _write(token, {"error": "The database did not answer; try again."})
    finally:
        connection.close()
        _free.release()


def preview(monitor_pk: int, pairs: Sequence[Sequence[Any]]) -> list[dict[str, Any]]:
    """Check each pair once. Raises Monitor.DoesNotExist, django.db.DatabaseError.

    Each result has ``service`` (row id), ``vip``, ``address`` (probe address, empty if there is none), ``state``
    (UP, DOWN or GOING OUT OF SERVICE), ``message`` and ``seconds``.
    """
    monitor = Monitor.objects.get(pk=monitor_pk)
    services = Service.objects.select_related("server").in_bulk([pair[0] for pair in pairs])
    targets = {(row.vip, row.server_id): row for row in ProbeTarget.objects.all()}
    found: list[tuple[dict[str, Any], ProbeSpec | None]] = []
    for pk, vip in pairs:
        service = services.get(pk)
        target = targets.get((vip, service.server_id)) if service else None
        row = {"service": pk, "vip": vip, "address": target.address if target else ""}
        found.append((row, spec_of(monitor, service, target) if service and target else None))
    results = asyncio.run(_check([spec for _row, spec in found], thresholds_of(monitor)))
    return [row | result for (row, _spec), result in zip(found, results, strict=True)]


async def _check(specs: Sequence[ProbeSpec | None], thresholds: machine.Parameters) -> list[dict[str, Any]]:
    turn = asyncio.Semaphore(PROBES_AT_ONCE)

    async def one(spec: ProbeSpec | None) -> dict[str, Any]:
        if spec is None:
            return {"state": machine.DOWN, "message": "there is no probe address for it any more", "seconds": 0.0}
        async with turn:
            result = await registry.run(replace(spec, timeout=min(spec.timeout, LONGEST_CHECK)))
        state, words = machine.alone(thresholds, result)
        return {"state": state, "message": words, "seconds": result.duration}

    return await asyncio.gather(*(one(spec) for spec in specs))


def _write(token: str, answer: dict[str, Any]) -> None:
    try:
        with redis.Redis.from_url(settings.REDIS_URL, socket_timeout=2, socket_connect_timeout=2) as client:
            client.set(key_of(token, ANSWER), json.dumps(answer), ex=SECONDS_KEPT)
    except redis.RedisError as error:
        log.warning("The answer of a preview was not handed over: %s", error)
