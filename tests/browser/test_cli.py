"""The command line in the browser, as a person with a keyboard uses it."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests import factories
from tests.browser.conftest import SCREENSHOTS, Apply, log_in
from tests.browser.test_console import _violations
from webui.models import AuditEntry, Server

pytestmark = pytest.mark.browser


def _type(page: Page, line: str) -> None:
    page.get_by_role("textbox", name="Command").fill(line)
    page.keyboard.press("Enter")
    expect(page.get_by_role("textbox", name="Command")).to_have_value("")


def test_lines_are_run_recalled_and_completed_by_the_keyboard(operator: Page, apply: Apply, console_url: str) -> None:
    operator.goto(f"{console_url}/cli/")
    field = operator.get_by_role("textbox", name="Command")
    log = operator.get_by_role("log")
    expect(field).to_be_focused()
    _type(operator, "add server Server1 10.0.0.100")
    expect(log).to_contain_text("Done")
    _type(operator, "add server Server1 10.0.0.100")
    expect(log.locator(".cli-error")).to_contain_text("ERROR: Invalid argument value [name] There is a server")
    entry = apply(lambda: AuditEntry.objects.filter(object_name="Server1").get())
    assert (entry.actor_name, entry.interface) == ("ada", "cli")

    operator.keyboard.type("show se")
    operator.keyboard.press("ArrowUp")
    expect(field).to_have_value("add server Server1 10.0.0.100")
    operator.keyboard.press("ArrowDown")
    expect(field).to_have_value("show se")

    operator.keyboard.press("Tab")
    expect(operator.locator("#cli-found")).to_contain_text("server service serviceGroup")
    expect(field).to_have_value("show serv")
    operator.keyboard.type("er S")
    operator.keyboard.press("Tab")
    expect(field).to_have_value("show server Server1 ")
    operator.keyboard.press("Enter")
    expect(log).to_contain_text("IPAddress: 10.0.0.100")


def test_tab_leaves_the_field_after_escape_and_when_it_is_empty(operator: Page, console_url: str) -> None:
    operator.goto(f"{console_url}/cli/")
    field = operator.get_by_role("textbox", name="Command")
    operator.keyboard.press("Tab")
    expect(operator.get_by_role("button", name="Run")).to_be_focused()
    field.fill("sh")
    operator.keyboard.press("Tab")
    expect(field).to_have_value("show ")
    operator.keyboard.press("Escape")
    operator.keyboard.press("Tab")
    expect(operator.get_by_role("button", name="Run")).to_be_focused()
    operator.keyboard.press("Shift+Tab")
    expect(field).to_be_focused()
    operator.keyboard.press("Shift+Tab")
    expect(operator.get_by_role("log")).to_be_focused()


def test_secrets_are_neither_shown_nor_remembered(operator: Page, console_url: str) -> None:
    operator.goto(f"{console_url}/cli/")
    _type(operator, "add lb monitor m FTP -userName u -password geheim")
    expect(operator.get_by_role("log")).to_contain_text("-password •••")
    assert "geheim" not in operator.content()
    operator.keyboard.press("ArrowUp")
    expect(operator.get_by_role("textbox", name="Command")).to_have_value("")


def test_what_cannot_be_asked_keeps_the_line(operator: Page, console_url: str) -> None:
    operator.goto(f"{console_url}/cli/")
    operator.context.clear_cookies()
    field = operator.get_by_role("textbox", name="Command")
    field.fill("show server")
    operator.keyboard.press("Enter")
    expect(operator.locator("#cli-found")).to_contain_text("no longer logged in")
    expect(field).to_have_value("show server")


def test_an_import_is_tried_and_then_applied(operator: Page, apply: Apply, console_url: str) -> None:
    operator.goto(f"{console_url}/cli/import/")
    operator.get_by_label("or its lines").fill("add server a 10.0.0.1\nadd ssl certKey x")
    operator.get_by_role("button", name="Dry run").click()
    expect(operator.locator("#summary")).to_contain_text("1 applied, 1 ignored, 0 refused: nothing was changed.")
    assert apply(Server.objects.count) == 0
    operator.get_by_role("button", name="Apply", exact=True).click()
    expect(operator.locator("#summary")).to_contain_text("in the running configuration")
    assert apply(Server.objects.count) == 1


@pytest.mark.usefixtures("operator")
def test_the_pages_are_accessible_and_fit(browser: Browser, apply: Apply, console_url: str) -> None:
    apply(factories.server)
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    found: list[str] = []
    for scheme in ("light", "dark"):
        for width in (1280, 360):
            found += _violations_of(browser, console_url, scheme, width)
    assert found == []


def _violations_of(browser: Browser, console_url: str, scheme: Any, width: int) -> list[str]:
    view: Any = {"width": width, "height": 800}
    with browser.new_context(bypass_csp=True, color_scheme=scheme, viewport=view) as context:
        page = context.new_page()
        log_in(page, console_url)
        page.goto(f"{console_url}/cli/")
        _type(page, "show server Server1")
        _type(page, "add lb vserver v HTTP 10.0.0.11 80")
        page.get_by_role("textbox", name="Command").fill("show ")
        page.keyboard.press("Tab")
        expect(page.locator("#cli-found")).to_contain_text("monbindings")
        found = _seen(page, f"cli-{scheme}-{width}", width)
        page.goto(f"{console_url}/cli/import/")
        text = "#NS13.0 Build 1\nadd server a 10.0.0.1\nadd ns ip 1.2.3.4\nadd lb vserver v HTTP 10.0.0.11 80\nfly\n"
        page.get_by_label("or its lines").fill(text)
        page.get_by_role("button", name="Dry run").click()
        expect(page.locator("#summary")).to_contain_text("refused")
        return found + _seen(page, f"cli-import-{scheme}-{width}", width)


def _seen(page: Page, name: str, width: int) -> list[str]:
    page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    return _violations(page, name)
