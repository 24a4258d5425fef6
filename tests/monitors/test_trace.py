"""The trace of a probe: its bounds, and that no spelling of a secret gets into it."""

from __future__ import annotations

import asyncio
import html
import json
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from itertools import pairwise
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitors import trace
from monitors.masking import HIDDEN, Mask
from monitors.spec import Params, ProbeResult, ProbeSpec
from monitors.trace import SHOWN_LIMIT, STEPS_LIMIT, Recorder, Trace, as_text, escaped

Spell = Callable[[str], bytes]
SPELLINGS: dict[str, Spell] = {
    "as it is": str.encode,
    "Latin-1": lambda secret: secret.encode("latin-1"),
    "UTF-16": lambda secret: secret.encode("utf-16-le"),
    "base64": lambda secret: b64encode(secret.encode()),
    "URL-safe base64": lambda secret: urlsafe_b64encode(secret.encode()).rstrip(b"="),
    "SASL PLAIN": lambda secret: b64encode(f"\0somebody\0{secret}".encode()),
    "Basic": lambda secret: b"Authorization: Basic " + b64encode(f"me:{secret}".encode()),
    "within base64": lambda secret: b64encode(f'{{"a": 1, "key": "{secret}", "b": 22}}'.encode()),
    "percent": lambda secret: quote(secret, safe="").encode(),
    "percent in lower case": lambda secret: quote(secret, safe="").lower().encode(),
    "form": lambda secret: quote_plus(secret).encode(),
    "HTML": lambda secret: html.escape(secret).encode(),
    "JSON": lambda secret: json.dumps(secret).encode(),
    "hexadecimal": lambda secret: secret.encode().hex().upper().encode(),
}
# Letters that no escape, no step and no number is written with, and what the spellings change.
secrets = st.text("GHJKQVWZäß%+&<\"' /", min_size=4, max_size=40).filter(lambda text: len(text.strip()) >= 4)
around = st.binary(max_size=30).filter(lambda data: not data[-1:].isalnum())


def spec(*hidden: str) -> ProbeSpec:
    values = {f"secret{number}": one for number, one in enumerate(hidden)}
    return ProbeSpec("TCP", "127.0.0.1", "10.0.0.10", 1, 1.0, Params(values, secret=values))


def traced(do: Callable[[], object], *hidden: str) -> Trace:
    async def run(_spec: ProbeSpec) -> ProbeResult:
        do()
        return ProbeResult(success=True, message="fine", duration=0.0)

    return asyncio.run(trace.traced(spec(*hidden), run))


def in_pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[begin:end] for begin, end in pairwise(places)]


@pytest.mark.parametrize("spelling", SPELLINGS)
@settings(max_examples=60, deadline=None)
@given(secret=secrets, before=around, after=st.binary(max_size=30), cuts=st.lists(st.integers(0, 500), max_size=4))
def test_no_spelling_of_a_secret_is_shown_however_it_comes_in_pieces(
    spelling: str, secret: str, before: bytes, after: bytes, cuts: list[int]
) -> None:
    core = SPELLINGS[spelling](secret)

    def exchange() -> None:
        for number, piece in enumerate(in_pieces(before + b" " + core + b" " + after, cuts)):
            trace.received(piece, secret)
            if number % 2:
                trace.sent(b"more\r\n", secret)

    found = traced(exchange, secret)
    shown = "".join(step.text for step in found.steps if step.what == "received")
    assert HIDDEN in shown
    assert escaped(core).strip() not in shown
    assert secret.strip() not in as_text(found)


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=300), chosen=st.lists(st.text(min_size=1, max_size=6), min_size=1, max_size=3))
def test_every_occurrence_is_in_a_span_and_spans_are_in_order(data: bytes, chosen: list[str]) -> None:
    data += chosen[0].encode(errors="replace") + data
    spans = Mask(chosen).spans(data)
    assert all(first[1] < second[0] for first, second in pairwise(spans))
    covered = {place for begin, end in spans for place in range(begin, end)}
    for secret in chosen:
        core = secret.encode(errors="replace")
        for begin in range(len(data) - len(core) + 1):
            if data[begin : begin + len(core)] == core:
                assert covered.issuperset(range(begin, begin + len(core)))


def test_secrets_that_overlap_are_hidden_together() -> None:
    assert Mask(["abcd", "cdef"]).spans(b"-abcdef-") == [(1, 7)]
    assert Mask(["aXa"]).spans(b"aXaXa") == [(0, 5)]


@pytest.mark.parametrize("right_before", ["", "q", "qq", "qqq", "qqqq/"])
def test_base64_is_found_whatever_stands_right_before_it(right_before: str) -> None:
    data = f"token {right_before}{b64encode(b'correct-horse').decode()} end".encode()
    (span,) = Mask(["correct-horse"]).spans(data)
    assert data[: span[0]] == b"token "
    assert data[span[1] :] == b" end"


def test_headers_that_are_a_secret_are_hidden_line_by_line() -> None:
    given_headers = "Authorization: Bearer t0ken-1\nX-Key:k3y-two\r\n"
    sent = b"GET / HTTP/1.1\r\nauthorization: Bearer t0ken-1\r\nX-Key: k3y-two\r\nAccept: */*\r\n\r\n"
    text = traced(lambda: trace.sent(sent, None), given_headers).steps[0].text
    assert "t0ken" not in text
    assert "k3y" not in text
    assert "GET / HTTP/1.1\\r\\n" in text
    assert "Accept: */*\\r\\n" in text


def test_the_verdict_hides_a_secret_and_the_beginning_that_a_message_was_cut_at() -> None:
    async def run(_spec: ProbeSpec) -> ProbeResult:
        return ProbeResult(success=False, message="login correct-horse: “no, correct-ho…”, wanted", duration=0.0)

    found = asyncio.run(trace.traced(spec("correct-horse"), run))
    assert found.steps[-1].text == f"failed: login {HIDDEN}: “no, {HIDDEN}…”, wanted"
    assert found.message == f"login {HIDDEN}: “no, {HIDDEN}…”, wanted"
    assert not found.passed


def test_nothing_is_hidden_without_secrets() -> None:
    assert Mask().spans(b"anything") == []
    assert traced(lambda: trace.sent(b"anything", None)).steps[0].text == "anything"


def test_a_long_step_is_cut_and_says_by_how_much() -> None:
    step = traced(lambda: trace.received(b"x" * 5000, None)).steps[0]
    assert (len(step.text), step.size, step.cut) == (SHOWN_LIMIT, 5000, 5000 - SHOWN_LIMIT)
    note = traced(lambda: trace.note("query", "y" * 3000)).steps[0]
    assert (len(note.text), note.size, note.cut) == (SHOWN_LIMIT, None, 3000 - SHOWN_LIMIT)


def test_a_secret_at_the_cut_is_hidden_whole() -> None:
    data = b"x" * (SHOWN_LIMIT - 4) + b"hunter2-hunter2" + b"y" * 100
    step = traced(lambda: trace.received(data, None), "hunter2-hunter2").steps[0]
    assert step.text == "x" * (SHOWN_LIMIT - 4) + HIDDEN
    assert step.cut == 100


def test_many_steps_are_bounded_and_the_verdict_stays() -> None:
    def many() -> None:
        for number in range(10_000):
            trace.note("step", str(number))

    found = traced(many)
    assert len(found.steps) == STEPS_LIMIT
    assert found.steps[-2].text == str(STEPS_LIMIT - 2)
    assert found.steps[-1].what == trace.VERDICT
    assert found.left_off == 10_001 - STEPS_LIMIT
    assert f"({found.left_off} steps left off)" in as_text(found)


def test_of_a_flood_nothing_is_shown_that_was_not_looked_through() -> None:
    def flood() -> None:
        for number in range(40):
            trace.received(b"z" * 65_536, None)
            trace.note("between", str(number))

    found = traced(flood, "zz-secret")
    received = [step for step in found.steps if step.what == "received"]
    assert received[0].text.startswith("zzz")
    assert received[-1].text == "(not shown: the exchange is too long)"


def test_pieces_that_came_in_a_row_are_one_step_and_connections_are_apart() -> None:
    first, second = object(), object()

    def pieces() -> None:
        trace.received(b"a", first)
        trace.received(b"b", first)
        trace.received(b"c", second)
        trace.sent(b"1234", first, "told instead")
        trace.sent(b"12", first, "told instead")

    told = [(step.what, step.text, step.size) for step in traced(pieces).steps[:-1]]
    assert told == [("received", "ab", 2), ("received", "c", 1), ("sent", "told instead", 6)]


def test_without_a_recorder_nothing_is_said_or_even_put_into_words() -> None:
    def words() -> str:
        raise AssertionError("nobody asked")

    assert trace.recorder() is None
    trace.note("step", words)
    trace.sent(b"x", None)
    trace.received(b"x", None)


def test_probes_at_the_same_time_have_traces_of_their_own() -> None:
    async def both() -> tuple[Trace, Trace]:
        async def run(one: ProbeSpec) -> ProbeResult:
            for _ in range(3):
                trace.note("step", str(one.port))
                await asyncio.sleep(0)
            return ProbeResult(success=True, message="", duration=0.0)

        other = ProbeSpec("TCP", "127.0.0.1", "10.0.0.10", 2, 1.0)
        return await asyncio.gather(trace.traced(spec(), run), trace.traced(other, run))

    first, second = asyncio.run(both())
    assert {step.text for step in first.steps[:-1]} == {"1"}
    assert {step.text for step in second.steps[:-1]} == {"2"}


def test_a_probe_that_breaks_leaves_no_recorder_behind() -> None:
    async def run(_spec: ProbeSpec) -> ProbeResult:
        raise LookupError("a bug")

    async def body() -> None:
        with pytest.raises(LookupError):
            await trace.traced(spec(), run)
        assert trace.recorder() is None

    asyncio.run(body())


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_what_is_shown_is_printable_and_tells_the_bytes_apart(data: bytes) -> None:
    text = escaped(data)
    assert all(letter.isprintable() or letter == "\n" for letter in text)
    assert unescaped(text) == data


def unescaped(text: str) -> bytes:
    out, rest = b"", text.replace("\\n\n", "\\n")
    while rest:
        if not rest.startswith("\\"):
            out, rest = out + rest[0].encode(), rest[1:]
        elif rest[1] == "x":
            out, rest = out + bytes.fromhex(rest[2:4]), rest[4:]
        else:
            out, rest = out + {"n": b"\n", "r": b"\r", "t": b"\t", "\\": b"\\"}[rest[1]], rest[2:]
    return out


def test_a_hidden_text_is_hidden_in_words_too() -> None:
    assert Recorder(Mask(["pässword"])).hidden("say “pässword” – twice: pässword") == (
        f"say “{HIDDEN}” – twice: {HIDDEN}"
    )
