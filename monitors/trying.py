"""A probe by hand, traced: run at once, by whoever asked for it, without a trace in any row."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import redis
from django.conf import settings
from django.db import DatabaseError, InterfaceError

from monitors import machine, registry
from monitors.question import spec_of, thresholds_of
from monitors.spec import ProbeResult, ProbeSpec
from monitors.trace import RESOLVE, Trace, traced
from webui import freshness, tries
from webui.celery import app
from webui.models import HealthState, Monitor, ProbeTarget, ServerPath, Service

AT_ONCE: Final = 8  # of one worker; each has a thread of its own, as those of the pool are for the sweeps

log = logging.getLogger(__name__)
_places = threading.BoundedSemaphore(AT_ONCE)


@dataclass(frozen=True, slots=True)
class Attempt:
    """All that a probe by hand needs; made of rows, and needing none any more."""

    spec: ProbeSpec
    before: tuple[tuple[str, str], ...]
    thresholds: machine.Parameters

    def run(self) -> Trace:
        """Run it in an event loop of its own, in at most the response timeout."""
        return asyncio.run(traced(self.spec, registry.run, self.before, partial(judge, self.thresholds)))


def attempt_of(monitor: Monitor, service: Service, target: ProbeTarget) -> Attempt:
    """What a check of ``service`` at ``target`` by ``monitor`` would be; whether they are bound does not matter.

    Raises KeyError for a type of monitor that does not exist.
    """
    _ = registry.KINDS[monitor.monitor_type].probe  # loaded now, so that the first step's time is the network's
    health = HealthState.objects.filter(monitor=monitor, service=service, target=target).first()
    if health is not None:
        freshness.refresh([health])
    spec = spec_of(monitor, service, target, health.average_time if health else None)
    before = [(RESOLVE, words) for words in _paths(spec, service)]
    if spec.timeout > tries.LONGEST:
        spec = replace(spec, timeout=tries.LONGEST)
        longest = monitor.time_text("resp_timeout")
        before.append(("limit", f"ended after {spec.timeout:g} s; checks wait up to {longest}"))
    return Attempt(spec, tuple(before), thresholds_of(monitor))


def judge(thresholds: machine.Parameters, result: ProbeResult) -> tuple[bool, str]:
    """Whether a check with this result passes, and in what words; reversed monitors included."""
    state, words = machine.alone(thresholds, result)
    return state != machine.DOWN, words


def _paths(spec: ProbeSpec, service: Service) -> list[str]:
    """Where frames to the probe address go, as the data plane reported; of this director, if it did."""
    server = service.server
    what = f"{spec.vip} by way of {spec.address}"
    reported = list(ServerPath.objects.filter(server=server).order_by("director"))
    mine = [path for path in reported if path.director == settings.DIRECTOR]
    if not reported:
        return [f"{what}: no director has reported a path to {server.name} ({server.address})"]
    return [
        f"{what}: frames go to MAC {path.mac} of {server.name} ({server.address}) on {path.interface}, "
        f"as director {path.director} reported"
        if path.eligible and path.mac
        else f"{what}: director {path.director} has no path to {server.name} ({server.address}): {path.reason}"
        for path in mine or reported
    ]


def outcome_of(trace: Trace) -> tries.Outcome:
    """The trace as JSON has it."""
    return tries.Outcome(
        passed=trace.passed,
        message=trace.message,
        steps=[
            tries.StepRow(
                what=step.what,
                at=round(step.at, 3),
                took=round(step.took, 3),
                text=step.text,
                size=step.size,
                cut=step.cut,
            )
            for step in trace.steps
        ],
        left_off=trace.left_off,
    )


@app.task(name=tries.TASK)  # type: ignore[untyped-decorator]  # Celery has no types
def probe(ticket: str) -> bool:
    """Take a ticket and start its probe; whether there was one. The answer goes to Redis when it is there."""
    try:
        taken = tries.take(ticket)
        if taken is None:
            return False
        refuse = partial(tries.answer, ticket, taken)
        attempt = _attempt_for(taken, refuse)
        if attempt is None:
            return False
        if not _places.acquire(blocking=False):
            refuse(problem=f"This worker runs {AT_ONCE} probes by hand already; try again in a moment.")
            return False
    except redis.RedisError as error:
        log.warning("A probe by hand was not run: Redis does not answer (%s).", error)
        return False
    threading.Thread(target=_run, args=(attempt, ticket, taken), name="probe-by-hand", daemon=True).start()
    return True


def _attempt_for(taken: tries.Try, refuse: Callable[..., None]) -> Attempt | None:
    try:
        monitor = Monitor.objects.get(pk=taken["monitor"])
        service = Service.objects.select_related("server").get(pk=taken["service"])
        return attempt_of(monitor, service, ProbeTarget.objects.get(pk=taken["target"], server=service.server))
    except (Monitor.DoesNotExist, Service.DoesNotExist, ProbeTarget.DoesNotExist):
        refuse(problem="The monitor, the service or its probe address was deleted meanwhile.")
    except KeyError as error:
        refuse(problem=f"{error} is no type of monitor.")
    except (DatabaseError, InterfaceError) as error:
        log.warning("A probe by hand was not run: %s", error)
        refuse(problem="The worker cannot read the database.")
    return None


def _run(attempt: Attempt, ticket: str, taken: tries.Try) -> None:
    try:
        try:
            outcome = outcome_of(attempt.run())
        except Exception:
            # A bug of a kind: whoever waits for the answer is told, and the log has it all.
            log.exception("A probe by hand is broken.")
            tries.answer(ticket, taken, problem="The probe is broken; the worker's log has the reason.")
        else:
            tries.answer(ticket, taken, outcome=outcome)
    except redis.RedisError as error:
        log.warning("The answer of a probe by hand was lost: Redis does not answer (%s).", error)
    finally:
        _places.release()
