"""“Probe now” as an operator uses it: with a real worker, against a server on loopback."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests import factories
from tests.browser.conftest import ROOT, SCREENSHOTS, Apply, log_in
from tests.browser.test_console import _violations
from tests.monitors.kinds.servers import by_hand, says
from webui.actions import monitors, services
from webui.models import ProbeTarget, Service

pytestmark = pytest.mark.browser

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 14\r\n\r\nall is well \xff\r\n"


def _installation(port: int, **values: Any) -> int:
    """A monitor that is bound to a service whose probe address is loopback; returns its number."""
    given = {"monitor_type": "HTTP-ECV", "send": "GET /health", "recv": "all is well", "dest_port": port}
    monitor = monitors.create(factories.SYSTEM, {"name": "health", **given, **values})
    service = factories.service()
    services.bind_monitor(factories.SYSTEM, service, monitor)
    factories.vserver(service)
    ProbeTarget.objects.update(address="127.0.0.1")
    return monitor.pk


@pytest.fixture
def web() -> Iterator[int]:
    with by_hand(says(ANSWER)) as port:
        yield port


@pytest.fixture
def worker(environment: dict[str, str], tmp_path: Path) -> Iterator[None]:
    """The Celery worker, as it runs on a director; no beat, so nothing else is checked."""
    log = tmp_path / "worker.log"
    command = [sys.executable, "-m", "celery", "-A", "webui.celery", "worker", "--pool", "threads"]
    command += ["--concurrency", "2", "--without-gossip", "--without-mingle", "--loglevel", "INFO"]
    with log.open("w") as out:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=out, stderr=out)
    try:
        deadline = time.monotonic() + 20
        while " ready." not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(20)


def test_the_exchange_is_shown_step_by_step(
    operator: Page, apply: Apply, console_url: str, worker: None, web: int
) -> None:
    pk = apply(_installation, web)
    operator.goto(f"{console_url}/monitors/{pk}/")
    operator.get_by_label("Service and VIP").focus()
    operator.keyboard.press("Tab")
    expect(operator.get_by_role("button", name="Probe now")).to_be_focused()
    operator.keyboard.press("Enter")
    expect(operator.locator("#probe-status")).to_contain_text("HTTP 200, “all is well” found")
    names = operator.locator(".steps tbody tr td:first-child strong")
    expect(names).to_have_text(["resolve", "connect", "sent", "received", "verdict"])
    expect(operator.locator(".step-sent pre")).to_contain_text("GET /health HTTP/1.1\\r\\n")
    expect(operator.locator(".step-received pre")).to_contain_text("all is well \\xff\\r\\n")
    expect(operator.locator(".steps .bar").first).to_be_visible()
    # Once more, from the page of the service.
    service = apply(lambda: Service.objects.get().pk)
    operator.goto(f"{console_url}/services/{service}/")
    operator.get_by_role("link", name="Probe now").click()
    expect(operator.get_by_role("heading", name="Probe now: health")).to_be_visible()
    operator.get_by_role("button", name="Probe now").click()
    expect(operator.locator("#probe-status")).to_contain_text("passed")
    history = operator.goto(f"{console_url}/monitors/{pk}/audit/")
    assert history is not None
    expect(operator.locator("#part-changes")).to_contain_text("probed monitor health")


def test_without_a_worker_the_page_says_so_and_stops_asking(
    operator: Page, apply: Apply, console_url: str, web: int
) -> None:
    pk = apply(_installation, web)
    operator.goto(f"{console_url}/monitors/{pk}/")
    operator.get_by_role("button", name="Probe now").click()
    expect(operator.locator("#probe-status")).to_contain_text("Waiting for a worker")
    expect(operator.locator("#probe-status")).to_contain_text("No worker took the probe within 5 s", timeout=10_000)
    expect(operator.locator("#probe-result [hx-get]")).to_have_count(0)


@pytest.mark.usefixtures("worker", "operator")
def test_the_panel_is_accessible_and_fits(browser: Browser, apply: Apply, console_url: str, web: int) -> None:
    pk = apply(_installation, web)
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    found = [
        one
        for scheme in ("light", "dark")
        for width in (1280, 360)
        for one in _violations_of_a_probe(browser, console_url, pk, scheme, width)
    ]
    apply(lambda: Service.objects.get().vserver_bindings.all().delete())
    apply(lambda: ProbeTarget.objects.all().delete())
    found += _violations_of_a_probe(browser, console_url, pk, "light", 360)
    assert found == []


def _violations_of_a_probe(browser: Browser, console_url: str, pk: int, scheme: Any, width: int) -> list[str]:
    """Look at the panel with a result, or at its empty state when there is nothing to probe."""
    view: Any = {"width": width, "height": 800}
    with browser.new_context(bypass_csp=True, color_scheme=scheme, viewport=view) as context:
        page = context.new_page()
        log_in(page, console_url)
        page.goto(f"{console_url}/monitors/{pk}/probe/")
        expect(page.locator("#live")).to_have_text("live")
        name = "empty"
        if page.get_by_label("Service and VIP").count():
            name = "done"
            page.get_by_role("button", name="Probe now").click()
            expect(page.locator("#probe-status")).to_contain_text("HTTP 200, “all is well” found")
        else:
            expect(page.get_by_text("Nothing to probe")).to_be_visible()
        page.screenshot(path=SCREENSHOTS / f"probe-{name}-{scheme}-{width}.png", full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        return _violations(page, f"probe {name} {scheme} {width}")
