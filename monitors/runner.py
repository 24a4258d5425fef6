"""Runs the checks of this worker, each when it is due: one thread with an event loop, and neither database nor Redis.

A result that changes nothing is only remembered here, until somebody collects the figures. A verdict (a change of
state, or an alert) goes to ``judged``, and its check waits until the verdict is written: whatever the database does,
no more than one verdict of each check is in memory.

Probes start while the worker's lease lasts, and none outlasts it: when it is not renewed in time they are cancelled,
and those checks start again when it is.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import resource
import threading
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from datetime import datetime
from time import monotonic
from typing import Final, TypeVar

from django.utils import timezone

from monitors import schedule
from monitors.check import Check, Plan, Verdict
from monitors.spec import ProbeResult, ProbeSpec
from webui.freshness import Figures

PROBES_AT_ONCE: Final = 4096
TOGETHER: Final = 0.1  # seconds; checks with one question due this close share a probe
BURST: Final = 8  # probes that are overdue together start so many at a time
PAUSE: Final = 0.002  # seconds between bursts

log = logging.getLogger(__name__)
T = TypeVar("T")


def capacity() -> int:
    """Probes at once: at most half of this process's file descriptors, as each needs one.

    The soft limit, 1024 as a rule, is raised as far as that takes and the hard limit lets it.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * PROBES_AT_ONCE
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return PROBES_AT_ONCE if soft == resource.RLIM_INFINITY else min(PROBES_AT_ONCE, soft // 2)


class Runner:
    """Runs probes; started by the first call. Its public methods are for other threads."""

    def __init__(self, run: Callable[[ProbeSpec], Awaitable[ProbeResult]], judged: Callable[[Verdict], object]) -> None:
        self._run = run
        self._judged = judged
        self._capacity = capacity()
        self._lock = threading.Lock()  # guards the starting
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self.stopped = False
        # Of the loop's thread
        self._checks: dict[int, Check] = {}
        self._same: dict[ProbeSpec, list[Check]] = {}
        self._queue: list[tuple[float, int, Check]] = []  # a heap; entries whose ticket is old are passed over
        self._tickets = itertools.count(1)
        self._running: dict[asyncio.Task[None], list[Check]] = {}
        self._fresh: dict[int, Figures] = {}
        self._until = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._looks_at = 0.0
        self._lapse: asyncio.TimerHandle | None = None

    # For other threads

    def put(self, checks: Sequence[Check]) -> None:
        """Run these; a check of the same row is replaced, and what is under way for it does not count."""
        self._call(self._put, checks)

    def change(self, plans: Sequence[Plan]) -> None:
        """Go by new plans for rows that are run already, and run these now; their results go on to count."""
        self._call(self._change, plans)

    def remove(self, pks: Collection[int]) -> None:
        """Run these no more; when it returns none of them is under way."""
        self._await(self._removed(pks))

    def lease(self, until: float) -> None:
        """Probes may run until then, on the monotonic clock."""
        self._call(self._renew, until)

    def written(self, checks: Iterable[Check]) -> None:
        """Verdicts of these checks are written: go on with them."""
        self._call(self._go_on, list(checks))

    def collect(self) -> dict[int, Figures]:
        """Figures that are new since the last call."""
        return self._call(self._collect)

    def give_back(self, figures: Mapping[int, Figures]) -> None:
        """Figures that could not be stored: keep them unless there are newer ones."""
        self._call(self._keep, figures)

    def stop(self, patience: float = 0.0) -> None:
        """Start no more, wait up to ``patience`` seconds for running probes, end the thread.

        For good; only :meth:`collect` may be called after it.
        """
        if self.stopped or self._loop is None or self._thread is None:
            self.stopped = True
            return
        self._await(self._finish(patience))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self.stopped = True

    def _call(self, do: Callable[..., T], *arguments: object) -> T:
        """Run a method in the loop's thread and wait for it."""

        async def done() -> T:
            return do(*arguments)

        if self.stopped:  # and so no other thread is in there
            return do(*arguments)
        return self._await(done())

    def _await(self, coroutine: Coroutine[object, object, T]) -> T:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._run_loop, args=(self._loop,), name="probes", daemon=True)
                self._thread.start()
            loop = self._loop
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result()

    # In the loop's thread

    @staticmethod
    def _run_loop(loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
        finally:
            loop.close()

    def _put(self, checks: Sequence[Check]) -> None:
        self._remove([check.plan.pk for check in checks])
        for check in checks:
            self._checks[check.plan.pk] = check
            self._same.setdefault(check.spec, []).append(check)
            self._wait(check)
        self._look()

    def _change(self, plans: Sequence[Plan]) -> None:
        now = monotonic()
        known = [(plan, self._checks[plan.pk].known) for plan in plans if plan.pk in self._checks]
        self._put([Check(plan, where, now, first=True) for plan, where in known])

    async def _removed(self, pks: Collection[int]) -> None:
        if ending := self._remove(pks):
            await asyncio.wait(ending, timeout=1)

    def _remove(self, pks: Collection[int]) -> list[asyncio.Task[None]]:
        """Forget checks; returns the probes that are cancelled, as nobody waits for their answers any more."""
        for pk in pks:
            check = self._checks.pop(pk, None)
            if check is None:
                continue
            check.gone, check.ticket = True, 0
            self._leave(check, check.spec)
        ending = [task for task, checks in self._running.items() if all(check.gone for check in checks)]
        for task in ending:
            task.cancel()
        return ending

    def _leave(self, check: Check, spec: ProbeSpec) -> None:
        same = self._same[spec]
        same.remove(check)
        if not same:
            del self._same[spec]

    def _renew(self, until: float) -> None:
        self._until = until
        if self._lapse is not None:
            self._lapse.cancel()
        self._lapse = asyncio.get_running_loop().call_later(max(0.0, until - monotonic()), self._lapsed)
        self._look()

    def _lapsed(self) -> None:
        if number := len(self._running):
            log.warning("The leases were not renewed in time: %d probes are cancelled and done again.", number)
        for task in self._running:
            task.cancel()

    def _wait(self, check: Check) -> None:
        check.ticket = next(self._tickets)
        heapq.heappush(self._queue, (check.due, check.ticket, check))
        if self._timer is not None and check.due < self._looks_at:
            self._look_later(check.due)

    def _look(self) -> None:
        """Start what is due, a burst of it, and come back for the next."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now = monotonic()
        started = 0
        while self._queue and now < self._until and len(self._running) < self._capacity:
            due, ticket, check = self._queue[0]
            if ticket != check.ticket:
                heapq.heappop(self._queue)
            elif due > now or started == BURST:
                self._look_later(max(due, now + PAUSE))
                return
            else:
                heapq.heappop(self._queue)
                self._start(check, now)
                started += 1

    def _look_later(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._looks_at = at
        self._timer = asyncio.get_running_loop().call_later(max(0.0, at - monotonic()), self._look)

    def _start(self, check: Check, now: float) -> None:
        """Start a probe for a check and those that ask the same now."""
        same = self._same[check.spec]
        together = [check]
        if len(same) > 1:
            together += [one for one in same if one is not check and one.ticket and one.due - now <= TOGETHER]
        for one in together:
            one.ticket = 0
        task = asyncio.get_running_loop().create_task(self._check(check.spec, together))
        self._running[task] = together
        task.add_done_callback(self._ended)

    async def _check(self, spec: ProbeSpec, checks: list[Check]) -> None:
        result = await self._run(spec)
        at, now = timezone.now(), monotonic()
        for check in checks:
            if not check.gone:
                self._take(check, result, at, now)

    def _take(self, check: Check, result: ProbeResult, at: datetime, now: float) -> None:
        asked = check.spec
        step, figures = check.take(result, at)
        if check.spec is not asked:
            self._leave(check, asked)
            self._same.setdefault(check.spec, []).append(check)
        self._next(check, step.spacing, now, hurried=step.hurried)
        verdict = Verdict(check, check.plan, step, figures, at)
        if verdict.events():
            self._judged(verdict)
        else:
            self._fresh[check.plan.pk] = figures
            self._wait(check)

    @staticmethod
    def _next(check: Check, spacing: float, now: float, *, hurried: bool = False) -> None:
        if hurried:  # out of its turn, which it finds again after the next check as a new one does
            check.due, check.first = max(check.due + spacing, now), True
        elif check.first:
            check.due, check.first = schedule.first_due(check.spec, spacing, now), False
        else:
            check.due = schedule.next_due(check.due, spacing, now)

    def _ended(self, task: asyncio.Task[None]) -> None:
        checks = self._running.pop(task)
        failed = None if task.cancelled() else task.exception()
        if failed is not None:
            log.error("A probe is broken; its check is tried again at its next time.", exc_info=failed)
        if failed is not None or task.cancelled():
            now = monotonic()
            for check in checks:
                if check.gone:
                    continue
                if failed is not None:
                    self._next(check, check.plan.thresholds.interval, now)
                self._wait(check)
        if self._timer is None:  # nothing was due, or no more could run
            self._look()

    def _go_on(self, checks: Sequence[Check]) -> None:
        for check in checks:
            if not check.gone:
                self._wait(check)
        self._look()

    def _collect(self) -> dict[int, Figures]:
        fresh, self._fresh = self._fresh, {}
        return fresh

    def _keep(self, figures: Mapping[int, Figures]) -> None:
        for pk, one in figures.items():
            if pk in self._checks:
                self._fresh.setdefault(pk, one)

    async def _finish(self, patience: float) -> None:
        self._until = 0.0
        for handle in (self._timer, self._lapse):
            if handle is not None:
                handle.cancel()
        pending = set(self._running)
        if pending and patience:
            _done, pending = await asyncio.wait(pending, timeout=patience)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
