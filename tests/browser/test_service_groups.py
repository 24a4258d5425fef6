"""A service group from nothing to clients, by the pages alone."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests import factories
from tests.browser.conftest import SCREENSHOTS, Apply
from tests.factories import SYSTEM
from webui import live
from webui.actions import vservers
from webui.choices import State
from webui.models import HealthState, ServiceGroup

pytestmark = pytest.mark.browser


def _stage() -> None:
    for number in (1, 2, 3):
        factories.server(number)
    factories.monitor("tcp-80")
    vservers.create(SYSTEM, {"name": "web", "address": "10.77.0.10", "service_type": "TCP", "port": 80})


def _first_falls() -> None:
    HealthState.objects.update(state=State.UP, response="TCP handshake done")
    HealthState.objects.filter(service__name="shop_Server1_80").update(state=State.DOWN, response="refused")
    live.publish({"type": "live.changed", "what": "health"})


def test_a_group_is_made_filled_bound_and_partly_disabled(operator: Page, apply: Apply, console_url: str) -> None:
    apply(_stage)
    operator.get_by_role("navigation", name="Main").get_by_role("link", name="Service groups").click()
    operator.get_by_role("link", name="Add service group").first.click()
    operator.get_by_label("Name").fill("2shop")
    operator.get_by_label("Service type").select_option("TCP")
    operator.get_by_role("button", name="Add", exact=True).click()
    expect(operator.locator("#error-summary")).to_contain_text("“2shop” starts with a digit")
    operator.get_by_label("Name").fill("shop")
    operator.get_by_role("button", name="Add", exact=True).click()
    expect(operator.get_by_role("heading", name="shop", exact=True)).to_be_visible()
    operator.get_by_role("link", name="Bindings").click()

    members = operator.locator("#part-members")
    members.get_by_label("Servers", exact=True).select_option(["Server1", "Server2"])
    members.get_by_label("Port").fill("80")
    members.get_by_label("Weight").fill("101")
    members.get_by_role("button", name="Add members").click()
    expect(operator.locator("#error-summary")).to_contain_text("“101” is more than 100.")
    members.get_by_label("Weight").fill("4")
    members.get_by_role("button", name="Add members").click()
    expect(members.locator("tbody tr")).to_have_count(2)
    expect(members).to_contain_text("10.77.0.12:80")

    monitors = operator.locator("#part-monitors")
    monitors.get_by_label("Monitor", exact=True).select_option("tcp-80")
    monitors.get_by_role("button", name="Bind monitor").click()
    expect(monitors.locator("tbody tr")).to_have_count(1)
    bound = operator.locator("#part-vservers")
    bound.get_by_label("Virtual server", exact=True).select_option("web")
    bound.get_by_role("button", name="Preview change").click()
    expect(bound.get_by_role("heading", name="Preview: nothing is changed yet")).to_be_visible()
    bound.get_by_role("button", name="Bind to virtual server").click()
    expect(bound.locator("tbody tr")).to_have_count(1)

    members.get_by_role("link", name="Disable …: member shop_Server2_80").click()
    operator.get_by_label("Graceful").check()
    operator.get_by_label("Delay (s)").fill("")
    operator.get_by_role("button", name="Disable member shop_Server2_80").click()
    expect(operator.locator("#error-summary")).to_contain_text("sessionless")
    operator.get_by_label("Graceful").uncheck()
    operator.get_by_role("button", name="Disable member shop_Server2_80").click()
    expect(members.get_by_role("button", name="Enable: member shop_Server2_80")).to_be_visible()
    expect(members.locator("tbody tr").nth(1)).to_contain_text("OUT OF SERVICE")

    bound.get_by_role("link", name="web", exact=True).click()
    operator.get_by_role("link", name="Bindings").click()
    services = operator.locator("#part-services")
    expect(services.locator("tbody tr")).to_have_count(2)
    expect(services.get_by_role("link", name="shop", exact=True)).to_have_count(2)
    operator.locator("#part-groups").get_by_role("link", name="shop", exact=True).click()
    expect(operator.get_by_role("heading", name="shop", exact=True)).to_be_visible()


def test_the_list_and_the_overview_follow_the_members(operator: Page, apply: Apply, console_url: str) -> None:
    apply(_stage)
    group: Any = apply(make_group)
    apply(lambda: HealthState.objects.update(state=State.UP, response="TCP handshake done"))
    operator.goto(f"{console_url}/servicegroups/")
    row = operator.locator("#part-servicegroups tbody tr")
    expect(operator.locator("#live")).to_have_text("live")
    expect(row.locator("[data-field=state]")).to_have_text("UP")
    apply(_first_falls)
    expect(row.locator("[data-field=state]")).to_have_text("PARTIAL-UP")
    expect(row.locator("[data-field=members]")).to_have_text("1/2")
    operator.goto(f"{console_url}/servicegroups/{group}/")
    expect(operator.locator("#live")).to_have_text("live")
    apply(lambda: HealthState.objects.update(state=State.UP, response="TCP handshake done"))
    apply(live.publish, {"type": "live.changed", "what": "health"})
    expect(operator.locator("#part-now [data-field=state]")).to_have_text("UP")
    expect(operator.locator("#part-members [data-field=state]").first).to_have_text("UP")


def make_group() -> int:
    """``shop`` with two members, a monitor and the virtual server."""
    from webui.actions import servicegroups  # noqa: PLC0415 - after django.setup()
    from webui.models import VServer  # noqa: PLC0415

    group = servicegroups.create(SYSTEM, {"name": "shop", "service_type": "TCP"})
    servicegroups.bind_members(SYSTEM, group, ["Server1", "Server2"], 80)
    servicegroups.bind_monitor(SYSTEM, group, "tcp-80", 2)
    servicegroups.bind_to_vserver(SYSTEM, VServer.objects.get(name="web"), group)
    servicegroups.disable(SYSTEM, group, 600, server="Server2", port=80)
    servicegroups.enable(SYSTEM, group, server="Server2", port=80)
    return group.pk


@pytest.mark.parametrize("look", [("light", 1280), ("dark", 1280), ("light", 360)])
def test_no_page_of_groups_scrolls_sideways(
    operator: Page, apply: Apply, console_url: str, look: tuple[Any, int]
) -> None:
    apply(_stage)
    group = apply(make_group)
    apply(_first_falls)
    scheme, width = look
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    operator.set_viewport_size({"width": width, "height": 800})
    operator.emulate_media(color_scheme=scheme)
    member, monitor, vserver = apply(_keys)
    for number, address in enumerate(
        (
            "/servicegroups/",
            f"/servicegroups/{group}/",
            f"/servicegroups/{group}/bindings/",
            f"/servicegroups/{group}/members/{member}/edit/",
            f"/servicegroups/{group}/members/{member}/disable/",
            f"/servicegroups/{group}/members/{member}/unbind/",
            f"/servicegroups/{group}/monitors/{monitor}/edit/",
            f"/servicegroups/{group}/delete/",
            f"/servicegroups/{group}/edit/",
            f"/vservers/{vserver}/bindings/",
            f"/vservers/{vserver}/weights/",
            f"/services/{member}/",
            f"/servicegroups/{group}/statistics/",
        )
    ):
        operator.goto(console_url + address)
        operator.screenshot(path=SCREENSHOTS / f"groups-{scheme}-{width}-{number}.png", full_page=True)
        assert operator.evaluate("document.documentElement.scrollWidth") <= width, address


def _keys() -> tuple[int, int, int]:
    group = ServiceGroup.objects.get()
    return (
        group.members.order_by("service__name")[0].service_id,
        group.monitor_bindings.get().monitor_id,
        group.vserver_bindings.get().vserver_id,
    )
