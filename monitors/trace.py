"""A trace of one probe: what was sent and received when, step by step, without secrets.

A probe says what it does by :func:`note`, :func:`sent` and :func:`received`. They look for a recorder in the context
and return at once when there is none, which is the case in every ordinary check. :func:`traced` runs a probe with one.

Secrets are hidden when the trace is read, over all that went one way on one connection: a server that echoes a password
in two pieces hides nothing. Values that are *made* from a secret, such as MySQL's or RADIUS's answers to a challenge,
cannot be found that way; kinds that send them tell the step in words instead.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from time import perf_counter
from typing import Final

from monitors.masking import HIDDEN, Mask, Span
from monitors.spec import ProbeResult, ProbeSpec

STEPS_LIMIT: Final = 64
SHOWN_LIMIT: Final = 2048  # bytes of a step that are shown
_KEPT_LIMIT: Final = 1 << 19  # bytes of one trace that are looked through for secrets; what is beyond is not shown
_ENTRIES_LIMIT: Final = 4096

RESOLVE, CONNECT, TLS = "resolve", "connect", "TLS"
SENT, RECEIVED, CLOSED, VERDICT = "sent", "received", "closed", "verdict"


@dataclass(frozen=True, slots=True)
class Step:
    r"""One step. ``at`` is when it was complete, in milliseconds since the start; ``took`` since the step before.

    ``text`` is printable: other bytes are ``\xNN``, and a line break follows each ``\n``. ``size`` is in bytes, None
    for what is no data; ``cut`` is how many of them are not shown.
    """

    what: str
    at: float
    took: float
    text: str
    size: int | None = None
    cut: int = 0


@dataclass(frozen=True, slots=True)
class Trace:
    """The steps of a probe, the verdict last. ``left_off``: how many others there were."""

    steps: tuple[Step, ...]
    result: ProbeResult
    passed: bool
    message: str
    left_off: int = 0


@dataclass(slots=True)
class _Entry:
    what: str
    channel: int
    at: float
    raw: bytearray
    size: int | None = None
    hidden: bool = False  # data of which nothing is shown


@dataclass(slots=True)
class Recorder:
    """Collects the steps of one probe."""

    mask: Mask
    start: float = field(default_factory=perf_counter)
    _entries: list[_Entry] = field(default_factory=list)
    _kept: int = 0
    _left_off: int = 0

    def note(self, what: str, text: str, size: int | None = None) -> None:
        """A step in words; of the same step with sizes, the sizes add up."""
        raw = bytearray(text.encode(errors="replace"))
        last = self._entries[-1] if self._entries else None
        if size is not None and last is not None and (last.what, last.channel, last.raw) == (what, 0, raw):
            last.size = (last.size or 0) + size
            last.at = self._now()
        else:
            self._add(_Entry(what, 0, self._now(), raw, size))

    def data(self, what: str, data: bytes, channel: int) -> None:
        """Bytes that went one way; those of one way and connection right after each other are one step."""
        room = _KEPT_LIMIT - self._kept
        kept = data if len(data) <= room else data[: max(room, 0) + self.mask.longest]
        self._kept += len(kept)
        last = self._entries[-1] if self._entries else None
        if last is None or last.size is None or (last.what, last.channel) != (what, channel):
            last = _Entry(what, channel, 0.0, bytearray(), 0)
            self._add(last)
        if room > 0:
            last.raw += kept
        last.hidden = last.hidden or len(data) > room
        last.size = (last.size or 0) + len(data)
        last.at = self._now()

    def steps(self) -> tuple[tuple[Step, ...], int]:
        """All steps without secrets, and how many were left off in the middle."""
        spans = self._spans()
        before = 0.0
        steps = []
        for entry, places in zip(self._entries, spans, strict=True):
            text, shown = _printable(bytes(entry.raw), places)
            if entry.hidden:
                text, shown = "(not shown: the exchange is too long)", 0
            # Words that stand in for data have a size too, and are not cut for being shorter.
            whole = (entry.size or 0) if entry.channel else len(entry.raw)
            steps.append(Step(entry.what, entry.at, entry.at - before, text, entry.size, max(0, whole - shown)))
            before = entry.at
        if len(steps) > STEPS_LIMIT:
            left_off = self._left_off + len(steps) - STEPS_LIMIT
            return (*steps[: STEPS_LIMIT - 1], steps[-1]), left_off
        return tuple(steps), self._left_off

    def hide(self, secrets: Iterable[str]) -> None:
        """Look for further secrets."""
        self.mask.add(secrets)

    def hidden(self, text: str) -> str:
        """A text without secrets."""
        data = text.encode(errors="replace")
        out, position = "", 0
        for start, end in self.mask.spans(data):
            out += data[position:start].decode(errors="replace") + HIDDEN
            position = end
        return out + data[position:].decode(errors="replace")

    def _now(self) -> float:
        return (perf_counter() - self.start) * 1000

    def _add(self, entry: _Entry) -> None:
        if len(self._entries) < _ENTRIES_LIMIT or entry.what == VERDICT:
            self._entries.append(entry)
        else:
            self._left_off += 1

    def _spans(self) -> list[list[Span]]:
        """Places of secrets in each entry, found over all data of its way and connection."""
        found: list[list[Span]] = [[] for _ in self._entries]
        streams: dict[tuple[str, int, int], list[int]] = {}
        for number, entry in enumerate(self._entries):
            alone = -1 if entry.channel else number
            streams.setdefault((entry.what, entry.channel, alone), []).append(number)
        for numbers in streams.values():
            spans = self.mask.spans(b"".join(self._entries[number].raw for number in numbers))
            begin = 0
            for number in numbers:
                end = begin + len(self._entries[number].raw)
                mine = [(max(start, begin), min(stop, end)) for start, stop in spans if start < end and stop > begin]
                found[number] = [(start - begin, stop - begin) for start, stop in mine]
                begin = end
        return found


_recorder: ContextVar[Recorder | None] = ContextVar("probe trace", default=None)


def recorder() -> Recorder | None:
    """The recorder of this context; None in ordinary checks."""
    return _recorder.get()


def note(what: str, text: str | Callable[[], str]) -> None:
    """A step in words, if there is a recorder; words that take time to find are given as a function."""
    if (one := _recorder.get()) is not None:
        one.note(what, text if isinstance(text, str) else text())


def sent(data: bytes, channel: object, told: str = "") -> None:
    """Bytes that were sent on the connection ``channel``; ``told`` stands in for those that are made from a secret."""
    if (one := _recorder.get()) is not None:
        if told:
            one.note(SENT, told, len(data))
        else:
            one.data(SENT, data, id(channel))


def received(data: bytes, channel: object, told: str = "") -> None:
    """Bytes that were received, as :func:`sent`."""
    if (one := _recorder.get()) is not None:
        if told:
            one.note(RECEIVED, told, len(data))
        else:
            one.data(RECEIVED, data, id(channel))


Judge = Callable[[ProbeResult], tuple[bool, str]]


def _as_it_is(result: ProbeResult) -> tuple[bool, str]:
    return result.sent and result.success, result.message


async def traced(
    spec: ProbeSpec,
    run: Callable[[ProbeSpec], Awaitable[ProbeResult]],
    before: Sequence[tuple[str, str]] = (),
    judge: Judge = _as_it_is,
) -> Trace:
    """Run a probe and tell its steps. ``before``: steps that come first; ``judge``: what a result means and its words.

    The task's own context gets the recorder, so probes that run at the same time are not in the trace.
    """
    one = Recorder(Mask(spec.params.secret_values))
    token = _recorder.set(one)
    try:
        for what, text in before:
            one.note(what, text)
        result = await run(spec)
    finally:
        _recorder.reset(token)
    passed, message = judge(result)
    one.note(VERDICT, f"{'passed' if passed else 'failed'}: {message}")
    steps, left_off = one.steps()
    return Trace(steps, result, passed, one.hidden(message), left_off)


def _printable(raw: bytes, spans: Sequence[Span]) -> tuple[str, int]:
    """Text of the first bytes, secrets hidden, and how many bytes that is."""
    out, position, limit = "", 0, min(len(raw), SHOWN_LIMIT)
    for start, end in spans:
        if start >= limit:
            break
        out += escaped(raw[position:start]) + HIDDEN
        position = end
    if position < limit:
        out += escaped(raw[position:limit])
    return out, max(position, limit)


def escaped(data: bytes) -> str:
    r"""Printable text: UTF-8 as it is, other bytes as ``\xNN``, backslashes doubled, line breaks kept behind ``\n``."""
    out = []
    for one in data.replace(b"\\", b"\\\\").decode(errors="backslashreplace"):
        if one == "\n":
            out.append("\\n\n")
        elif one == "\r":
            out.append("\\r")
        elif one == "\t":
            out.append("\\t")
        elif one.isprintable():
            out.append(one)
        else:
            out.append("".join(f"\\x{byte:02x}" for byte in one.encode()))
    return "".join(out)


def as_text(trace: Trace) -> str:
    """The trace for a terminal: time since the start, step, text; a line break at the end."""
    lines = []
    for step in trace.steps:
        size = "" if step.size is None else f" {step.size} bytes"
        first, *rest = step.text.removesuffix("\n").split("\n")
        lines.append(f"{step.at:9.1f} ms  {step.what}{size}: {first}")
        lines += [f"{'':14}{line}" for line in rest]
        if step.cut:
            lines.append(f"{'':14}({step.cut} bytes more)")
    if trace.left_off:
        lines.insert(-1, f"{'':14}({trace.left_off} steps left off)")
    return "\n".join(lines) + "\n"
