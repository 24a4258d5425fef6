"""Listens to the forwarder's samples: what became of single frames (bpf/events.h).

A listener owns one entry of ``sampling`` and one ring buffer (Documentation/bpf/ringbuf.rst), which has one reader. It
says until when it listens and must renew that, so the sampling of one that was killed ends by itself.
"""

from __future__ import annotations

import ctypes as c
import fcntl
import mmap
import os
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from errno import EBUSY, ENOENT
from pathlib import Path

from dataplane import layout, layout_telemetry
from dataplane.kernel.abi import RING_CALLBACK, lib
from dataplane.kernel.libbpf import Map, get_pinned, possible_cpus
from dataplane.tables import EVENTS_SIZE, MAX_SAMPLERS, Event, Sampled, SampleKind, Sampling

EVENTS, SAMPLING, SAMPLED, SETTINGS = "events", "sampling", "sampled", "settings"
WORKER = 0  # the entry that the dataplane worker listens with
COMMANDS = range(1, MAX_SAMPLERS)  # those of commands in a shell
HOLD_SECONDS = 3.0  # how long one renewal lasts
_PAGE = mmap.PAGESIZE


class RingBuffer:
    """A ring buffer that this process reads. Raises OSError."""

    def __init__(self, size: int) -> None:
        self._records: list[bytes] = []
        self._callback = RING_CALLBACK(self._take)  # the kernel library keeps no reference
        self.map = Map.create_ring_buffer("events", size)
        self._reader = lib.ring_buffer__new(self.map.fd, self._callback, None, None)
        if not self._reader:
            error = c.get_errno()
            self.map.close()
            raise OSError(error, f"cannot read a ring buffer: {os.strerror(error)}")

    def _take(self, _context: int | None, data: int, size: int) -> int:
        self._records.append(c.string_at(data, size))
        return 0

    def poll(self, timeout: float) -> list[bytes]:
        """What has come, in order; waits up to ``timeout`` seconds for a first record. Raises OSError."""
        result = lib.ring_buffer__poll(self._reader, int(timeout * 1000))
        if result < 0:
            raise OSError(-result, f"reading a ring buffer: {os.strerror(-result)}")
        found, self._records = self._records, []
        return found

    def close(self) -> None:
        """Give the memory back."""
        if self._reader:
            lib.ring_buffer__free(self._reader)
            self._reader = None
        self.map.close()


class Listener:
    """Hears of single frames, from :meth:`listen` on until :meth:`close` or until nobody renews it.

    ``maps`` are the forwarder's, by name, and stay their owner's. ``index`` is the listener's entry.
    """

    def __init__(self, maps: Mapping[str, Map], index: int = WORKER) -> None:
        self._maps = maps
        self._key = layout.pack_id(index)
        self._cpus = possible_cpus()
        self._before = self._sums()
        self._ring = RingBuffer(EVENTS_SIZE)
        try:
            maps[EVENTS].update(self._key, layout.pack_id(self._ring.map.fd))
        except BaseException:
            self._ring.close()
            raise

    def listen(self, wish: Sampling, seconds: float = HOLD_SECONDS) -> None:
        """Ask for samples, or renew or change the wish; ``wish.until`` is set here. Raises OSError, ValueError."""
        until = time.monotonic_ns() + int(seconds * 1e9)
        self._maps[SAMPLING].update(self._key, layout_telemetry.pack_sampling(replace(wish, until=until)))
        _set_sampled(self._maps[SETTINGS])

    def events(self, timeout: float) -> list[Event]:
        """What has been told since, in order; waits up to ``timeout`` seconds for a first one. Raises OSError."""
        return [layout_telemetry.unpack_event(record) for record in self._ring.poll(timeout)]

    def sampled(self) -> Sampled:
        """How many events there were since the start, and how many were withheld. Raises OSError."""
        now = self._sums()
        return Sampled(now.told - self._before.told, now.withheld - self._before.withheld)

    def _sums(self) -> Sampled:
        data = self._maps[SAMPLED].lookup(self._key, layout_telemetry.SAMPLED_SIZE * self._cpus)
        return layout_telemetry.sum_sampled(data) if data else Sampled()

    def close(self) -> None:
        """Listen no more, and give the ring buffer back. Raises OSError."""
        try:
            self._maps[SAMPLING].update(self._key, bytes(self._maps[SAMPLING].value_size))
            self._maps[EVENTS].delete(self._key)
        finally:
            self._ring.close()


def _set_sampled(settings: Map) -> None:
    """Set the forwarder's hint that somebody listens: one byte, so that nothing beside it can be overwritten."""
    with mmap.mmap(settings.fd, _PAGE, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE) as memory:
        memory[layout.SAMPLED_OFFSET] = 1


def _claim(folder: Path, sampling: Map, indexes: Collection[int]) -> int:
    """A free entry, kept for a moment: long enough to begin. Raises OSError when all are taken."""
    # Locks the folder, not a file: a bpffs holds none but maps and programs
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        now = time.monotonic_ns()
        for index in indexes:
            key = layout.pack_id(index)
            if layout_telemetry.sampling_until(sampling.lookup(key) or bytes(sampling.value_size)) < now:
                taken = Sampling(now + int(HOLD_SECONDS * 1e9), SampleKind(0), 0, 1)
                sampling.update(key, layout_telemetry.pack_sampling(taken))
                return index
    finally:
        os.close(fd)
    raise OSError(EBUSY, f"{len(indexes)} others listen already: end one of them")


@contextmanager
def open_listener(pin_dir: Path) -> Iterator[Listener]:
    """A listener beside the running worker, on the maps that are pinned under ``pin_dir``; for commands in a shell.

    Raises OSError when nothing is loaded, or too many listen.
    """
    folder = _folder(pin_dir)
    maps: dict[str, Map] = {}
    try:
        for name in (EVENTS, SAMPLING, SAMPLED, SETTINGS):
            maps[name] = Map(get_pinned(folder / name))
        listener = Listener(maps, _claim(folder, maps[SAMPLING], COMMANDS))
        try:
            yield listener
        finally:
            listener.close()
    finally:
        for opened in maps.values():
            opened.close()


def _folder(pin_dir: Path) -> Path:
    """The newest layout that has events. While a worker changes to another layout there are two."""
    folders = [folder for folder in pin_dir.iterdir() if (folder / EVENTS).exists()] if pin_dir.is_dir() else []
    if not folders:
        raise OSError(ENOENT, f"no forwarder that can be listened to is pinned under {pin_dir}: is the worker running?")
    return max(folders, key=lambda folder: folder.stat().st_mtime)
