"""Failures of the network in the operator's words: the VIP is named, the probe address only where it helps."""

from __future__ import annotations

import asyncio
import errno
import os

from monitors.spec import ProbeResult, ProbeSpec

# What the director itself could not do: nothing went out, whatever the state of the server.
_NOT_SENT = frozenset(
    {
        errno.ENETUNREACH,
        errno.ENETDOWN,
        errno.ENODEV,
        errno.EADDRNOTAVAIL,
        errno.EAFNOSUPPORT,
        errno.EINVAL,  # a blackhole route
        errno.EACCES,
        errno.EPERM,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOBUFS,
        errno.ENOMEM,
    }
)

_NO_ROUTE = "no route to {target} (is the data plane running?)"
_FILTERED = "the director may not send to {target} (a packet filter or a prohibit route)"
_NO_DESCRIPTOR = "the director has no file descriptor left (raise ulimit -n of the worker)"
_TEXTS = {
    errno.ECONNREFUSED: "connection refused",
    errno.ECONNRESET: "connection reset",
    errno.ENETUNREACH: _NO_ROUTE,
    errno.ENETDOWN: _NO_ROUTE,
    errno.ENODEV: _NO_ROUTE,
    errno.EINVAL: _NO_ROUTE,
    errno.EHOSTUNREACH: "{target} is unreachable (is the server on the segment, and the data plane running?)",
    # Also what a drop by an egress program looks like.
    errno.ENOBUFS: "dropped on the way to {target} (does the data plane know this probe address?)",
    errno.EADDRNOTAVAIL: "the director has no free source address and port to reach {target}",
    errno.EMFILE: _NO_DESCRIPTOR,
    errno.ENFILE: _NO_DESCRIPTOR,
    errno.EACCES: _FILTERED,
    errno.EPERM: _FILTERED,
}


def no_answer(spec: ProbeSpec, duration: float, addition: str = "") -> ProbeResult:
    """The time-out passed; ``addition`` says what came instead of the answer."""
    return ProbeResult(success=False, message=f"no answer within {spec.timeout:g} s{addition}", duration=duration)


def failure(spec: ProbeSpec, error: OSError, duration: float) -> ProbeResult:
    """The result for an error of the socket."""
    code = error.errno
    sent = code not in _NOT_SENT
    return ProbeResult(success=False, message=_words(spec, code), duration=duration, sent=sent)


def why(error: BaseException) -> str:
    """Why a step of a trace was not completed."""
    if isinstance(error, asyncio.CancelledError | TimeoutError):  # how asyncio ends what takes too long
        return "no answer until the time was over"
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno).lower()
    return "broken off"


def milliseconds(duration: float) -> str:
    """Seconds as ``0.4 ms``, or ``12 ms`` where a decimal would be noise."""
    value = duration * 1000
    return f"{value:.1f} ms" if value < 10 else f"{value:.0f} ms"


def _words(spec: ProbeSpec, code: int | None) -> str:
    if code is None:
        return "network error"
    return _TEXTS.get(code, f"{os.strerror(code)} (to {{target}})").format(target=_by_way_of(spec))


def _by_way_of(spec: ProbeSpec) -> str:
    return spec.vip if spec.vip == spec.address else f"{spec.vip} by way of {spec.address}"
