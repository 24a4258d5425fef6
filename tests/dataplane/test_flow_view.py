"""Events in words, and who is told which of them."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_address
from typing import Any

import pytest
from django.utils import timezone

from dataplane import watch
from dataplane.flow_view import Names, flow_line, flow_row
from dataplane.tables import EVENT_FRAME, Event, Reason, Sampled, SampleKind, Sampling
from dataplane.watch import Watch, Watcher
from tests import factories
from webui import live
from webui.models import FlowWatch

FLOW = Event(
    time=5_000_000_000,
    kind=SampleKind.FLOW,
    reason=Reason.FORWARDED,
    source=ip_address("192.0.2.9"),
    destination=ip_address("203.0.113.80"),
    source_port=40000,
    port=80,
    protocol=6,
    ifindex=2,
    vserver=7,
    service=3,
    length=74,
    tcp_flags=2,
)
DROP = replace(FLOW, kind=SampleKind.DROP, reason=Reason.DROP_NO_VSERVER, vserver=0, service=0, protocol=17)
NAMES = Names({7: "web"}, {3: "Server1 (10.0.0.11)"})
AT_VIP = Watch(7, ip_address("203.0.113.80"))
ELSEWHERE = Watch(8, ip_address("203.0.113.81"))


def test_a_new_flow_names_client_vip_and_server() -> None:
    row = flow_row(FLOW, NAMES, 1_000_000_000)
    assert (row["at"], row["kind"], row["reason"]) == ("1970-01-01T00:00:06.000+00:00", "new flow", "")
    assert flow_line(row) == (
        "00:00:06.000 new flow  TCP 192.0.2.9:40000 → 203.0.113.80:80 (web) → Server1 (10.0.0.11) SYN 74 B"
    )


def test_a_drop_names_its_reason_and_needs_no_names() -> None:
    odd = replace(DROP, source=ip_address("2001:db8::9"), destination=ip_address("2001:db8::80"), protocol=99, port=0)
    line = flow_line(flow_row(odd, Names(), 0))
    expected = "drop      protocol 99 [2001:db8::9]:40000 → 2001:db8::80 → DROP_NO_VSERVER SYN 74 B"
    assert line == f"00:00:05.000 {expected}"
    assert flow_row(FLOW, Names(), 0)["server"] == "service 3"


def test_each_viewer_gets_its_vserver_and_what_came_to_its_vip_for_none() -> None:
    other = replace(FLOW, vserver=8)
    nobodys = replace(FLOW, vserver=9)
    found = watch.sort([AT_VIP, ELSEWHERE], [FLOW, DROP, other, nobodys], NAMES, 0)
    assert [row["kind"] for row in found[7]] == ["new flow", "drop"]
    assert [row["vserver"] for row in found[8]] == [8]


def test_the_forwarder_is_asked_for_one_vserver_or_for_all() -> None:
    one, both = watch.wish([AT_VIP]), watch.wish([AT_VIP, ELSEWHERE])
    assert (one.vserver, one.vip) == (7, AT_VIP.vip)
    assert (both.vserver, both.vip) == (0, None)


class FakeListener:
    """Tells what it is given, once each."""

    def __init__(self) -> None:
        self.wishes: list[Sampling] = []
        self.queue: list[Event] = []
        self.closed = threading.Event()

    def listen(self, wish: Sampling) -> None:
        self.wishes.append(wish)

    def events(self, timeout: float) -> list[Event]:
        found, self.queue = self.queue, []
        if not found:
            time.sleep(timeout)
        return found

    def sampled(self) -> Sampled:
        return Sampled(1, 5)

    def close(self) -> None:
        self.closed.set()


def eventually(what: Any) -> None:
    deadline = time.monotonic() + 30
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_viewers_are_told_while_they_look_and_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Any] = []
    monkeypatch.setattr(live, "publish", sent.append)
    listener = FakeListener()
    listener.queue = [FLOW] * (watch.BATCH_ROWS + 3)
    watcher = Watcher("director1", lambda: listener)
    watcher.want([], Names)
    assert not watcher.is_running
    watcher.want([AT_VIP], lambda: NAMES)
    eventually(lambda: sent)
    first = sent[0]
    assert (first["type"], first["director"], first["vserver"]) == ("live.flows", "director1", 7)
    assert (len(first["rows"]), first["withheld"]) == (watch.BATCH_ROWS, 3 + 5)
    assert listener.wishes[0].vserver == 7
    watcher.want([], Names)
    assert listener.closed.wait(10)
    eventually(lambda: not watcher.is_running)


def test_wishes_are_forgotten_when_nobody_looks_at_the_rows_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "publish", lambda _event: None)
    monkeypatch.setattr(watch, "HOLD_SECONDS", 0.1)
    listener = FakeListener()
    Watcher("director1", lambda: listener).want([AT_VIP], lambda: NAMES)
    assert listener.closed.wait(10)


def test_a_forwarder_that_cannot_be_listened_to_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    def refuse() -> FakeListener:
        raise OSError(1, "no")

    watcher = Watcher("director1", refuse)
    watcher.want([AT_VIP], lambda: NAMES)
    eventually(lambda: not watcher.is_running)
    assert "cannot be listened to" in caplog.text


@pytest.mark.django_db
def test_wishes_hold_until_they_are_over() -> None:
    vserver, user = factories.vserver(factories.service()), factories.owner()
    now = timezone.now()
    FlowWatch.objects.create(vserver=vserver, requested_by=user, until=now + timedelta(seconds=5))
    assert watch.wanted(now) == (Watch(vserver.pk, ip_address(vserver.address)),)
    assert watch.wanted(now + timedelta(seconds=6)) == ()
    assert watch.wanted(now - timedelta(hours=1)) == ()  # the clock was set back
    called = watch.names()
    assert (called.vservers[vserver.pk], len(called.servers)) == (vserver.name, 1)


def test_a_frame_is_told_before_and_after_only_to_who_asks_for_it() -> None:
    came, left, rest = bytes(range(12)), bytes(range(20, 32)), b"\x08\x00rest"
    event = replace(FLOW, frame=left + rest, arrived=came)
    row = flow_row(event, NAMES, 0, frame=True)
    assert (row["before"], row["after"]) == ((came + rest).hex(), (left + rest).hex())
    assert flow_row(event, NAMES, 0)["before"] == flow_row(event, NAMES, 0)["after"] == ""
    dropped = flow_row(replace(event, reason=Reason.DROP_NO_SERVICE), NAMES, 0, frame=True)
    assert (dropped["before"], dropped["after"]) == ("", "")

    looking = [replace(AT_VIP, frames=True), ELSEWHERE]
    found = watch.sort(looking, [event, replace(event, vserver=8)], NAMES, 0)
    assert [bool(found[pk][0]["after"]) for pk in (7, 8)] == [True, False]
    assert watch.wish(looking).caught == EVENT_FRAME
    assert watch.wish([AT_VIP, ELSEWHERE]).caught == 0


@pytest.mark.django_db
def test_frames_are_wanted_until_the_last_who_asked_has_gone() -> None:
    vserver = factories.vserver(factories.service())
    now = timezone.now()
    later = now + timedelta(seconds=10)
    FlowWatch.objects.create(vserver=vserver, requested_by=factories.owner(), until=later, frames_until=later)
    FlowWatch.objects.create(vserver=vserver, requested_by=factories.member(), until=later)
    vip = ip_address(vserver.address)
    assert watch.wanted(now) == (Watch(vserver.pk, vip, frames=True),)
    FlowWatch.objects.filter(frames_until__isnull=False).update(frames_until=now)
    assert watch.wanted(now) == (Watch(vserver.pk, vip),)
