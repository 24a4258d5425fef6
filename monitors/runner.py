"""Runs claimed checks in the background: one thread with an event loop for the probes, one that records.

A task that waited for its probes would hold a worker's thread for the longest time-out among them, and a few silent
servers would then stop every check. Here a sweep hands its claims over and ends, and each answer is recorded by
itself, up to a tenth of a second after it came: a refused connection does not wait for another's time-out.

The ORM is used by the recording thread alone, as Django refuses to run inside an event loop.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import resource
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db import DatabaseError, InterfaceError, close_old_connections, connection
from django.utils import timezone

from monitors import schedule
from monitors.spec import ProbeResult, ProbeSpec
from monitors.store import Answer, Claim

PROBES_AT_ONCE: Final = 1000
GATHER: Final = 0.1  # seconds in which answers are collected for one transaction
RETRY: Final = 1.0  # seconds until a failed recording is tried again
TOGETHER: Final = timedelta(milliseconds=100)  # rows with one question due this close share a probe
STAGGER: Final = 0.001  # seconds between probes that are overdue together

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Job:
    """One probe and the rows it answers; ``start`` is the earliest due time, or now when that is past."""

    spec: ProbeSpec
    start: datetime
    claims: list[Claim]


def jobs_of(claims: Sequence[Claim], now: datetime) -> list[Job]:
    """Jobs in order of their start; claims with the same question due at about the same time become one."""
    jobs: list[Job] = []
    latest: dict[ProbeSpec, Job] = {}
    for claim in sorted(claims, key=lambda claim: claim.due_at):
        start = max(claim.due_at, now)
        job = latest.get(claim.spec)
        if job is not None and start - job.start <= TOGETHER:
            job.claims.append(claim)
        else:
            latest[claim.spec] = job = Job(claim.spec, start, [claim])
            jobs.append(job)
    return jobs


def capacity() -> int:
    """Probes at once: at most half of this process's file descriptors, as each needs one."""
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return PROBES_AT_ONCE if soft == resource.RLIM_INFINITY else min(PROBES_AT_ONCE, soft // 2)


class Runner:
    """Runs probes and hands their answers to ``record``; started by the first ``submit``."""

    def __init__(
        self, run: Callable[[ProbeSpec], Awaitable[ProbeResult]], record: Callable[[Sequence[Answer]], object]
    ) -> None:
        self._run = run
        self._record = record
        self._capacity = capacity()
        self._lock = threading.Lock()  # guards the attributes below
        self._jobs: dict[int, Job] = {}
        self._stopping = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._threads: list[threading.Thread] = []
        self._answers: queue.SimpleQueue[Answer | None] = queue.SimpleQueue()
        self._tasks: set[asyncio.Task[None]] = set()  # of the loop's thread; it keeps only weak references itself

    def free(self) -> int:
        """How many more probes may be submitted; none while it stops."""
        with self._lock:
            return 0 if self._stopping else self._capacity - len(self._jobs)

    def submit(self, claims: Sequence[Claim]) -> None:
        """Check each claim when it is due; returns at once. While it stops claims are left to expire."""
        now = timezone.now()
        jobs = jobs_of(claims, now)
        with self._lock:
            if self._stopping:
                return
            loop = self._started()
            self._jobs.update({id(job): job for job in jobs})
        overdue = 0
        for job in jobs:
            delay = schedule.wait(job.start, now)
            if delay == 0:
                delay = overdue * STAGGER
                overdue += 1
            loop.call_soon_threadsafe(self._spawn, job, delay)

    def stop(self, patience: float = 0.0) -> list[Claim]:
        """Wait up to ``patience`` seconds for running probes, record, end the threads; returns unanswered claims."""
        with self._lock:
            loop, threads = self._loop, self._threads
            self._loop, self._threads = None, []
            self._stopping = loop is not None
        if loop is None:
            return []
        asyncio.run_coroutine_threadsafe(self._finish(patience), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        self._answers.put(None)
        for thread in threads:
            thread.join()
        with self._lock:
            left = [claim for job in self._jobs.values() for claim in job.claims]
            self._jobs.clear()
            self._stopping = False
        return left

    def _started(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._threads = [
                threading.Thread(target=self._run_loop, args=(self._loop,), name="probes", daemon=True),
                threading.Thread(target=self._keep_recording, name="probe-results", daemon=True),
            ]
            for thread in self._threads:
                thread.start()
        return self._loop

    # In the loop's thread

    @staticmethod
    def _run_loop(loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
        finally:
            loop.close()

    def _spawn(self, job: Job, delay: float) -> None:
        task = asyncio.get_running_loop().create_task(self._check(job, delay))
        self._tasks.add(task)
        task.add_done_callback(self._done)

    async def _check(self, job: Job, delay: float) -> None:
        await asyncio.sleep(delay)
        try:
            result = await self._run(job.spec)
        except asyncio.CancelledError:
            raise  # stopping: the job stays listed, for its claims to be released
        except BaseException:
            self._forget(job)  # a bug: its claims expire, _done tells
            raise
        at = timezone.now()
        self._forget(job)
        for claim in job.claims:
            self._answers.put(Answer(claim, result, at))

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("A probe is broken; its check is tried again when the claim expires.", exc_info=error)

    def _forget(self, job: Job) -> None:
        with self._lock:
            del self._jobs[id(job)]

    async def _finish(self, patience: float) -> None:
        pending = set(self._tasks)
        if pending and patience:
            _done, pending = await asyncio.wait(pending, timeout=patience)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)

    # In the recording thread

    def _keep_recording(self) -> None:
        batch: list[Answer] = []
        running = True
        while running or batch:
            running = self._gather(batch) and running
            try:
                self._record(batch)
                batch = []
            except (DatabaseError, InterfaceError) as error:
                connection.close()
                batch = [answer for answer in batch if answer.claim.until > timezone.now()] if running else []
                log.warning("Results were not recorded (%s); trying %d of them again.", error, len(batch))
                time.sleep(RETRY)
            except Exception:
                # The thread must live: without it no check of this process would ever be recorded again.
                log.exception("Recording is broken; %d checks are done again when their claims expire.", len(batch))
                batch = []
            finally:
                close_old_connections()
        connection.close()

    def _gather(self, batch: list[Answer]) -> bool:
        """Add the answers that are there to ``batch``, waiting for the first if it is empty; False: stop."""
        running = True
        if not batch:
            first = self._answers.get()
            if first is None:
                return False
            batch.append(first)
            time.sleep(GATHER)
        while True:
            try:
                answer = self._answers.get_nowait()
            except queue.Empty:
                return running
            if answer is None:
                running = False
            else:
                batch.append(answer)
