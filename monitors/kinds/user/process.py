"""A program that runs without privileges, in a process group of its own, with bounded output."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

OUTPUT_LIMIT: Final = 65_536  # bytes, of output and errors each
_CHUNK = 16_384
_REAP: Final = 0.2  # seconds; what is killed ends within milliseconds unless a device holds it
_LIMITS: Final = (
    (resource.RLIMIT_CORE, 0),
    (resource.RLIMIT_DATA, 512 << 20),  # bytes
    (resource.RLIMIT_FSIZE, 16 << 20),
)


class FloodError(Exception):
    """The program wrote more than it may."""


class Process:
    """A running program. Whoever makes one must call :meth:`kill`, which also ends what the program left behind."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start it; as nobody when this process is root. Raises OSError; nothing is then left running."""
        self._loop = asyncio.get_running_loop()
        self._done: asyncio.Future[None] = self._loop.create_future()
        self._texts: dict[int, bytearray] = {}
        identity: dict[str, Any] = (
            {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}
        )
        self._popen = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            cwd="/",
            env=dict(environment),
            start_new_session=True,
            umask=0o077,
            **identity,
        )
        self._pidfd = -1
        try:
            self._limit()
            self._pidfd = os.pidfd_open(self._popen.pid)
            for pipe in (self._popen.stdout, self._popen.stderr):
                if pipe is not None:
                    os.set_blocking(pipe.fileno(), False)
                    self._texts[pipe.fileno()] = bytearray()
                    self._loop.add_reader(pipe.fileno(), self._read, pipe.fileno())
            # The descriptor of a process is readable when it has ended; it stays a zombie, so its number stays ours.
            self._loop.add_reader(self._pidfd, self._finish)
        except BaseException:
            self.kill()
            raise

    async def ended(self) -> int:
        """Wait for its end; returns the exit code, or minus the signal. Raises FloodError."""
        await self._done
        self._texts_until_now()
        self._signal_group()
        return self._popen.wait(_REAP)

    @property
    def output(self) -> bytes:
        """Standard output until now, at most OUTPUT_LIMIT bytes."""
        return bytes(self._text(0))

    @property
    def errors(self) -> bytes:
        """Standard error until now, at most OUTPUT_LIMIT bytes."""
        return bytes(self._text(1))

    def kill(self) -> None:
        """Kill the process group and free everything; takes a few milliseconds at most, and may be called again."""
        self._signal_group()
        for descriptor in (*self._texts, self._pidfd):
            if descriptor >= 0:
                self._loop.remove_reader(descriptor)
        for pipe in (self._popen.stdout, self._popen.stderr):
            if pipe is not None:
                pipe.close()
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1
        # If a device holds it even now, a later start of any program reaps it (subprocess._cleanup).
        with suppress(subprocess.TimeoutExpired):
            self._popen.wait(_REAP)

    def _limit(self) -> None:
        for what, most in _LIMITS:
            # A program that changes its user is not ours to limit; the time and the output are limited all the same.
            with suppress(PermissionError, ProcessLookupError):
                resource.prlimit(self._popen.pid, what, (most, most))

    def _signal_group(self) -> None:
        # Only while the leader is not reaped is its number certainly that of our group.
        if self._popen.returncode is None:
            with suppress(ProcessLookupError, PermissionError):  # gone, or of another user by a set-uid program
                os.killpg(self._popen.pid, signal.SIGKILL)

    def _read(self, descriptor: int) -> bool:
        """Take what is there; whether there may be more."""
        try:
            data = os.read(descriptor, _CHUNK)
        except OSError as error:
            if error.errno == errno.EAGAIN:
                return False
            raise
        if not data:
            self._loop.remove_reader(descriptor)
            return False
        text = self._texts[descriptor]
        text += data[: OUTPUT_LIMIT - len(text)]
        if len(text) >= OUTPUT_LIMIT:
            self._loop.remove_reader(descriptor)
            self._finish(FloodError(f"it wrote more than {OUTPUT_LIMIT} bytes"))
            return False
        return True

    def _texts_until_now(self) -> None:
        for descriptor in self._texts:
            while self._read(descriptor):
                continue
        if (error := self._done.exception()) is not None:
            raise error

    def _finish(self, error: Exception | None = None) -> None:
        if self._pidfd >= 0:
            self._loop.remove_reader(self._pidfd)
        if not self._done.done():
            if error is None:
                self._done.set_result(None)
            else:
                self._done.set_exception(error)

    def _text(self, number: int) -> bytes:
        return bytes(list(self._texts.values())[number])
