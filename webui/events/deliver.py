"""Sends claimed batches in a few threads of their own, so that no task, and no check, waits for a slow target."""

from __future__ import annotations

import logging
import threading
from datetime import timedelta
from typing import Final

from django.db import DatabaseError, InterfaceError, connection
from django.utils import timezone

from webui.events import store
from webui.events.kind import DeliveryError
from webui.events.message import Event
from webui.events.store import Batch, Result
from webui.live import publish
from webui.models.sealed import CannotOpenError, opened

AT_ONCE: Final = 4  # targets

log = logging.getLogger(__name__)


class Couriers:
    """At most AT_ONCE threads, each of which delivers one batch and ends."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._busy = 0

    def tick(self, grace: timedelta = timedelta(0)) -> int:
        """Claim what is due and start to send it; returns the number of targets.

        Raises django.db.DatabaseError, django.db.InterfaceError.
        """
        with self._lock:
            batches = store.claim(timezone.now(), AT_ONCE - self._busy, grace)
            self._busy += len(batches)
        for batch in batches:
            threading.Thread(target=self._carry, args=(batch,), name="event-courier", daemon=True).start()
        return len(batches)

    def idle(self) -> bool:
        """Whether nothing is on its way."""
        with self._lock:
            return self._busy == 0

    def _carry(self, batch: Batch) -> None:
        try:
            deliver(batch)
        except (DatabaseError, InterfaceError) as error:
            log.warning("What target %s got was not recorded (%s): it comes again.", batch.target, error)
        finally:
            connection.close()
            with self._lock:
                self._busy -= 1


def deliver(batch: Batch) -> None:
    """Send a claimed batch and record what came of it. Raises django.db.DatabaseError."""
    result = Result()
    if batch.test is not None:
        result.test_result = _try(batch, [batch.test], set()) or "sent"
    if batch.events:
        result.error = _try(batch, batch.events, result.taken)
    store.record(batch, result, timezone.now())
    if batch.test is not None or batch.events:
        publish({"type": "live.changed", "what": "events"})


def _try(batch: Batch, events: list[Event], taken: set[str]) -> str:
    """Send events and put the ids of those that were taken into ``taken``; what went wrong, or nothing."""
    target = batch.target
    if target.kind is None:
        return f"there is no type of target “{target.target_type}”"
    try:
        given = target.kind.read(target.params | opened(target.secrets))
        for group in target.kind.send(given, events):
            taken.update(event.id for event in group)
    except (CannotOpenError, DeliveryError) as error:
        return str(error)
    except Exception:
        log.exception("Target %s cannot be sent to: a fault of Halfpipe.", target)
        return "a fault of Halfpipe; the log has the details"
    return ""
