from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests import factories
from tests.browser import seed
from tests.browser.conftest import SCREENSHOTS, Apply, log_in
from tests.browser.test_console import _service_fails, _violations
from webui.models import Server, Service

pytestmark = pytest.mark.browser


def _servers(number: int) -> None:
    for one in range(1, number + 1):
        factories.server(one, name=f"web{one:02}")


def _tab_to(page: Page, target: Any, most: int = 60) -> None:
    """By the Tab key alone."""
    for _step in range(most):
        if target.evaluate("(element) => element === document.activeElement"):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"{target} cannot be reached by the Tab key")


def test_a_list_is_searched_sorted_and_paged_by_the_keyboard_alone(
    operator: Page, apply: Apply, console_url: str
) -> None:
    apply(_servers, 30)
    operator.goto(f"{console_url}/servers/?per=25")
    operator.keyboard.press("/")
    operator.keyboard.type("web2")
    rows = operator.locator("#part-servers tbody tr")
    expect(rows).to_have_count(10)
    expect(operator.locator(".count")).to_contain_text("1 to 10 of 10 that match, of 30 servers")
    expect(operator).to_have_url(re.compile(r"\bq=web2\b"))
    _tab_to(operator, operator.get_by_role("link", name="Name"))
    operator.keyboard.press("Enter")
    operator.wait_for_url(re.compile("sort=name"))
    _tab_to(operator, operator.get_by_role("link", name="Name"))
    operator.keyboard.press("Enter")
    operator.wait_for_url(re.compile("sort=-name"))
    expect(operator.get_by_role("columnheader", name="Name")).to_have_attribute("aria-sort", "descending")
    expect(rows.first).to_contain_text("web29")
    operator.goto(f"{console_url}/servers/?per=25")
    _tab_to(operator, operator.get_by_role("link", name="Next page"), 140)
    operator.keyboard.press("Enter")
    expect(operator.locator(".pages [aria-current]")).to_have_text("Page 2 of 2")
    expect(rows).to_have_count(5)


def test_several_are_disabled_by_the_keyboard_alone(operator: Page, apply: Apply, console_url: str) -> None:
    apply(_servers, 3)
    operator.goto(f"{console_url}/servers/?q=web")
    _tab_to(operator, operator.get_by_role("checkbox", name="Select all on this page"))
    operator.keyboard.press("Space")
    expect(operator.locator("[data-selected]")).to_have_text("3 selected")
    _tab_to(operator, operator.get_by_role("checkbox", name="Select web02"))
    operator.keyboard.press("Space")
    expect(operator.locator("[data-selected]")).to_have_text("2 selected")
    all_of_them = operator.get_by_role("checkbox", name="Select all on this page")
    assert all_of_them.evaluate("(box) => box.indeterminate") is True
    operator.keyboard.press("Shift+Tab")
    _tab_to(operator, operator.get_by_role("button", name="Disable …"), 140)
    operator.keyboard.press("Enter")
    expect(operator.get_by_role("heading", name="Disable these 2 servers?")).to_be_visible()
    expect(operator.locator("[aria-labelledby=title-consequences] tbody tr")).to_have_count(2)
    _tab_to(operator, operator.get_by_role("button", name="Disable 2 servers"))
    operator.keyboard.press("Enter")
    expect(operator.get_by_role("heading", name="2 disabled")).to_be_visible()
    assert apply(lambda: sorted(Server.objects.filter(state="DISABLED").values_list("name", flat=True))) == [
        "web01",
        "web03",
    ]
    _tab_to(operator, operator.get_by_role("link", name="Back to the list"))
    operator.keyboard.press("Enter")
    operator.wait_for_url(f"{console_url}/servers/?q=web")


def test_the_rows_of_a_list_follow_their_states_and_ticked_boxes_stay(
    operator: Page, apply: Apply, console_url: str
) -> None:
    apply(seed.incident)
    expect(operator.locator("#live")).to_have_text("live")  # the dashboard's own websocket is there, and not counted
    got: list[str] = []
    operator.on("websocket", lambda socket: socket.on("framereceived", lambda frame: got.append(str(frame))))
    operator.goto(f"{console_url}/services/?q=service_Server1")
    expect(operator.locator("#live")).to_have_text("live")
    row = operator.locator("#part-services tbody tr")
    expect(row).to_have_count(1)
    row.get_by_role("checkbox").check()
    apply(_service_fails)
    expect(row.locator("[data-field=state]")).to_have_text("DOWN")
    expect(row.get_by_role("checkbox")).to_be_checked()
    apply(seed.director_reports, 98_765.0)
    expect(row.locator("[data-field=packets_per_second]")).to_have_text("98.8 k")
    assert any("service_Server1_ANY" in text for text in got)
    assert not any("web_Server2" in text for text in got), "rows that are not shown are not sent"


def test_rows_that_a_search_brings_are_live_as_well(operator: Page, apply: Apply, console_url: str) -> None:
    apply(seed.incident)
    operator.goto(f"{console_url}/services/?q=web_Server2")
    expect(operator.locator("#live")).to_have_text("live")
    operator.get_by_role("searchbox").fill("service_Server1")
    row = operator.locator("#part-services tbody tr")
    expect(row).to_contain_text("service_Server1_ANY")
    apply(seed.director_reports, 98_765.0)
    expect(row.locator("[data-field=packets_per_second]")).to_have_text("98.8 k")


def test_times_are_the_browsers_own_with_utc_beside_them(
    operator: Page, apply: Apply, browser: Browser, console_url: str
) -> None:
    apply(seed.incident)
    with browser.new_context(timezone_id="Asia/Kolkata") as context:
        page = context.new_page()
        log_in(page, console_url)
        pk = apply(lambda: Service.objects.get(name="service_Server2_ANY").pk)
        page.goto(f"{console_url}/services/{pk}/history/")
        expect(page.locator("#live")).to_have_text("live")
        stamp = page.locator("#part-transitions time").first
        title = stamp.get_attribute("title") or ""
        utc = (stamp.get_attribute("datetime") or "")[:19].replace("T", " ")
        assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \S+ = \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", title), title
        assert title.endswith(f"= {utc} UTC")
        assert title[:19] != utc


def _addresses(apply: Apply) -> list[str]:
    pks = apply(lambda: list(Service.objects.order_by("name").values_list("pk", flat=True)))
    server = apply(lambda: Server.objects.values_list("pk", flat=True)[0])
    return [
        "/services/?state=DOWN&type=ANY&sort=-name",
        "/services/?q=nothing&sort=what",
        "/servers/?per=25&page=2",
        f"/services/bulk/?do=disable&pk={pks[0]}&pk={pks[1]}",
        "/services/bulk/?do=delete",
        f"/servers/{server}/rename/",
        f"/servers/add/?like={server}",
        "/services/bulk/?do=nonsense",
        f"/servers/{server}/disable/",
        f"/servers/{server}/enable/",
    ]


def _conflict(page: Page, apply: Apply, console_url: str) -> None:
    """Somebody else was faster."""
    from webui.actions import servers  # noqa: PLC0415 - after django.setup()

    server = apply(lambda: Server.objects.order_by("pk").first())
    page.goto(f"{console_url}/servers/{server.pk}/edit/")
    apply(servers.update, factories.SYSTEM, server, {"comment": "moved to rack 9"})
    page.get_by_label("Comment").fill("rack 7")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", name="Changed meanwhile")).to_be_visible()
    expect(page.get_by_label("Comment")).to_have_value("rack 7")


def _bulk_result(page: Page, apply: Apply, console_url: str) -> None:
    """One done, one refused."""
    pks = apply(lambda: list(Server.objects.order_by("name").values_list("pk", flat=True)))
    page.goto(f"{console_url}/servers/bulk/?do=delete&pk={pks[0]}&pk={pks[-1]}")
    page.get_by_role("button", name="Delete 2 servers").click()
    expect(page.get_by_role("heading", name="1 deleted, 1 not")).to_be_visible()


def _more_servers() -> None:
    for number in range(40, 65):
        factories.server(number, name=f"spare{number}")


@pytest.mark.parametrize("look", [("light", 1280), ("dark", 1280), ("light", 360), ("dark", 360)])
def test_the_pages_of_lists_are_accessible_and_do_not_scroll_sideways(
    operator: Page, apply: Apply, browser: Browser, console_url: str, look: tuple[Any, int]
) -> None:
    scheme, width = look
    apply(seed.incident)
    apply(_more_servers)
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    found: list[str] = []
    # Our policy forbids foreign scripts, axe too; it is lifted in this context alone.
    size: Any = {"width": width, "height": 800}
    with browser.new_context(bypass_csp=True, color_scheme=scheme, viewport=size) as context:
        page = context.new_page()
        log_in(page, console_url)

        def look_at(name: str) -> None:
            page.screenshot(path=SCREENSHOTS / f"lists-{scheme}-{width}-{name}.png", full_page=True)
            assert page.evaluate("document.documentElement.scrollWidth") <= width, name
            found.extend(_violations(page, name))

        for number, address in enumerate(_addresses(apply)):
            page.goto(console_url + address)
            look_at(f"{number}{re.sub(r'[^a-z]+', '-', address)}")
        for step in (_conflict, _bulk_result):
            step(page, apply, console_url)
            look_at(step.__name__)
    assert found == []
