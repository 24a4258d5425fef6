from __future__ import annotations

import re
from typing import Any

import pytest
from django.templatetags.static import static
from playwright.sync_api import Browser, Page, expect

from tests import factories
from tests.browser import seed
from tests.browser.conftest import ROOT, SCREENSHOTS, Apply, log_in
from webui import live
from webui.actions import eventtargets, servers
from webui.choices import State
from webui.models import EventDelivery, EventTarget, HealthState, Server, Service, VServer
from webui.templatetags.halfpipe import figure

pytestmark = pytest.mark.browser

AXE = ROOT / "tests" / "browser" / "vendor" / "axe.min.js"


def _service_fails() -> None:
    failed = HealthState.objects.filter(service__name="service_Server1_ANY")
    assert failed.update(state=State.DOWN, response="connection refused") > 0
    live.publish({"type": "live.changed", "what": "health"})


def test_the_dashboard_follows_states_and_counters_without_a_reload(operator: Page, apply: Apply) -> None:
    apply(seed.incident)
    operator.reload()
    expect(operator.locator("#live")).to_have_text("live")
    operator.evaluate("window.sameDocument = true")
    row = operator.locator("#part-services tbody tr").filter(has_text="service_Server1_ANY")
    expect(row.locator("[data-field=state]")).to_have_text("UP")
    expect(row.locator("[data-field=packets_per_second]")).to_have_text("1.23 k")

    apply(_service_fails)
    expect(row.locator("[data-field=state]")).to_have_text("DOWN")
    expect(row.locator("[data-field=state]")).to_have_class("state state-down")
    expect(row.locator("[data-note=state_reason]")).to_contain_text("connection refused")
    expect(operator.locator("#part-problems")).to_contain_text("service service_Server1_ANY")

    apply(seed.director_reports, 98_765.0)
    expect(row.locator("[data-field=packets_per_second]")).to_have_text("98.8 k")
    assert operator.evaluate("window.sameDocument") is True


def test_a_detail_page_follows_too_but_leaves_a_half_filled_form_alone(
    operator: Page, apply: Apply, console_url: str
) -> None:
    apply(seed.incident)
    pk = apply(lambda: VServer.objects.get(name="vserver_DSR").pk)
    operator.goto(f"{console_url}/vservers/{pk}/bindings/")
    expect(operator.locator("#live")).to_have_text("live")
    state = (
        operator.locator("#part-services tbody tr").filter(has_text="service_Server1_ANY").locator("[data-field=state]")
    )
    up = operator.locator("#part-now [data-field=services]")
    expect(state).to_have_text("UP")
    weight = operator.get_by_role("spinbutton", name="Weight of service_Server1_ANY")
    weight.fill("42")
    weight.blur()
    apply(_service_fails)
    expect(up).to_have_text("1/3")
    expect(weight).to_have_value("42")
    weight.fill("1")
    weight.blur()
    expect(state).to_have_text("DOWN", timeout=15_000)


def test_a_new_server_appears_on_an_open_dashboard_and_goes_again(operator: Page, apply: Apply) -> None:
    expect(operator.locator("#live")).to_have_text("live")
    expect(operator.get_by_text("No server yet.")).to_be_visible()
    server = apply(factories.server)
    row = operator.locator("#part-servers tbody tr")
    expect(row).to_have_count(1)
    expect(row.get_by_role("link", name="Server1")).to_have_attribute("href", f"/servers/{server.pk}/")
    apply(servers.delete, factories.SYSTEM, server)
    expect(row).to_have_count(0)
    expect(operator.get_by_text("No server yet.")).to_be_visible()


def test_a_director_that_falls_silent_is_shown_as_stale_without_a_message(operator: Page, apply: Apply) -> None:
    apply(seed.incident)
    operator.reload()
    expect(operator.locator("#live")).to_have_text("live")
    expect(operator.locator("#part-directors [data-field=heartbeat_at]")).to_contain_text("stale since", timeout=25_000)
    rate = operator.locator("#part-vservers [data-field=packets_per_second]").first
    expect(rate).to_have_text("–", timeout=5_000)
    expect(operator.locator("#part-problems")).to_contain_text("director director1", timeout=15_000)


def test_the_title_counts_the_problems(operator: Page, apply: Apply) -> None:
    apply(seed.incident)
    operator.reload()
    expect(operator).to_have_title("(2) Dashboard – Halfpipe")
    expect(operator.get_by_text("2 problems")).to_be_visible()
    operator.get_by_role("navigation", name="Main").get_by_role("link", name="Monitors").click()
    expect(operator).to_have_title("(2) Monitors – Halfpipe")


def test_a_server_is_added_through_the_form_and_a_refusal_stands_next_to_its_field(
    operator: Page, console_url: str
) -> None:
    operator.goto(console_url + "/servers/")
    operator.get_by_role("link", name="Add server").first.click()
    operator.get_by_label("Name").fill("Server1")
    operator.get_by_label("Address").fill("10.77.0.999")
    operator.get_by_role("button", name="Add").click()
    summary = operator.locator("#error-summary")
    expect(summary).to_be_focused()
    expect(summary).to_contain_text("Address")
    address = operator.get_by_label("Address")
    expect(address).to_have_value("10.77.0.999")
    expect(address).to_have_attribute("aria-invalid", "true")
    expect(operator.locator(".field", has=address).locator(".errorlist")).to_contain_text("is not an IPv4 or IPv6")
    address.fill("10.77.0.11")
    operator.get_by_role("button", name="Add").click()
    expect(operator.get_by_role("heading", level=1)).to_have_text("Server1")


def test_the_list_is_filtered_while_typing_and_says_how_many_are_left(
    operator: Page, apply: Apply, console_url: str
) -> None:
    apply(seed.incident)
    operator.goto(console_url + "/services/")
    operator.keyboard.press("/")
    expect(operator.get_by_label("Search")).to_be_focused()
    operator.keyboard.type("web_")
    expect(operator.get_by_text("1 to 2 of 2 that match, of 5 services")).to_be_visible()
    expect(operator.locator("tbody tr")).to_have_count(2)
    expect(operator).to_have_url(re.compile(r"q=web_"))


def test_the_page_says_so_when_the_connection_is_lost_and_takes_it_up_again(
    operator: Page, apply: Apply, watched: list[str]
) -> None:
    expect(operator.locator("#live")).to_have_text("live")
    operator.context.set_offline(True)
    operator.evaluate("dispatchEvent(new Event('pagehide'))")
    expect(operator.locator("#live")).to_contain_text("stale since")
    apply(factories.server)
    operator.context.set_offline(False)
    expect(operator.locator("#live")).to_have_text("live", timeout=20_000)
    expect(operator.locator("#part-servers")).to_contain_text("Server1")
    watched[:] = [line for line in watched if "ERR_INTERNET_DISCONNECTED" not in line]  # what this test brought about


def test_someone_logged_out_elsewhere_is_told_so(operator: Page, apply: Apply) -> None:
    expect(operator.locator("#live")).to_have_text("live")
    apply(_end_sessions)
    expect(operator.locator("#live")).to_contain_text("logged out", timeout=25_000)


def _end_sessions() -> None:
    from django.contrib.sessions.models import Session  # noqa: PLC0415 - after django.setup()

    Session.objects.all().delete()


def test_the_theme_is_kept_and_wins_over_the_systems(operator: Page) -> None:
    operator.emulate_media(color_scheme="light")
    background = "getComputedStyle(document.body).backgroundColor"
    light = operator.evaluate(background)
    operator.get_by_role("button", name="Theme: system").click()
    operator.get_by_role("button", name="Theme: light").click()
    expect(operator.get_by_role("button", name="Theme: dark")).to_be_visible()
    dark = operator.evaluate(background)
    assert dark != light
    operator.reload()
    assert operator.evaluate(background) == dark


def test_the_first_tab_stop_leads_past_the_navigation(operator: Page) -> None:
    operator.reload()
    operator.keyboard.press("Tab")
    expect(operator.get_by_role("link", name="Skip to content")).to_be_focused()
    operator.keyboard.press("Enter")
    expect(operator.locator("#main")).to_be_focused()


def test_figures_are_written_the_same_by_server_and_browser(operator: Page, console_url: str) -> None:
    values = [0, 1, 0.4, 9.99, 9.999, 12.34, 99.94, 99.96, 999, 999.4, 999.5, 1000, 1234.5, 12345, 1e6, 1.5e9, 2e15]
    script = f"async (values) => (await import('{console_url}{static('format.js')}')).figure(values)"
    for value in values:
        assert operator.evaluate(script, value) == figure(value), value


def _target() -> int:
    """A target that fails, with all that its page can show."""
    values = {"name": "collector", "target_type": "SYSLOG", "host": "collector.example"}
    made = EventTarget.objects.first() or eventtargets.create(factories.SYSTEM, values)
    EventDelivery.objects.update(failures=3, last_error="UDP to collector.example port 514: its name is not found")
    return made.pk


def _addresses(apply: Apply) -> list[str]:
    pks = {model: apply(lambda model=model: model.objects.first().pk) for model in (Server, Service, VServer)}
    server, service, vserver = pks[Server], pks[Service], pks[VServer]
    return [
        "/",
        "/vservers/",
        "/services/",
        "/servers/",
        "/monitors/",
        f"/vservers/{vserver}/",
        f"/services/{service}/",
        f"/servers/{server}/",
        f"/servers/{server}/edit/",
        f"/servers/{server}/delete/",
        "/vservers/add/",
        "/services/add/",
        "/monitors/add/",
        "/monitors/add/?kind=TCP",
        "/eventtargets/",
        "/eventtargets/add/",
        "/eventtargets/add/?target_type=EMAIL",
        f"/eventtargets/{apply(_target)}/",
        f"/vservers/{vserver}/preview/",
        "/nothing/",
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_on_a_refused_form(
    apply: Apply, operator: Page, browser: Browser, console_url: str, scheme: Any
) -> None:
    apply(seed.incident)
    # Our policy forbids foreign scripts, axe too; it is lifted in this context alone.
    with browser.new_context(bypass_csp=True, color_scheme=scheme) as context:
        page = context.new_page()
        log_in(page, console_url)
        found = _violations_of_refusals(page, console_url, apply)
    assert found == []


def _violations_of_refusals(page: Page, console_url: str, apply: Apply) -> list[str]:
    page.goto(console_url + "/monitors/add/?kind=TCP")
    page.get_by_role("button", name="Add").click()
    expect(page.locator("#error-summary")).to_be_focused()
    found = _violations(page, "refused form")
    service = apply(lambda: Service.objects.values_list("pk", flat=True)[0])
    page.goto(f"{console_url}/services/{service}/bindings/")
    page.get_by_role("button", name="Bind monitor").click()
    expect(page.locator("#error-summary")).to_be_focused()
    return found + _violations(page, "refused binding")


def _violations(page: Page, address: str) -> list[str]:
    page.evaluate(AXE.read_text())
    report = page.evaluate("async () => await axe.run()")
    assert len(report["passes"]) > 5
    return [
        f"{address}: {one['id']}: {node['html']} {node['failureSummary']}"
        for one in report["violations"]
        if one["impact"] in {"serious", "critical"}
        for node in one["nodes"]
    ]


@pytest.mark.parametrize("look", [("light", 1280), ("dark", 360)])
def test_no_page_scrolls_sideways(apply: Apply, operator: Page, console_url: str, look: tuple[Any, int]) -> None:
    scheme, width = look
    apply(seed.incident)
    operator.set_viewport_size({"width": width, "height": 800})
    operator.emulate_media(color_scheme=scheme)
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    for address in _addresses(apply):
        operator.goto(console_url + address)
        expect(operator.locator("#live")).to_have_text("live")
        if width < 500:
            operator.screenshot(path=SCREENSHOTS / f"top-{scheme}-{width}{address.replace('/', '-')}.png")
        operator.screenshot(path=SCREENSHOTS / f"{scheme}-{width}{address.replace('/', '-')}.png", full_page=True)
        assert operator.evaluate("document.documentElement.scrollWidth") <= width, address
