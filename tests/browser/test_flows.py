from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests import factories
from tests.browser.conftest import SCREENSHOTS, Apply
from webui import live
from webui.models import FlowWatch, VServer

pytestmark = pytest.mark.browser


def _make() -> VServer:
    return factories.vserver(factories.service())


def _row(kind: str, number: int, **values: Any) -> dict[str, Any]:
    row = {
        "at": f"2026-01-01T12:00:{number % 60:02d}.123+00:00",
        "kind": kind,
        "reason": "" if kind != "drop" else "DROP_NO_SERVICE",
        "protocol": "TCP",
        "client": f"192.0.2.{number % 250}:{40000 + number}",
        "vip": "10.77.0.10:80",
        "server": "" if kind == "drop" else "Server1 (10.77.0.11)",
        "vserver": 1,
        "vserver_name": "vserver_DSR",
        "flags": "SYN",
        "length": 74,
    }
    return row | values


def _tell(vserver: VServer, rows: list[dict[str, Any]], withheld: int = 0) -> None:
    live.publish(
        {"type": "live.flows", "director": "director1", "vserver": vserver.pk, "rows": rows, "withheld": withheld}
    )


def _watch() -> tuple[int, Any]:
    return FlowWatch.objects.count(), FlowWatch.objects.values_list("until", flat=True).first()


def test_flows_are_shown_while_somebody_looks(operator: Page, apply: Apply, console_url: str) -> None:
    vserver = apply(_make)
    operator.goto(f"{console_url}/vservers/{vserver.pk}/")
    with operator.expect_response(lambda answer: answer.url.endswith("/watch/")):
        operator.get_by_role("link", name="Live flows").click()
    expect(operator.locator("#flow-status")).to_have_text("Waiting for a director …")
    expect(operator.locator("#live")).to_have_text("live")
    assert apply(_watch)[0] == 1  # the page has said that somebody looks

    apply(_tell, vserver, [_row("new flow", 1), _row("drop", 2), _row("forwarded", 3, flags="ACK")], 4)
    rows = operator.locator("#flow-rows tr:visible")
    expect(rows).to_have_count(2)
    expect(rows.first).to_contain_text("DROP_NO_SERVICE")
    expect(rows.last).to_contain_text("192.0.2.1:40001")
    expect(operator.locator("#flow-status")).to_have_text(
        "Listening to director1. 2 rows. 4 more came too fast to be shown."
    )
    operator.get_by_label("Others").check()
    expect(rows).to_have_count(3)
    operator.get_by_label("Filter").fill("no_service")
    expect(rows).to_have_count(1)
    operator.get_by_label("Filter").fill("")

    operator.get_by_role("button", name="Pause").click()
    expect(operator.locator("#flow-status")).to_contain_text("Paused: nothing is sampled.")
    until = apply(_watch)[1]
    apply(_tell, vserver, [_row("drop", 5)])
    operator.wait_for_timeout(5500)  # one renewal would have been due
    assert apply(_watch)[1] == until
    expect(rows).to_have_count(3)
    with operator.expect_response(lambda answer: answer.url.endswith("/watch/")):
        operator.get_by_role("button", name="Continue").click()
    apply(_tell, vserver, [_row("drop", 6)])
    expect(operator.locator("#flow-status")).to_contain_text("Listening to director1")
    expect(rows).to_have_count(4)
    assert apply(_watch)[1] > until


def test_only_the_newest_rows_are_kept_and_the_page_fits_a_phone(
    operator: Page, apply: Apply, console_url: str
) -> None:
    vserver = apply(_make)
    operator.goto(f"{console_url}/vservers/{vserver.pk}/flows/")
    expect(operator.locator("#live")).to_have_text("live")
    operator.wait_for_timeout(500)  # its second websocket
    apply(_tell, vserver, [_row("new flow" if number % 4 else "drop", number) for number in range(310)])
    expect(operator.locator("#flow-rows tr")).to_have_count(300)
    expect(operator.locator("#flow-rows tr").first).to_contain_text(":40309")
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    for name, width, scheme in (("light", 1280, "light"), ("dark", 1280, "dark"), ("phone", 360, "light")):
        operator.emulate_media(color_scheme=scheme)  # type: ignore[arg-type] # one of the literals
        operator.set_viewport_size({"width": width, "height": 800})
        assert operator.evaluate("document.documentElement.scrollWidth") <= width
        operator.screenshot(path=SCREENSHOTS / f"flows-{name}.png")
