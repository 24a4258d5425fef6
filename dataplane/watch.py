"""The live view of flows: what the console's viewers wish, read from rows, and what is told of it, sent to them.

Nobody wishes anything most of the time, and then nothing here runs: no thread, no ring buffer, no sampling.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address
from typing import Final, Protocol

from dataplane.flow_view import FlowRow, Names, flow_row
from dataplane.tables import EVENT_FRAME, Event, IPAddress, Sampled, SampleKind, Sampling
from webui import live
from webui.models import FlowWatch, Service, VServer

BATCH_SECONDS = 0.25
BATCH_ROWS = 50  # of one virtual server; a page shows no more so quickly
RATE = 400  # events a second of each CPU
HEARTBEAT_SECONDS = 1.0
HOLD_SECONDS = 5.0  # so long without a look at the rows, and the wishes are forgotten

log = logging.getLogger("dataplane.watch")


@dataclass(frozen=True, slots=True)
class Watch:
    """Somebody looks at this virtual server (its row) at this VIP; with ``frames``, at the beginning of each frame."""

    vserver: int
    vip: IPAddress
    frames: bool = False


FARTHEST: Final = timedelta(minutes=5)  # ahead; a page asks for 15 seconds, and clocks of machines differ


def wanted(now: datetime) -> tuple[Watch, ...]:
    """What is watched at this moment, by vserver. Raises django.db.Error."""
    # What lies further ahead was asked for before somebody set the clock back: it would hold for as long as that.
    rows = FlowWatch.objects.filter(until__gt=now, until__lt=now + FARTHEST).order_by("vserver")
    found: dict[int, Watch] = {}
    for pk, vip, frames_until in rows.values_list("vserver", "vserver__address", "frames_until"):
        frames = (frames_until is not None and frames_until > now) or (pk in found and found[pk].frames)
        found[pk] = Watch(pk, ip_address(vip), frames)
    return tuple(found.values())


def names() -> Names:
    """What rows are called. Raises django.db.Error."""
    services = Service.objects.values_list("pk", "server__name", "server__address")
    return Names(
        vservers=dict(VServer.objects.values_list("pk", "name")),
        servers={pk: f"{name} ({address})" for pk, name, address in services},
    )


class Listens(Protocol):
    """What is asked of :class:`dataplane.kernel.events.Listener`."""

    def listen(self, wish: Sampling) -> None:
        """Ask for samples, or renew the wish."""

    def events(self, timeout: float) -> list[Event]:
        """What has been told since."""

    def sampled(self) -> Sampled:
        """How much was told and withheld."""

    def close(self) -> None:
        """Listen no more."""


class Watcher:
    """Sends events to viewers from a thread of its own, which lives while there are wishes."""

    def __init__(self, director: str, listener: Callable[[], Listens]) -> None:
        self._director = director
        self._open = listener
        self._lock = threading.Lock()
        self._watches: tuple[Watch, ...] = ()
        self._names = Names()
        self._seen_at = 0.0
        self._thread: threading.Thread | None = None

    def want(self, watches: Sequence[Watch], called: Callable[[], Names]) -> None:
        """Take the wishes as they are now; ``called`` is asked for names only if there are any."""
        found = called() if watches else Names()
        with self._lock:
            self._watches, self._names, self._seen_at = tuple(watches), found, time.monotonic()
            if self._watches and self._thread is None:
                self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
                self._thread.start()

    @property
    def is_running(self) -> bool:
        """Whether somebody is being told."""
        return self._thread is not None

    def _wishes(self) -> tuple[tuple[Watch, ...], Names]:
        with self._lock:
            if not self._watches or time.monotonic() - self._seen_at > HOLD_SECONDS:
                # Under the lock, so that a wish that comes now starts another thread
                self._watches, self._thread = (), None
            return self._watches, self._names

    def _run(self) -> None:
        try:
            listener = self._open()
            try:
                self._tell(listener)
            finally:
                listener.close()
        except OSError as error:
            log.error("the forwarder cannot be listened to: %s", error)
            with self._lock:
                self._thread = None

    def _tell(self, listener: Listens) -> None:
        renewed, withheld = 0.0, 0
        asked: tuple[Watch, ...] = ()
        while True:
            watches, called = self._wishes()
            if not watches:
                return
            now = time.monotonic()
            beat = now - renewed > HEARTBEAT_SECONDS
            if beat or watches != asked:
                listener.listen(wish(watches))
                renewed, asked = now, watches
            events = _collect(listener, now + BATCH_SECONDS)
            total = listener.sampled().withheld
            self._publish(watches, events, called, total - withheld, beat=beat)
            withheld = total

    def _publish(
        self, watches: Sequence[Watch], events: Sequence[Event], called: Names, withheld: int, *, beat: bool
    ) -> None:
        epoch = time.time_ns() - time.monotonic_ns()
        for vserver, rows in sort(watches, events, called, epoch).items():
            shown = rows[:BATCH_ROWS]
            missing = len(rows) - len(shown) + withheld
            if shown or missing or beat:
                live.publish(
                    {
                        "type": "live.flows",
                        "director": self._director,
                        "vserver": vserver,
                        "rows": [dict(row) for row in shown],
                        "withheld": missing,
                    }
                )


def _collect(listener: Listens, until: float) -> list[Event]:
    """Events until a moment, so that a burst makes one batch."""
    found: list[Event] = []
    while (left := until - time.monotonic()) > 0:
        found += listener.events(left)
        time.sleep(max(0.0, min(0.05, until - time.monotonic())))
    return found


def wish(watches: Sequence[Watch]) -> Sampling:
    """What to ask the forwarder for: of one vserver alone if there is but one."""
    only = watches[0] if len(watches) == 1 else None
    return Sampling(
        until=0,
        kinds=SampleKind.DROP | SampleKind.FLOW | SampleKind.FORWARDED,
        rate=RATE,
        burst=RATE,
        vserver=only.vserver if only else 0,
        vip=only.vip if only else None,
        one_in=1000,
        caught=EVENT_FRAME if any(watch.frames for watch in watches) else 0,
    )


def sort(watches: Sequence[Watch], events: Sequence[Event], called: Names, epoch: int) -> dict[int, list[FlowRow]]:
    """Rows for each watched vserver: its own, and what came to its VIP for no vserver that is known."""
    found: dict[int, list[FlowRow]] = {watch.vserver: [] for watch in watches}
    with_frames = {watch.vserver for watch in watches if watch.frames}
    at_vip: dict[IPAddress, list[int]] = defaultdict(list)
    for watch in watches:
        at_vip[watch.vip].append(watch.vserver)
    for event in events:
        targets = [event.vserver] if event.vserver else at_vip.get(event.destination, [])
        for vserver in targets:
            if vserver in found:
                found[vserver].append(flow_row(event, called, epoch, frame=vserver in with_frames))
    return found
