"""axe on every page there is, in each look: it must find nothing, of whatever impact."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.urls import URLPattern, reverse
from playwright.sync_api import Browser, Page, expect

from tests import factories
from tests.browser import seed
from tests.browser.conftest import ROOT, Apply, log_in
from tests.browser.test_console import _target
from webui.documents import FOLDER
from webui.models import (
    AuditEntry,
    Installation,
    Monitor,
    Server,
    Service,
    ServiceGroup,
    ServiceGroupMember,
    ServiceGroupMonitorBinding,
    ServiceMonitorBinding,
    VServer,
    VServerServiceBinding,
    VServerServiceGroupBinding,
)
from webui.views.kinds import KINDS, Kind
from webui.views.tabs import tabs_of

pytestmark = pytest.mark.browser

AXE = ROOT / "tests" / "browser" / "vendor" / "axe.min.js"
PARTS = 5  # of the pages, a test each
LOOKS: list[tuple[Any, int]] = [("light", 1280), ("dark", 1280), ("dark", 360)]
# What is no page: answers to a POST, files, figures for machines, and fragments
NO_PAGES = {
    *("healthz", "metrics", "logout", "export", "statistics-json", "director-statistics-json"),
    *("bind-group", "bind-members", "bind-group-monitor", "bind-group-vserver", "enable-member"),
    *("bind-monitor", "bind-service", "set-weight", "send-test", "watch-flows"),
    *("enable", "probe-result", "preview-service"),
    *("save-configuration", "begin-trial", "confirm-trial", "end-trial"),
    *("validate", "validate-object", "validate-new", "cli-complete", "cli-export", "audit-export"),
    *("user-role", "user-password", "user-enable", "user-disable", "user-second-factor"),
    *("user-unlock", "user-sessions-end", "user-token-revoke", "account-password", "second-factor-remove"),
    *("token-revoke", "session-end", "sessions-end"),
}
# Pages that a worker makes, or that a POST leads to; each is made of parts that stand on the others
MADE_BY_OTHERS = {"preview", "bulk-result"}
# Pages of somebody who is half logged in, or that are shown once: tests/browser/test_access.py
SHOWN_ONCE = {"login-second-factor", "recovery-codes", "token-add"}


def _names() -> set[str]:
    from webui.urls import urlpatterns  # noqa: PLC0415 - after django.setup()

    return {str(one.name) for one in urlpatterns if isinstance(one, URLPattern)}


def _pages() -> dict[str, str]:
    """Every page with the objects of the incident: its name by its address, in a fixed order."""
    found = [*_of_the_installation(), *_of_the_objects(_target())]
    return {address: name for name, address in found}


def _of_the_objects(target: int) -> Iterator[tuple[str, str]]:
    pks = {
        "servers": Server.objects.values_list("pk", flat=True)[0],
        "services": Service.objects.values_list("pk", flat=True)[0],
        "servicegroups": ServiceGroup.objects.values_list("pk", flat=True)[0],
        "vservers": VServer.objects.values_list("pk", flat=True)[0],
        "monitors": Monitor.objects.values_list("pk", flat=True)[0],
        "eventtargets": target,
    }
    yield from _of_bindings(pks["vservers"])
    yield from _of_groups()
    yield "probe", reverse("probe", args=[pks["monitors"]])
    yield "add", "/monitors/add/?kind=TCP"
    yield "add", "/eventtargets/add/?target_type=EMAIL"
    for kind, pk in pks.items():
        yield from _of_an_object(KINDS[kind], pk)


def _of_the_installation() -> Iterator[tuple[str, str]]:
    for name in ("dashboard", "director-statistics", "settings", "docs", "explain", "api-docs", "revisions"):
        yield name, reverse(name)
    for name in ("users", "user-add", "account", "second-factor", "audit", "audit-chain", "cli", "cli-import"):
        yield name, reverse(name)
    yield "new-service", reverse("new-service")
    for name in ("user", "user-delete"):
        yield name, reverse(name, args=User.objects.values_list("pk")[0])
    yield "audit", reverse("audit") + "?q=nothing-has-this-name"
    yield "audit-entry", reverse("audit-entry", args=AuditEntry.objects.filter(verb="create").values_list("pk")[0])
    newest = Installation.objects.values_list("revision", flat=True).get()
    yield "compare-revisions", reverse("compare-revisions") + f"?old={newest - 1}&new={newest}"
    yield "rollback", reverse("rollback", args=[newest - 1])
    for page in sorted(FOLDER.glob("*.md")):
        yield "docs-page", reverse("docs-page", args=[page.stem])
    yield "404", "/nothing/"


def _of_bindings(vserver: int) -> Iterator[tuple[str, str]]:
    for name in ("triangle", "packet-path", "flows", "preview-vserver", "verify", "weights"):
        yield name, reverse(name, args=[vserver])
    yield "explain", reverse("explain") + f"?vserver={vserver}"
    service = VServerServiceBinding.objects.values_list("vserver", "service")[0]
    yield "unbind-service", reverse("unbind-service", args=service)
    monitor = ServiceMonitorBinding.objects.values_list("service", "monitor")[0]
    yield "unbind-monitor", reverse("unbind-monitor", args=monitor)


def _of_groups() -> Iterator[tuple[str, str]]:
    group, member = ServiceGroupMember.objects.values_list("group", "service")[0]
    for word in ("edit", "disable", "unbind"):
        yield f"{word}-member", reverse(f"{word}-member", args=[group, member])
    binding = ServiceGroupMonitorBinding.objects.values_list("group", "monitor")[0]
    for word in ("edit", "unbind"):
        yield f"{word}-group-monitor", reverse(f"{word}-group-monitor", args=binding)
    vserver, bound = VServerServiceGroupBinding.objects.values_list("vserver", "group")[0]
    yield "unbind-group", reverse("unbind-group", args=[vserver, bound])
    for name, pk in (("bindings", vserver), ("weights", vserver)):
        yield name, reverse(name, args=["vservers", pk] if name == "bindings" else [pk])
    yield "detail", reverse("detail", args=["services", member])


def _of_an_object(kind: Kind, pk: int) -> Iterator[tuple[str, str]]:
    yield "list", reverse("list", args=[kind])
    yield "list", reverse("list", args=[kind]) + "?q=nothing-has-this-name"
    yield "add", reverse("add", args=[kind])
    yield "bulk", reverse("bulk", args=[kind]) + f"?do=disable&pk={pk}"
    for tab in tabs_of(kind, pk, "detail"):
        yield tab.name, tab.url
    for name in ("edit", "rename", "delete", "disable"):
        yield name, reverse(name, args=[kind, pk])
    if kind.can_wait:
        yield "disable-after", reverse("disable-after", args=[kind, pk])


def test_each_page_that_there_is_is_looked_at(apply: Apply) -> None:
    apply(factories.owner)
    apply(seed.incident)
    apply(seed.group)
    names = set(apply(_pages).values())
    assert names - {"404"} == _names() - NO_PAGES - MADE_BY_OTHERS - SHOWN_ONCE - {"login"}


@pytest.mark.parametrize("part", range(PARTS))
def test_axe_finds_nothing_on_any_page_in_any_look(
    apply: Apply, operator: Page, browser: Browser, console_url: str, part: int
) -> None:
    apply(seed.incident)
    apply(seed.group)
    pages = list(apply(_pages).items())[part::PARTS]
    found: set[str] = set()
    # Our policy forbids foreign scripts, axe too; it is lifted in this context alone.
    with browser.new_context(bypass_csp=True) as context:
        page = context.new_page()
        page.goto(console_url + "/login/")
        if part == 0:
            found |= _violations(page, "/login/")
        log_in(page, console_url)
        for address, name in pages:
            answer = page.goto(console_url + address)
            assert answer is not None
            assert answer.ok or (name, answer.status) == ("404", 404), (address, answer.status)
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
        wide = page.evaluate("document.documentElement.scrollWidth")
        if wide > width:
            found.add(f"scrolls sideways: {address} {scheme} {width}: {wide} pixels wide")
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
        menu, out = operator.get_by_role("button", name="Menu"), operator.get_by_role("button", name="Log out")
        expect(out).to_be_hidden()
        expect(links.first).to_be_hidden()
        assert operator.locator("header").evaluate("element => element.offsetHeight") < 56
        menu.press("Enter")
        expect(menu).to_have_attribute("aria-expanded", "true")
        expect(links).to_have_count(13)  # those of the group too
        expect(out).to_be_visible()
        assert operator.evaluate("document.documentElement.scrollWidth") <= width
        operator.keyboard.press("Escape")
        expect(links.first).to_be_hidden()
        expect(menu).to_be_focused()
    else:
        tops = {links.nth(index).evaluate("element => element.offsetTop") for index in range(links.count())}
        assert len(tops) == 1, "the navigation is one row"
        expect(operator.get_by_role("button", name="Menu")).to_be_hidden()
    assert operator.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", [1280, 1024, 768])
def test_the_group_of_the_navigation_opens_and_closes_with_the_keyboard(
    operator: Page, console_url: str, width: int
) -> None:
    operator.set_viewport_size({"width": width, "height": 800})
    operator.goto(console_url + "/settings/")
    navigation = operator.get_by_role("navigation", name="Main")
    system, users = navigation.locator("summary"), navigation.get_by_role("link", name="Users")
    navigation.get_by_role("link", name="Explain").focus()
    operator.keyboard.press("Tab")
    expect(system).to_be_focused()
    expect(users).to_be_hidden()
    operator.keyboard.press("Enter")
    expect(navigation.get_by_role("link", name="Settings")).to_have_attribute("aria-current", "page")
    box = users.bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= width
    assert operator.evaluate("document.documentElement.scrollWidth") <= width
    operator.keyboard.press("Tab")
    operator.keyboard.press("Escape")
    expect(users).to_be_hidden()
    expect(system).to_be_focused()
    operator.keyboard.press("Enter")
    for _link in range(6):  # one beyond the last
        operator.keyboard.press("Tab")
    expect(users).to_be_hidden()
    system.click()
    users.click()
    operator.wait_for_url(console_url + "/users/")
