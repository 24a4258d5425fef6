"""Diagram, packet path, Which server? and documentation in a browser: live, reachable by keyboard, on every screen."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests import factories
from tests.browser import seed
from tests.browser.conftest import SCREENSHOTS, Apply
from tests.browser.test_console import AXE
from tests.webui import reports
from webui import live
from webui.calculator import Load
from webui.models import DataplaneStatus, FlowWatch, ServerPath, Service, VServer

pytestmark = pytest.mark.browser

OWN, CLIENT = "02aa00000001", "020000000bad"
LEFT = "02bb00000001" + "02aa00000002"
IPV4 = "0800450000340000400040060000c00002094b4d000a9c40005000000000"
IPV6 = "86dd6000000000140640" + "20010db8000000000000000000000009" + "20010db8008000000000000000000080" + "9c400050"


def _incident() -> VServer:
    seed.incident()
    vserver = VServer.objects.get(name="vserver_DSR")
    row = DataplaneStatus.objects.get()
    ServerPath.objects.all().delete()
    row.delete()
    reports.director()
    seed.director_reports()
    return vserver


def _frame(vserver: VServer, body: str = IPV4) -> None:
    row: dict[str, Any] = {
        "at": "2026-01-01T12:00:01.123+00:00",
        "kind": "new flow",
        "reason": "",
        "protocol": "TCP",
        "client": "192.0.2.9:40000",
        "vip": "10.77.0.10:80",
        "server": "Server1 (10.77.0.11)",
        "vserver": vserver.pk,
        "vserver_name": vserver.name,
        "flags": "SYN",
        "length": 66,
        "before": OWN + CLIENT + body,
        "after": LEFT + body,
    }
    other = row | {"before": "", "after": "", "kind": "drop"}
    live.publish(
        {"type": "live.flows", "director": "director1", "vserver": vserver.pk, "rows": [other, row], "withheld": 0}
    )


def _pictures(page: Page, name: str) -> None:
    """Light, dark and narrow; nothing sticks out at the side, and axe finds nothing."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    for kind, width, scheme in (("light", 1280, "light"), ("dark", 1280, "dark"), ("phone", 360, "light")):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type] # one of the literals
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width, (name, kind)
        page.screenshot(path=SCREENSHOTS / f"{name}-{kind}.png", full_page=True)
        page.evaluate(AXE.read_text())
        found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        assert not found["violations"], [
            (one["id"], [n["html"][:200] for n in one["nodes"]]) for one in found["violations"]
        ]
    page.emulate_media(color_scheme="light")
    page.set_viewport_size({"width": 1280, "height": 900})


def test_the_diagram_is_live_and_its_boxes_are_links(operator: Page, apply: Apply, console_url: str) -> None:
    vserver = apply(_incident)
    operator.goto(f"{console_url}/vservers/{vserver.pk}/")
    operator.get_by_role("link", name="Diagram").click()
    expect(operator.locator("#live")).to_have_text("live")
    drawing = operator.locator("svg.triangle-wide")
    rates = drawing.locator("[data-field=packets_per_second]")
    expect(rates).to_have_count(4)
    expect(rates.first).to_have_text("1.23 k")
    apply(seed.director_reports, 98_765.0)
    for index in range(4):
        expect(rates.nth(index)).to_have_text("98.8 k")
    down = drawing.locator("a").filter(has_text="service_Server2_ANY")
    expect(down).to_contain_text("DOWN")
    expect(down.locator(".mark-triangle")).to_be_visible()
    expect(down.locator(".mark-circle")).to_be_hidden()
    _pictures(operator, "diagram")
    down.focus()
    operator.keyboard.press("Enter")
    expect(operator.locator("h1")).to_have_text("service_Server2_ANY")


def _many() -> VServer:
    services = [factories.service(factories.server(one, address=f"10.77.1.{one + 1}")) for one in range(100)]
    vserver = factories.vserver(*services)
    Service.objects.filter(pk__in=[one.pk for one in services[:98]]).update(health_monitor=False)
    reports.director()
    seed.director_reports(10.0)
    return vserver


def test_a_hundred_services_are_grouped_and_their_rates_added(operator: Page, apply: Apply, console_url: str) -> None:
    vserver = apply(_many)
    operator.goto(f"{console_url}/vservers/{vserver.pk}/diagram/")
    expect(operator.locator("#live")).to_have_text("live")
    group = operator.locator("svg.triangle-wide [data-sum] [data-field=packets_per_second]")
    expect(group).to_have_text("980")
    apply(seed.director_reports, 20.0)
    expect(group).to_have_text("1.96 k")
    _pictures(operator, "diagram-many")
    operator.locator("svg.triangle-wide a").filter(has_text="98 services").click()
    expect(operator.locator("svg.triangle-wide a")).to_have_count(101)
    assert operator.evaluate(
        "document.querySelector('.drawing').scrollHeight > document.querySelector('.drawing').clientHeight"
    )
    operator.screenshot(path=SCREENSHOTS / "diagram-opened.png")


def test_a_frame_is_taken_once_and_shown_before_and_after(operator: Page, apply: Apply, console_url: str) -> None:
    vserver = apply(_incident)
    operator.goto(f"{console_url}/vservers/{vserver.pk}/path/")
    expect(operator.locator("#live")).to_have_text("live")
    assert apply(FlowWatch.objects.count) == 0  # nothing is sampled because somebody looks at a table
    operator.get_by_role("button", name="Take a frame").click()
    expect(operator.locator("#sample-status")).to_contain_text("Waiting")
    operator.wait_for_timeout(500)
    assert apply(lambda: FlowWatch.objects.get().frames_until is not None)
    apply(_frame, vserver)
    rows = operator.locator("#sample-rows tr")
    expect(rows.first).to_contain_text("192.0.2.9")
    expect(rows.first).to_contain_text("75.77.0.10")
    expect(rows.first).to_contain_text("02:00:00:00:0b:ad")
    expect(rows.last.locator("mark")).to_have_text(["02:aa:00:00:00:02", "02:bb:00:00:00:01"])
    expect(operator.locator("#sample-after mark")).to_have_count(4)  # the bytes that differ
    expect(operator.locator("#sample-status")).to_contain_text("Nothing is sampled any more")
    _pictures(operator, "path")
    operator.get_by_role("button", name="Take another frame").click()
    operator.wait_for_timeout(500)
    apply(_frame, vserver, IPV6)
    expect(rows.first).to_contain_text("2001:db8::9")
    expect(rows.first).to_contain_text("2001:db8:80::80")


def test_which_server_is_asked_from_the_page_of_a_virtual_server(
    operator: Page, apply: Apply, console_url: str
) -> None:
    vserver = apply(_incident)
    operator.goto(f"{console_url}/vservers/{vserver.pk}/")
    operator.get_by_role("link", name="Which server?").click()
    expect(operator.get_by_label("VIP")).to_have_value("10.77.0.10")
    operator.get_by_label("Client address").fill("192.0.2.9")
    operator.get_by_role("button", name="Explain").click()
    answer = operator.locator("#answer")
    expect(answer).to_contain_text("forwarded")
    expect(answer).to_contain_text("of 16381")
    _pictures(operator, "explain")
    operator.get_by_label("Client address").fill("nobody")
    operator.get_by_role("button", name="Explain").click()
    expect(operator.locator("#error-summary")).to_be_focused()


def test_help_leads_to_the_section_and_the_calculator_follows_what_is_typed(
    operator: Page, apply: Apply, console_url: str
) -> None:
    apply(seed.incident)
    operator.get_by_role("link", name="Help for this page").click()
    expect(operator).to_have_url(f"{console_url}/docs/concepts/#states")
    expect(operator.locator("#states")).to_be_in_viewport()
    _pictures(operator, "docs")
    operator.get_by_role("link", name="Considerations before you use DSR").click()
    for requests, replies, tier in ((4.0, 400.0, 5.0), (10.0, 95.0, 200.0), (0.0, 12.5, 1.0)):
        for label, value in (("Requests", requests), ("Replies", replies), ("Licence", tier)):
            operator.get_by_label(label).fill(str(value))
        wanted = [text for _, text in Load(requests, replies, tier).lines()]
        expect(operator.locator("#calculator-result dd")).to_have_text(wanted)
    operator.get_by_role("button", name="Calculate").click()
    expect(operator.locator("#calculator-result dd")).to_have_text(wanted)
    _pictures(operator, "considerations")
