"""axe on every page there is, in each look: it must find nothing, of whatever impact."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.urls import URLPattern, reverse
from playwright.sync_api import Browser, Page, expect

from tests.browser import seed
from tests.browser.conftest import ROOT, Apply, log_in
from tests.browser.test_console import _target
from webui.documents import FOLDER
from webui.models import Installation, Monitor, Server, Service, VServer
from webui.views.kinds import KINDS

pytestmark = pytest.mark.browser

AXE = ROOT / "tests" / "browser" / "vendor" / "axe.min.js"
LOOKS: list[tuple[Any, int]] = [("light", 1280), ("dark", 1280), ("light", 360), ("dark", 360)]
# What is no page: answers to a POST, files, figures for machines, and fragments
NO_PAGES = {
    *("healthz", "metrics", "logout", "export", "statistics-json", "director-statistics-json"),
    *("bind-monitor", "unbind-monitor", "bind-service", "set-weight", "unbind-service", "send-test", "watch-flows"),
    *("enable", "disable", "probe-result"),
    *("save-configuration", "begin-trial", "confirm-trial", "end-trial"),
}
# Pages that a worker makes, or that a POST leads to; each is made of parts that stand on the others
MADE_BY_OTHERS = {"preview", "bulk-result"}


def _names() -> set[str]:
    from webui.urls import urlpatterns  # noqa: PLC0415 - after django.setup()

    return {str(one.name) for one in urlpatterns if isinstance(one, URLPattern)}


def _addresses(target: int) -> Iterator[tuple[str, str]]:
    """Name and address of every page, with the objects of the incident."""
    pks = {
        "servers": Server.objects.values_list("pk", flat=True)[0],
        "services": Service.objects.values_list("pk", flat=True)[0],
        "vservers": VServer.objects.values_list("pk", flat=True)[0],
        "monitors": Monitor.objects.values_list("pk", flat=True)[0],
        "eventtargets": target,
    }
    for name in ("dashboard", "director-statistics", "settings", "docs", "explain", "api-docs", "revisions"):
        yield name, reverse(name)
    for page in sorted(FOLDER.glob("*.md")):
        yield "docs-page", reverse("docs-page", args=[page.stem])
    for name in ("triangle", "packet-path", "flows", "preview-vserver"):
        yield name, reverse(name, args=[pks["vservers"]])
    yield "explain", reverse("explain") + f"?vserver={pks['vservers']}"
    yield "preview-service", reverse("preview-service", args=[pks["services"]])
    yield "probe", reverse("probe", args=[pks["monitors"]])
    yield "add", "/monitors/add/?kind=TCP"
    yield "add", "/eventtargets/add/?target_type=EMAIL"
    for kind, pk in pks.items():
        yield "list", reverse("list", args=[KINDS[kind]])
        yield "list", reverse("list", args=[KINDS[kind]]) + "?q=nothing-has-this-name"
        yield "add", reverse("add", args=[KINDS[kind]])
        yield "bulk", reverse("bulk", args=[KINDS[kind]]) + f"?do=disable&pk={pk}"
        for name in ("detail", "edit", "rename", "delete", "disable-after", "statistics"):
            yield name, reverse(name, args=[KINDS[kind], pk])
    newest = Installation.objects.values_list("revision", flat=True).get()
    yield "compare-revisions", reverse("compare-revisions") + f"?old={newest - 1}&new={newest}"
    yield "rollback", reverse("rollback", args=[newest - 1])
    yield "404", "/nothing/"


def test_axe_finds_nothing_on_any_page_in_any_look(
    apply: Apply, operator: Page, browser: Browser, console_url: str
) -> None:
    apply(seed.incident)
    addresses = apply(lambda: list(_addresses(_target())))
    assert {name for name, _ in addresses} - {"404"} == _names() - NO_PAGES - MADE_BY_OTHERS - {"login"}
    found: set[str] = set()
    # Our policy forbids foreign scripts, axe too; it is lifted in this context alone.
    with browser.new_context(bypass_csp=True) as context:
        page = context.new_page()
        page.goto(console_url + "/login/")
        found |= _violations(page, "/login/")
        log_in(page, console_url)
        for _name, address in addresses:
            page.goto(console_url + address)
            found |= _violations(page, address)
    assert sorted(found) == []


def test_axe_finds_nothing_on_an_empty_console(operator: Page, browser: Browser, console_url: str) -> None:
    found: set[str] = set()
    with browser.new_context(bypass_csp=True) as context:
        page = context.new_page()
        log_in(page, console_url)
        for address in ("/", *(reverse("list", args=[kind]) for kind in KINDS.values()), "/explain/", "/statistics/"):
            page.goto(console_url + address)
            found |= _violations(page, address)
    assert sorted(found) == []


def _violations(page: Page, address: str) -> set[str]:
    found: set[str] = set()
    page.evaluate(AXE.read_text())
    for scheme, width in LOOKS:
        page.set_viewport_size({"width": width, "height": 800})
        page.emulate_media(color_scheme=scheme)
        # What the page is made of is the same in all looks; colours and sizes are not
        only = [] if (scheme, width) in {LOOKS[0], LOOKS[-1]} else ["color-contrast", "target-size"]
        report = page.evaluate("async only => await axe.run(only.length ? {runOnly: only} : {})", only)
        assert only or len(report["passes"]) > 5
        found |= {
            f"{one['id']} ({one['impact']}): {address} {scheme} {width}: {node['html'][:160]} {node['failureSummary']}"
            for one in report["violations"]
            for node in one["nodes"]
        }
    return found


@pytest.mark.parametrize("width", [1280, 1024, 768, 360])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_head_of_a_page_stays_in_its_rows(operator: Page, console_url: str, scheme: Any, width: int) -> None:
    operator.set_viewport_size({"width": width, "height": 800})
    operator.emulate_media(color_scheme=scheme)
    operator.goto(console_url + "/services/")
    expect(operator.locator("#live")).to_have_text("live")
    links = operator.get_by_role("navigation", name="Main").get_by_role("link")
    if width == 360:
        menu = operator.get_by_role("button", name="Menu")
        expect(links.first).to_be_hidden()
        assert operator.locator("header").evaluate("element => element.offsetHeight") < 96
        menu.press("Enter")
        expect(menu).to_have_attribute("aria-expanded", "true")
        expect(links.first).to_be_visible()
        operator.keyboard.press("Escape")
        expect(links.first).to_be_hidden()
        expect(menu).to_be_focused()
    else:
        tops = {links.nth(index).evaluate("element => element.offsetTop") for index in range(links.count())}
        assert len(tops) == 1, "the navigation is one row"
        expect(operator.get_by_role("button", name="Menu")).to_be_hidden()
    assert operator.evaluate("document.documentElement.scrollWidth") <= width
