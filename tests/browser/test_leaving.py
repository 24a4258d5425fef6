"""A service that is taken out of service after a delay, as an operator sees it."""

from __future__ import annotations

import re

import pytest
from django.templatetags.static import static
from playwright.sync_api import Page, expect

from tests.browser import seed
from tests.browser.conftest import Apply
from webui.models import Service

pytestmark = pytest.mark.browser


def test_the_operator_sees_the_seconds_run_and_can_call_the_service_back(
    operator: Page, apply: Apply, console_url: str
) -> None:
    apply(seed.incident)
    pk = apply(lambda: Service.objects.get(name="service_Server1_ANY").pk)
    operator.goto(f"{console_url}/services/{pk}/")
    operator.get_by_role("link", name="Disable after …").click()
    expect(operator.locator("#title-consequences + ul")).to_contain_text("is sessionless")
    operator.get_by_label("Graceful").check()
    operator.get_by_label("Delay (s)").fill("")
    operator.get_by_role("button", name="Disable service_Server1_ANY").click()
    expect(operator.locator("#error-summary")).to_contain_text("is sessionless: no flow is kept there")
    operator.get_by_label("Delay (s)").fill("75")
    operator.get_by_role("button", name="Disable service_Server1_ANY").click()

    expect(operator.locator(".facts.now [data-field=state]")).to_have_text("GOING OUT OF SERVICE")
    expect(operator.locator("#live")).to_have_text("live")
    left = operator.locator(".facts.now [data-field=leaves_at]")
    expect(left).to_have_text(re.compile(r"^in 7\d s$"))
    first = left.inner_text()
    expect(left).not_to_have_text(first)
    expect(left).to_have_text(re.compile(r"^in [67]\d s$"))

    operator.get_by_role("button", name="Enable").click()
    expect(operator.locator(".facts.now [data-field=state]")).to_have_text("UP")
    expect(left).to_have_count(0)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "now"), (0.2, "in 1 s"), (119, "in 119 s"), (120, "in 02:00"), (3599, "in 59:59"), (7325, "in 2:02:05")],
)
def test_time_that_is_left_is_told_to_the_second(operator: Page, seconds: float, text: str) -> None:
    script = f"async (seconds) => (await import('{static('format.js')}')).until(seconds)"
    found = operator.evaluate(script, seconds)
    assert found == text
