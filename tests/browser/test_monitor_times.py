"""Times of a monitor with their units, as an operator sets them."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.browser import seed
from tests.browser.conftest import Apply

pytestmark = pytest.mark.browser


def test_an_interval_of_milliseconds_is_typed_beside_its_unit(operator: Page, apply: Apply, console_url: str) -> None:
    apply(seed.incident)
    operator.goto(f"{console_url}/monitors/add/?kind=HTTP")
    operator.get_by_label("Name").fill("quick")
    operator.get_by_label("Interval", exact=True).fill("800")
    operator.get_by_label("Unit of the interval").select_option("MSEC")
    operator.get_by_label("Maintenance code").fill("503")
    operator.get_by_role("button", name="Add").click()
    expect(operator.locator("#error-summary")).to_contain_text("(2 s) must be shorter than the interval (800 ms)")
    operator.get_by_label("Response timeout", exact=True).fill("300")
    operator.get_by_label("Unit of the response timeout").select_option("milliseconds")
    operator.get_by_role("button", name="Add").click()
    expect(operator.get_by_role("main")).to_contain_text("800 ms")
    operator.get_by_role("link", name="Edit").first.click()
    expect(operator.get_by_label("Unit of the interval")).to_have_value("MSEC")
    expect(operator.get_by_label("Unit of the down time")).to_have_value("SEC")
