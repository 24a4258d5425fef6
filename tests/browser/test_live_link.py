"""The live link: cut, silent, out of order; and what a dashboard of a thousand virtual servers weighs."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.templatetags.static import static
from playwright.sync_api import BrowserContext, Page, WebSocketRoute, expect

from tests import factories
from tests.browser import seed
from tests.browser.conftest import Apply
from webui.models import Server, Service, VServer, VServerServiceBinding

pytestmark = pytest.mark.browser

MOST_BYTES = 300_000
STALE = re.compile(r"^stale since \d\d:\d\d:\d\d – ")


class Wire:
    """Stands between a page and the console: cuts, holds back and loses what the console sends."""

    def __init__(self, page: Page) -> None:
        self.routes: list[WebSocketRoute] = []
        self.asked: list[str | bytes] = []
        self.lose = self.silent = False
        page.route_web_socket(re.compile("/ws/live/"), self._connect)

    def _connect(self, route: WebSocketRoute) -> None:
        server = route.connect_to_server()
        self.routes.append(route)

        def from_server(message: str | bytes) -> None:
            if self.silent:
                return
            if self.lose:
                self.lose = False
                return
            route.send(message)

        def from_page(message: str | bytes) -> None:
            self.asked.append(message)
            server.send(message)

        server.on_message(from_server)
        route.on_message(from_page)


def test_a_cut_link_says_since_when_and_comes_back_with_what_happened_meanwhile(
    operator: Page, apply: Apply, watched: list[str]
) -> None:
    apply(seed.incident)
    wire = Wire(operator)
    operator.reload()
    status = operator.locator("#live")
    expect(status).to_have_text("live")
    expect(status).to_have_attribute("aria-live", "polite")
    operator.evaluate("window.sameDocument = true")
    wire.silent = True  # also the connections that follow
    wire.routes[-1].close(code=1011)
    expect(status).to_have_text(STALE)
    expect(status.locator("time")).to_have_attribute("datetime", re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$"))
    expect(operator.locator("html")).to_have_class(re.compile("is-stale"))
    since = status.locator("time").text_content()
    apply(factories.server, 7)
    expect(operator.locator("#part-servers")).not_to_contain_text("Server7")
    assert status.locator("time").text_content() == since, "the moment of the last message, not of the last look"
    wire.silent = False
    wire.routes[-1].close(code=1011)
    expect(status).to_have_text("live", timeout=20_000)
    expect(operator.locator("#part-servers")).to_contain_text("Server7")
    expect(operator.locator("html")).not_to_have_class(re.compile("is-stale"))
    assert operator.evaluate("window.sameDocument") is True


def test_a_message_that_is_missing_is_noticed_and_everything_asked_for_again(operator: Page, apply: Apply) -> None:
    apply(seed.incident)
    wire = Wire(operator)
    operator.reload()
    expect(operator.locator("#live")).to_have_text("live")
    wire.asked.clear()
    row = operator.locator("#part-services tbody tr").filter(has_text="service_Server1_ANY")
    wire.lose = True
    apply(seed.director_reports, 5_000.0)
    operator.wait_for_timeout(1_200)
    assert wire.lose is False, "nothing was lost"
    apply(seed.director_reports, 98_765.0)
    expect(row.locator("[data-field=packets_per_second]")).to_have_text("98.8 k")
    assert wire.asked == ["again"]
    expect(operator.locator("#live")).to_have_text("live")


def test_a_link_that_is_silent_for_longer_than_rows_are_read_is_stale_though_it_stands(
    operator: Page, apply: Apply
) -> None:
    wire = Wire(operator)
    operator.reload()
    expect(operator.locator("#live")).to_have_text("live")
    wire.silent = True
    expect(operator.locator("#live")).to_have_text(STALE, timeout=20_000)
    wire.silent = False
    expect(operator.locator("#live")).to_have_text("live", timeout=20_000)


@pytest.mark.parametrize(
    ("delta", "expected"),
    [
        ({}, ["1", "2"]),
        ({"rows": {"servers": {"changed": [{"key": "1", "name": "x"}]}}}, ["x", "2"]),
        ({"rows": {"servers": {"changed": [{"key": "3", "name": "3"}], "order": ["3", "1"]}}}, ["3", "1"]),
        ({"rows": {"servers": {"changed": [], "order": []}}}, []),
    ],
)
def test_a_delta_is_merged_as_the_server_means_it(operator: Page, delta: dict[str, Any], expected: list[str]) -> None:
    snapshot = {"seq": 1, "servers": [{"key": "1", "name": "1"}, {"key": "2", "name": "2"}]}
    script = f"async ([one, two]) => (await import('{static('link.js')}')).merged(one, two)"
    found = operator.evaluate(script, [snapshot, {"seq": 2} | delta])
    assert (found["seq"], [row["name"] for row in found["servers"]]) == (2, expected)


def _thousand() -> None:
    machines = Server.objects.bulk_create(
        Server(name=f"server{n:04}", address=f"10.{n // 250 + 80}.1.{n % 250 + 1}") for n in range(1000)
    )
    services = Service.objects.bulk_create(Service(name=f"service{n:04}", server=one) for n, one in enumerate(machines))
    vservers = VServer.objects.bulk_create(
        VServer(name=f"vserver{n:04}", address=f"10.{n // 250 + 90}.1.{n % 250 + 1}") for n in range(1000)
    )
    VServerServiceBinding.objects.bulk_create(
        VServerServiceBinding(vserver=one, service=other) for one, other in zip(vservers, services, strict=True)
    )
    seed.director_reports()


def test_the_dashboard_of_a_thousand_virtual_servers_is_light(
    context: BrowserContext, operator: Page, apply: Apply, console_url: str
) -> None:
    apply(_thousand)
    fresh = context.new_page()
    session = context.new_cdp_session(fresh)
    session.send("Network.enable")
    session.send("Network.setCacheDisabled", {"cacheDisabled": True})
    received: dict[str, int] = {}
    addresses: dict[str, str] = {}
    session.on(
        "Network.responseReceived", lambda event: addresses.update({event["requestId"]: event["response"]["url"]})
    )
    session.on(
        "Network.loadingFinished", lambda event: received.update({event["requestId"]: event["encodedDataLength"]})
    )
    session.on(
        "Network.webSocketFrameReceived",
        lambda event: received.update({f"socket {event['timestamp']}": len(event["response"]["payloadData"])}),
    )
    fresh.goto(console_url + "/", wait_until="networkidle")
    expect(fresh.locator("#live")).to_have_text("live")
    expect(fresh.locator("#part-vservers tbody tr")).to_have_count(50)
    expect(fresh.locator("#part-vservers .more")).to_contain_text("Virtual servers: all 1000")
    assert {address.rpartition("/")[2] for address in addresses.values()} >= {
        "",
        "app.css",
        "htmx.min.js",
        "live.js",
        "link.js",
    }
    assert sum(received.values()) <= MOST_BYTES, {addresses.get(key, key): size for key, size in received.items()}
    fresh.close()


def test_assets_are_packed_and_kept_by_the_browser(operator: Page, console_url: str) -> None:
    for name in ("app.css", "live.js", "vendor/htmx/htmx.min.js"):
        answer = operator.request.get(console_url + static(name))
        assert answer.headers["content-encoding"] == "gzip"
        assert "immutable" in answer.headers["cache-control"]
    assert operator.request.get(console_url + "/").headers["content-encoding"] == "gzip"


def test_a_browser_that_cannot_unpack_gets_what_it_can_read(
    operator: Page, apply: Apply, console_url: str, context: BrowserContext
) -> None:
    apply(seed.incident)
    page = context.new_page()
    page.add_init_script("delete window.DecompressionStream")
    kinds: list[bool] = []
    page.on("websocket", lambda ws: ws.on("framereceived", lambda frame: kinds.append(isinstance(frame, str))))
    page.goto(console_url + "/")
    expect(page.locator("#live")).to_have_text("live")
    apply(seed.director_reports, 98_765.0)
    row = page.locator("#part-services tbody tr").filter(has_text="service_Server1_ANY")
    expect(row.locator("[data-field=packets_per_second]")).to_have_text("98.8 k")
    assert set(kinds) == {True}
    page.close()
