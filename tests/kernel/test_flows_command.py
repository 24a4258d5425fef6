"""``manage.py flows`` beside a forwarder that is loaded, as an operator types it."""

from __future__ import annotations

import threading
import time
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from dataplane.kernel.events import EVENTS
from tests import factories
from tests.kernel.bench import Bench
from tests.kernel.test_events import ACK, serve, tcp

pytestmark = [pytest.mark.kernel, pytest.mark.django_db(transaction=True)]


def flows(bench: Bench, settings: Any, *options: str) -> tuple[list[str], str]:
    """Lines of output, and what was said besides, with three frames sent while the command listens."""
    settings.PIN_DIR = bench.forwarder.folder.parent
    out, said = StringIO(), StringIO()
    failures: list[BaseException] = []

    def traffic() -> None:
        try:
            deadline = time.monotonic() + 20
            while "Listening" not in said.getvalue():
                assert time.monotonic() < deadline, "the command does not listen"
                time.sleep(0.05)
            for frame in (tcp(4, 80), tcp(4, 80, ACK), tcp(4, 81)):
                bench.send(frame)
        except BaseException as error:  # noqa: BLE001 - shown by the test's own thread
            failures.append(error)

    sender = threading.Thread(target=traffic)
    sender.start()
    call_command("flows", "--seconds", "2", *options, stdout=out, stderr=said)
    sender.join()
    assert not failures, failures
    return out.getvalue().splitlines(), said.getvalue()


def test_new_flows_and_drops_are_shown_and_nothing_stays_behind(bench: Bench, settings: Any) -> None:
    serve(bench, 4)
    lines, said = flows(bench, settings)
    assert [line.partition(" ")[2] for line in lines] == [
        "new flow  TCP 192.0.2.9:40000 → 203.0.113.80:80 (vserver 101) → service 3 SYN 58 B",
        "drop      TCP 192.0.2.9:40000 → 203.0.113.80:81 (vserver 102) → DROP_NO_SERVICE SYN 58 B",
    ]
    assert "2 events." in said
    assert bench.forwarder.maps[EVENTS].items() == []


def test_drops_alone_of_one_vserver(bench: Bench, settings: Any) -> None:
    serve(bench, 4)
    mine = factories.vserver(factories.service(), name="web")
    assert mine.pk not in {101, 102}
    lines, said = flows(bench, settings, "--vserver", "WEB", "--drops")
    assert (lines, "0 events." in said) == ([], True)


def test_a_wrong_name_and_a_missing_forwarder_are_said(tmp_path: Path, settings: Any) -> None:
    factories.vserver(factories.service(), name="web")
    with pytest.raises(CommandError, match="Did you mean web"):
        call_command("flows", "--vserver", "wbe")
    with pytest.raises(CommandError, match="--rate is 0"):
        call_command("flows", "--rate", "0")
    settings.PIN_DIR = tmp_path
    with pytest.raises(CommandError, match="is the worker running"):
        call_command("flows", "--seconds", "1")
