"""The dataplane worker: ``python -m dataplane.worker``.

The only privileged process. It accepts no command but "look at the database": a message on Redis, a netlink event or
the tick of each second makes it look. Whatever happens to it, the kernel goes on forwarding by the pinned maps.
"""

from __future__ import annotations

import argparse
import logging
import math
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webui.settings")
django.setup()

import redis  # noqa: E402 - Django must be set up before models are imported
from django import db  # noqa: E402
from django.conf import settings  # noqa: E402
from django.utils import timezone  # noqa: E402

from dataplane import balance, report, snapshot, watch  # noqa: E402
from dataplane.applied import Applied  # noqa: E402
from dataplane.balance import Balancer, Measure  # noqa: E402
from dataplane.desired import Configuration  # noqa: E402
from dataplane.forwarding import summary  # noqa: E402
from dataplane.kernel.assemble import Kernel, open_kernel, remove_everything  # noqa: E402
from dataplane.kernel.events import Listener  # noqa: E402
from dataplane.reconcile import Reconciler, Round  # noqa: E402
from webui import live  # noqa: E402
from webui.wake import CHANNEL  # noqa: E402

TICK_SECONDS = 1.0
WAKE = "wake"  # the event that says: look at the rows

log = logging.getLogger("dataplane.worker")


@dataclass(slots=True)
class Worker:
    """Looks, brings the kernel up to date, and reports; one thread does all of it."""

    kernel: Kernel
    director: str
    reconciler: Reconciler
    rates: report.Rates = field(default_factory=report.Rates)
    configuration: Configuration | None = None
    balanced: Configuration | None = None  # the same, with the shares that the load asks for
    mark: snapshot.Mark | None = None
    reader: snapshot.Reader = field(default_factory=snapshot.Reader)
    good_until: datetime | None = None  # when the rows mean something else although they are the same
    measures: Mapping[int, Measure] = field(default_factory=dict)
    balancer: Balancer = field(default_factory=Balancer)
    flows: dict[tuple[int, int], int] | None = None
    flows_due: float = 0.0
    drift: int = 0
    counted_at: float = 0.0
    watcher: watch.Watcher | None = None
    state_dir: Path | None = None  # where what waits for the database is kept; None: in memory alone
    applied: Applied = field(init=False)
    _reported: tuple[object, ...] = ()
    _old_removed: bool = False

    def __post_init__(self) -> None:
        self.applied = Applied(self.director, self.state_dir)

    def look(self, *, same_network: bool = False) -> None:
        """One round, whatever the reason for it. An error is reported and the next round tries again.

        ``same_network``: the rows alone are the reason.
        """
        self._read_configuration()
        if self.configuration is None or self.balanced is None:
            return
        try:
            done = self.reconciler.round(self.balanced, same_network=same_network)
        except OSError as error:
            log.exception("the kernel could not be asked")
            self._save(wanted_revision=self.configuration.revision, last_error=f"kernel: {error}")
            return
        self.drift += done.drift
        self._log(done)
        self.applied.take(done)
        self._report(done)
        self._audit()
        if not done.error and not self._old_removed:
            # The maps of an older layout served until this program, with its tables full, was attached.
            self._remove_old()

    def tell_viewers(self) -> None:
        """See who looks at flows, and tell them while they do."""
        if self.watcher is None:
            return
        try:
            self.watcher.want(watch.wanted(timezone.now()), watch.names)
        except db.Error as error:
            self._database_away(error)

    def count(self) -> None:
        """Read the counters and pass them on, once a second."""
        now = time.monotonic()
        if now - self.counted_at < TICK_SECONDS * 0.9:
            return
        self.counted_at = now
        try:
            counters = self.reconciler.maps.counters()
            self._count_flows(now)
            payload = self.rates.payload(counters, self.reconciler.observed, now, self.flows)
            report.save_counters(self.director, payload)
            while self.rates.events:
                report.save_event(self.director, self.rates.events[0])
                self.rates.events.pop(0)
            self._balance(payload)
        except OSError as error:
            log.error("the counters could not be read: %s", error)
        except db.Error as error:
            self._database_away(error)

    def _count_flows(self, now: float) -> None:
        """Count the remembered flows where some are kept, spending at most a tenth of the time on it."""
        if self.configuration is None or now < self.flows_due:
            return
        kept = [one for one in self.configuration.vservers if one.options.sessions or one.options.persist_timeout]
        if not kept:
            self.flows = None
            return
        found = dict.fromkeys(((one.config_id, service.config_id) for one in kept for service in one.services), 0)
        rows = {kernel_id: entry.config_id for kernel_id, entry in self.reconciler.observed.services.items()}
        for (vserver, kernel_id), number in self.reconciler.maps.flows().items():
            if kernel_id in rows:
                key = (vserver, rows[kernel_id])
                found[key] = found.get(key, 0) + number
        self.flows = found
        self.flows_due = now + 10 * (time.monotonic() - now)

    def _balance(self, payload: dict[str, Any]) -> None:
        """Give services the shares that the load asks for; the next look applies them."""
        if self.configuration is None or not (self.measures or self.balancer.shares):
            return
        if self.balancer.step(self.configuration, self.measures, self._figures(payload)):
            self.balanced = self.balancer.applied(self.configuration)

    def _figures(self, payload: dict[str, Any]) -> dict[balance.Key, float]:
        """What was measured of each service of the vservers that ask for it.

        A service's figure is that of all of its vservers together, as far as this director sees it.
        """
        timed = [pk for pk, measure in self.measures.items() if measure is Measure.RESPONSE_TIME]
        found = snapshot.response_times(timed) if timed else {}
        fields = {Measure.FLOWS: "flows", Measure.BANDWIDTH: "bits_per_second"}
        for vserver in self.configuration.vservers if self.configuration else ():
            name = fields.get(self.measures.get(vserver.config_id, Measure.RESPONSE_TIME))
            for service in vserver.services if name else ():
                figure = payload["services"].get(str(service.config_id), {}).get(name)
                if figure is not None:
                    found[vserver.config_id, service.config_id] = figure
        return found

    def _read_configuration(self) -> None:
        try:
            self.applied.begin()
            now = timezone.now()
            expired = self.good_until is not None and self.good_until <= now
            if self.configuration is None or expired or snapshot.mark() != self.mark:
                mark, configuration = self.reader.read(now, None if expired else self.mark)
                if expired or self.mark is None or mark[0] != self.mark[0]:
                    self.good_until = snapshot.next_departure(now)
                    self.measures = snapshot.measures()
                self.mark, self.configuration = mark, configuration
                self.balanced = self.balancer.applied(configuration)
        except db.Error as error:
            self._database_away(error)

    def seconds_left(self) -> float:
        """How long the configuration that was read will hold by the clock; infinite when nothing is to end.

        Infinite too when it is over, and could not be read again: the next tick tries.
        """
        left = (self.good_until - timezone.now()).total_seconds() if self.good_until else 0.0
        return left if left > 0 else math.inf

    def _remove_old(self) -> None:
        try:
            for folder in self.kernel.remove_old():
                log.info("removed the maps of an older layout: %s", folder)
        except OSError as error:
            log.warning("the maps of an older layout stay for now: %s", error)
            return
        self._old_removed = True

    def _log(self, done: Round) -> None:
        if done.drift:
            log.warning("the maps were not as they were left; repairing them")
        if done.summary:
            log.info("revision %d in %.1f ms:\n%s", done.desired.revision, done.seconds * 1000, done.summary)
        if done.error:
            log.error("%s", done.error)

    def _audit(self) -> None:
        try:
            self.applied.write()
        except db.Error as error:
            self._database_away(error)

    def _report(self, done: Round) -> None:
        """Write status rows when they would differ; the heartbeat goes with the counters."""
        desired = done.desired
        state = (desired, done.error, self.drift, self.reconciler.attached, self.reconciler.forwarding, self.mark)
        if not done.summary and state == self._reported:
            return
        try:
            interfaces = self.kernel.links.interfaces()
        except OSError as error:
            log.error("the interfaces could not be read; the next round reports: %s", error)
            return
        values: dict[str, object] = {
            "wanted_revision": desired.revision,
            "drift": self.drift,
            "last_error": done.error,
            "mode": summary(self.reconciler.forwarding.values()),
            "interfaces": report.interface_rows(interfaces, self.reconciler.attached, self.reconciler.forwarding),
        }
        if not done.error:
            values |= {"applied_revision": desired.revision, "applied_at": timezone.now()}
        if done.summary:
            values |= {"round_ms": round(done.seconds * 1000, 3), "round_summary": done.summary}
        if self._save(**values):
            self._reported = state
            live.publish({"type": "live.changed", "what": "director"})

    def _save(self, **values: object) -> bool:
        try:
            report.save_status(self.director, **values)
            if self.configuration is not None and self.reconciler.last is not None:
                desired = self.reconciler.last
                report.save_paths(self.director, snapshot.server_addresses(), dict(desired.servers), desired.interfaces)
        except db.Error as error:
            self._database_away(error)
            return False
        return True

    def _database_away(self, error: db.Error) -> None:
        log.error("the database did not answer, forwarding goes on unchanged: %s", error)
        db.close_old_connections()


class WakeListener(threading.Thread):
    """Puts a token into the queue for each wake-up message; survives Redis going away."""

    def __init__(self, events: queue.SimpleQueue[str]) -> None:
        super().__init__(name="wake", daemon=True)
        self.events = events

    def run(self) -> None:
        """Listen until the process ends."""
        while True:
            try:
                with redis.Redis.from_url(settings.REDIS_URL, socket_timeout=None) as client, client.pubsub() as pubsub:
                    pubsub.subscribe(CHANNEL)
                    for message in pubsub.listen():
                        if message["type"] == "message":
                            self.events.put(WAKE)
            except redis.RedisError as error:
                log.warning("Redis is away (%s): changes are seen at the next tick", error)
            time.sleep(1)


def run(worker: Worker, events: queue.SimpleQueue[str], stop: threading.Event) -> None:
    """Look at each event and each tick until ``stop`` is set. Many events at once make one round."""
    next_tick = time.monotonic()
    while not stop.is_set():
        heard = set()
        try:
            heard.add(events.get(timeout=max(0.0, min(next_tick - time.monotonic(), worker.seconds_left()))))
            while not events.empty():
                heard.add(events.get_nowait())
        except queue.Empty:
            if time.monotonic() >= next_tick:
                next_tick = time.monotonic() + TICK_SECONDS
        worker.look(same_network=heard == {WAKE})
        worker.tell_viewers()
        worker.count()


def main(arguments: list[str] | None = None) -> int:
    """Parse arguments, take hold of the kernel, and run until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="dataplane.worker", description=__doc__)
    parser.add_argument("--remove", action="store_true", help="detach the forwarder, remove its devices and pins, end")
    options = parser.parse_args(arguments)
    if options.remove:
        for line in remove_everything(settings.PIN_DIR):
            log.info("%s", line)
        return 0
    events: queue.SimpleQueue[str] = queue.SimpleQueue()
    stop = threading.Event()

    def end(_signal: int, _frame: object) -> None:
        stop.set()
        events.put("stop")

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    try:
        kernel = open_kernel(settings.BPF_OBJECT, settings.PIN_DIR, on_event=lambda: events.put("netlink"))
    except OSError as error:
        log.error("The forwarder cannot be loaded: %s", error)
        return 1
    wanted = settings.DIRECTOR_INTERFACES or None
    networks = (settings.PROBE_NETWORK, settings.PROBE_NETWORK6)
    reconciler = Reconciler(kernel.maps, kernel.links, kernel.neighbours, wanted, networks)
    WakeListener(events).start()
    log.info("director %s, maps under %s", settings.DIRECTOR, settings.PIN_DIR)
    try:
        watcher = watch.Watcher(settings.DIRECTOR, lambda: Listener(kernel.forwarder.maps))
        worker = Worker(kernel, settings.DIRECTOR, reconciler, watcher=watcher, state_dir=settings.STATE_DIR)
        run(worker, events, stop)
    finally:
        kernel.close()
    log.info("ended; the kernel goes on forwarding")
    return 0


if __name__ == "__main__":
    sys.exit(main())
