"""Charts as people meet them: with the pointer, the keyboard, on a phone, in the dark."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from playwright.sync_api import Browser, Page, expect

from tests.browser import seed
from tests.browser.conftest import SCREENSHOTS, Apply, log_in
from tests.browser.test_console import AXE
from webui import live
from webui.metrics import series, store
from webui.metrics.series import Point
from webui.models import MetricCursor, Service, Sparklines, VServer

pytestmark = pytest.mark.browser


def _point(at: int, step: int, scale: float) -> Point:
    wave = 2 + math.sin(at / (step * 30)) + 0.4 * math.sin(at / (step * 3))
    packets = int(wave * scale * step)
    return Point(
        step * 1000, packets, packets * 640, packets // 500, int(wave * 300) * step * 1000, step * 1000,
        int(packets / step * 1.3), int(packets / step * 1.3 * 5120),
    )  # fmt: skip


def _history() -> VServer:
    """A month of two directors, with an hour of silence."""
    seed.incident()
    now = int(timezone.now().timestamp())
    keys = {
        "vservers": VServer.objects.values_list("pk", flat=True),
        "services": Service.objects.values_list("pk", flat=True),
    }
    for director, scale in (("director1", 5000.0), ("director2", 1800.0)):
        MetricCursor.objects.create(director=director, taken_at=timezone.now(), reading=series.pack_reading({}))
        for step, slots in ((10, 370), (60, 1500), (3600, 740)):
            last = now // step * step - step
            for at in range(last - slots * step, last, step):
                if step == 10 and 1500 < now - at < 2100:
                    continue
                points = {kind: {str(pk): _point(at + pk, step, scale) for pk in pks} for kind, pks in keys.items()}
                points["reasons"] = {"FORWARDED": _point(at, step, scale), "DROP_LOOP": Point(step * 1000, step)}
                blocks = [
                    ((kind, number), block)
                    for kind, found in points.items()
                    for number, block in series.blocks(found).items()
                ]
                store._write(director, step, at, blocks)
    store.draw_sparklines(timezone.now())
    return VServer.objects.get(name="vserver_DSR")


def _older_sparklines() -> None:
    row = Sparklines.objects.get()
    row.lines = {key: ["f0" * 15, 77.0] for key in row.lines}
    row.until = timezone.now() + timedelta(seconds=1)
    row.save()
    live.publish({"type": "live.changed", "what": "director"})


@pytest.fixture
def vserver(apply: Apply) -> VServer:
    found: VServer = apply(_history)
    return found


@pytest.fixture
def addresses(apply: Apply, vserver: VServer) -> dict[str, str]:
    """Every page that has charts, by the name of its picture."""
    service = apply(lambda: Service.objects.earliest("pk"))
    return {
        "dashboard": "/",
        "vserver": f"/vservers/{vserver.pk}/statistics/",
        "month": f"/vservers/{vserver.pk}/statistics/?range=30d",
        "day": f"/services/{service.pk}/statistics/?range=24h",
        "outcomes": "/statistics/",
    }


def test_a_chart_is_read_with_the_keyboard_and_the_pointer(operator: Page, vserver: VServer, console_url: str) -> None:
    operator.goto(f"{console_url}/vservers/{vserver.pk}/statistics/")
    figure = operator.locator("figure.chart").first
    chart, told = figure.locator("svg"), figure.locator(".chart-now")
    words = told.inner_text()
    assert words.startswith("now ")
    chart.focus()
    chart.press("ArrowRight")
    newest = told.inner_text()
    assert ": " in newest
    assert newest != words
    chart.press("ArrowLeft")
    chart.press("ArrowLeft")
    assert told.inner_text() not in {words, newest}
    chart.press("Escape")
    expect(told).to_have_text(words)
    chart.hover()
    expect(told).not_to_have_text(words)
    operator.mouse.move(1, 1)
    expect(told).to_have_text(words)

    operator.get_by_role("link", name="30 days").click()
    expect(operator.get_by_role("link", name="30 days")).to_have_attribute("aria-current", "true")
    expect(operator.locator(".chart-peak").first).to_be_attached()
    operator.get_by_role("link", name="director2", exact=True).click()
    expect(operator.get_by_role("link", name="director2", exact=True)).to_have_attribute("aria-current", "true")
    expect(operator.get_by_role("columnheader", name="Packets/s", exact=True)).to_be_visible()


def test_the_browser_draws_sparklines_as_the_server_does(
    operator: Page, apply: Apply, vserver: VServer, console_url: str
) -> None:
    operator.goto(f"{console_url}/")
    sparks = operator.locator("svg.spark path")
    expect(sparks).to_have_count(2)
    expect(operator.locator("#live")).to_have_text("live")
    apply(_older_sparklines)
    expect(operator.locator("svg.spark").first).to_have_attribute(
        "aria-label", "packets/s in the last hour: at most 77"
    )
    drawn = sparks.first.get_attribute("d")
    operator.reload()
    assert sparks.first.get_attribute("d") == drawn


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_charts_fit_every_screen(
    operator: Page, browser: Browser, addresses: dict[str, str], console_url: str, scheme: Any
) -> None:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    # The policy forbids foreign scripts, axe too; it is lifted in this context alone.
    context = browser.new_context(color_scheme=scheme, bypass_csp=True)
    page = context.new_page()
    log_in(page, console_url)
    for width in (1440, 360):
        page.set_viewport_size({"width": width, "height": 900})
        for name, address in addresses.items():
            page.goto(console_url + address)
            page.screenshot(path=SCREENSHOTS / f"statistics-{name}-{scheme}-{width}.png", full_page=width > 500)
            assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), name
            page.add_script_tag(path=AXE)
            report = page.evaluate("async () => await axe.run()")
            serious = [one for one in report["violations"] if one["impact"] in {"serious", "critical"}]
            assert serious == [], name
    context.close()
