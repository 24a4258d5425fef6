"""A new DSR service as an operator makes it, watches it turn well, and finds every part of its page."""

from __future__ import annotations

from typing import Any

import pytest
from django.utils import timezone
from playwright.sync_api import Browser, Page, expect

from tests import factories
from tests.browser import seed
from tests.browser.conftest import SCREENSHOTS, Apply, log_in
from tests.browser.test_console import _violations
from webui import live
from webui.choices import State
from webui.models import DataplaneStatus, HealthState, Installation, Server, ServerPath, Service, VServer

pytestmark = pytest.mark.browser


def _director() -> None:
    revision = Installation.objects.get(pk=1).revision
    DataplaneStatus.objects.update_or_create(
        director="lb1",
        defaults={"heartbeat_at": timezone.now(), "wanted_revision": revision, "applied_revision": revision},
    )


def _reached_but_silent() -> None:
    _director()
    for server in Server.objects.all():
        mac = f"02:00:00:00:00:{server.pk:02x}"
        ServerPath.objects.create(director="lb1", server=server, eligible=True, mac=mac, interface="eth1")
    HealthState.objects.update(state=State.UP, response="HTTP 200")
    HealthState.objects.filter(service__name="web_beta").update(state=State.DOWN, response="no answer within 2 s")
    live.publish({"type": "live.changed", "what": "health"})


def _well() -> None:
    _director()
    HealthState.objects.update(state=State.UP, response="HTTP 200")
    live.publish({"type": "live.changed", "what": "health"})


def _fill_in(page: Page) -> None:
    page.get_by_label("Name", exact=True).fill("web")
    page.get_by_label("VIP", exact=True).fill("10.77.0.10")
    page.get_by_label("Name of server 1").fill("alpha")
    page.get_by_label("Address of server 1").fill("10.77.0.21")
    page.get_by_label("Name of server 2").fill("beta")
    page.get_by_label("Address of server 2").fill("fd77::22")


def test_from_the_empty_dashboard_to_verified_servers(operator: Page, apply: Apply, console_url: str) -> None:
    operator.get_by_role("link", name="New DSR service …").first.click()
    expect(operator.get_by_role("heading", level=1)).to_have_text("New DSR service")
    _fill_in(operator)
    operator.get_by_label("Check each server with").select_option("new:HTTP")
    request = operator.get_by_label("HTTP request")
    expect(request).to_be_visible()
    expect(operator.get_by_label("Name of server 1")).to_have_value("alpha")
    operator.get_by_role("button", name="More rows").click()
    expect(operator.get_by_label("Address of server 6")).to_be_visible()
    expect(operator.get_by_label("Address of server 2")).to_have_value("fd77::22")

    operator.get_by_role("button", name="Show first what it makes").click()
    plan = operator.locator("#plan")
    expect(plan).to_be_focused()
    expect(plan).to_contain_text("Service web_beta: TCP port 80 of beta, checked by web_http.")
    assert apply(VServer.objects.count) == 0

    operator.get_by_role("button", name="Make it").click()
    expect(operator.get_by_role("heading", level=1)).to_have_text("Verify web")
    verdict = operator.locator("#verify-verdict")
    expect(verdict).to_contain_text("0 of 2 servers answer")
    expect(operator.locator("#live")).to_have_text("live")
    operator.evaluate("window.sameDocument = true")
    apply(_reached_but_silent)
    expect(verdict).to_contain_text("1 of 2 servers answer for 10.77.0.10, 1 do not.")
    beta = operator.locator("#verify-servers section").filter(has_text="beta")
    expect(beta).to_contain_text("the VIP is missing on the server")
    apply(_well)
    expect(verdict).to_contain_text("Every server answers for 10.77.0.10: 2 of 2.")
    assert operator.evaluate("window.sameDocument") is True
    operator.get_by_role("button", name="Copy the commands for alpha").click()
    expect(operator.get_by_role("button", name="for alpha")).to_contain_text("ed")  # copied, or selected without rights


def test_what_is_wrong_is_told_when_a_field_is_left_and_stays_on_saving(
    operator: Page, apply: Apply, console_url: str
) -> None:
    apply(factories.server)
    operator.goto(f"{console_url}/new/")
    _fill_in(operator)
    vip = operator.get_by_label("VIP", exact=True)
    vip.fill("10.77.0.999")
    vip.press("Tab")
    errors = operator.locator("#id_address_live")
    expect(errors).to_contain_text("“10.77.0.999” is not an IPv4 or IPv6 address.")
    expect(vip).to_have_attribute("aria-invalid", "true")
    expect(vip).to_have_attribute("aria-describedby", "id_address_helptext id_address_error")
    vip.fill("10.77.0.11")
    vip.press("Tab")
    expect(errors).to_contain_text("10.77.0.11 is the own address of server “Server1”")
    assert apply(VServer.objects.count) == 0
    operator.get_by_role("button", name="Make it").click()
    summary = operator.locator("#error-summary")
    expect(summary).to_be_focused()
    expect(summary.get_by_role("link", name="VIP")).to_have_attribute("href", "#id_address")
    expect(operator.get_by_label("Address of server 2")).to_have_value("fd77::22")
    vip.fill("10.77.0.10")
    vip.press("Tab")
    expect(errors).to_be_empty()
    expect(vip).not_to_have_attribute("aria-invalid", "true")
    operator.get_by_label("Server1 (10.77.0.11)").check()
    operator.get_by_role("button", name="Make it").click()
    expect(operator.get_by_role("heading", level=1)).to_have_text("Verify web")
    assert apply(Service.objects.count) == 3


def test_a_plain_form_is_checked_while_it_is_filled_in(operator: Page, apply: Apply, console_url: str) -> None:
    apply(factories.server)
    operator.goto(f"{console_url}/servers/add/")
    name, address = operator.get_by_label("Name"), operator.get_by_label("Address")
    name.fill("server1")
    name.press("Tab")
    expect(operator.locator("#id_name_live")).to_contain_text("There is a server “Server1” already")
    address.fill("10.77.0.11")
    address.press("Tab")
    expect(operator.locator("#id_address_live")).to_contain_text("is the address of server “Server1” already.")
    address.fill("10.77.0.12")
    address.press("Tab")
    expect(operator.locator("#id_address_live")).to_be_empty()
    expect(operator.locator("#id_name_live .errorlist")).to_be_visible()
    assert apply(Server.objects.count) == 1


def test_the_wizard_works_without_a_script(operator: Page, browser: Browser, apply: Apply, console_url: str) -> None:
    with browser.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        log_in(page, console_url)
        page.goto(f"{console_url}/new/")
        _fill_in(page)
        page.get_by_label("Check each server with").select_option("new:TCP")
        page.get_by_role("button", name="Show the parameters of a new monitor").click()
        expect(page.get_by_label("Destination port")).to_be_visible()
        expect(page.get_by_label("Name of server 1")).to_have_value("alpha")
        page.get_by_role("button", name="Make it").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Verify web")
        page.get_by_role("link", name="Open the virtual server").click()
        page.get_by_role("link", name="Audit").click()
        expect(page.locator("#part-changes")).to_contain_text("created vserver web")


def test_tabs_are_reached_and_opened_with_the_keyboard(operator: Page, apply: Apply, console_url: str) -> None:
    apply(seed.incident)
    pk = apply(lambda: VServer.objects.get(name="vserver_DSR").pk)
    operator.goto(f"{console_url}/vservers/{pk}/")
    parts = operator.get_by_role("navigation", name="Parts of vserver_DSR")
    expect(parts.get_by_role("link", name="Overview")).to_have_attribute("aria-current", "page")
    parts.get_by_role("link", name="Overview").focus()
    for label, address in (
        ("Bindings", "bindings/"),
        ("Statistics", "statistics/"),
        ("Health history", "history/"),
        ("Audit", "audit/"),
    ):
        operator.keyboard.press("Tab")
        expect(parts.get_by_role("link", name=label)).to_be_focused()
        operator.keyboard.press("Enter")
        operator.wait_for_url(f"{console_url}/vservers/{pk}/{address}")
        here = parts.get_by_role("link", name=label)
        expect(here).to_have_attribute("aria-current", "page")
        here.focus()
    operator.go_back()
    expect(parts.get_by_role("link", name="Health history")).to_have_attribute("aria-current", "page")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_wizard_and_tabs_are_accessible_and_fit(
    operator: Page, browser: Browser, apply: Apply, console_url: str, scheme: Any
) -> None:
    apply(seed.incident)
    pks = apply(
        lambda: {"vservers": VServer.objects.get(name="vserver_DSR").pk, "servers": Server.objects.earliest("pk").pk}
    )
    addresses = ["/new/", f"/vservers/{pks['vservers']}/verify/"]
    parts = ("", "bindings/", "statistics/", "history/", "audit/")
    addresses += [f"/{kind}/{pk}/{part}" for kind, pk in pks.items() for part in parts]
    addresses += ["/monitors/1/statistics/"]
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    found = []
    # The policy forbids foreign scripts, axe too; it is lifted in this context alone.
    with browser.new_context(bypass_csp=True, color_scheme=scheme) as context:
        page = context.new_page()
        log_in(page, console_url)
        for width in (1280, 360):
            page.set_viewport_size({"width": width, "height": 800})
            for address in addresses:
                page.goto(console_url + address)
                expect(page.locator("#live")).to_have_text("live")
                if address == "/new/":
                    _fill_in(page)
                    page.get_by_label("Check each server with").select_option("new:HTTP")
                    expect(page.get_by_label("HTTP request")).to_be_visible()
                    page.get_by_label("VIP", exact=True).fill("10.77.0.11")
                    page.get_by_role("button", name="Make it").click()
                    expect(page.locator("#error-summary")).to_be_focused()
                name = "-".join(part for part in address.split("/") if part and not part.isdecimal())
                page.screenshot(path=SCREENSHOTS / f"wizard-{name}-{scheme}-{width}.png", full_page=True)
                assert page.evaluate("document.documentElement.scrollWidth") <= width, address
                found += _violations(page, address)
            page.goto(console_url + "/new/")
            _fill_in(page)
            page.get_by_label("VIP", exact=True).fill("10.77.0.77")
            page.get_by_role("button", name="Show first what it makes").click()
            expect(page.locator("#plan")).to_be_focused()
            page.screenshot(path=SCREENSHOTS / f"wizard-plan-{scheme}-{width}.png", full_page=True)
            found += _violations(page, "plan")
    assert found == []
