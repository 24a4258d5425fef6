"""Previews in place, and the page of weights, by mouse and by keyboard."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Apply
from tests.browser.test_lists import _tab_to
from tests.browser.test_visuals import _incident, _pictures
from webui.models import HealthState, VServer, VServerServiceBinding

pytestmark = pytest.mark.browser


def _all_up() -> int:
    vserver = _incident()
    HealthState.objects.update(state="UP")
    return vserver.pk


def _weights() -> list[int]:
    return list(VServerServiceBinding.objects.order_by("pk").values_list("weight", flat=True)[:3])


def test_a_form_is_previewed_in_place_and_keeps_what_was_typed(operator: Page, apply: Apply, console_url: str) -> None:
    pk = apply(_all_up)
    operator.goto(f"{console_url}/vservers/{pk}/edit/")
    operator.get_by_label("Comment").fill("tried")
    operator.get_by_label("Method").select_option("SRCIPDESTIPHASH")
    _tab_to(operator, operator.get_by_role("button", name="Preview"), 90)
    operator.keyboard.press("Enter")
    outcome = operator.locator("#outcome")
    expect(outcome).to_contain_text("vserver_DSR: 66.7 % of the clients will move")
    expect(operator.get_by_label("Comment")).to_have_value("tried")
    expect(operator).to_have_url(f"{console_url}/vservers/{pk}/edit/")
    outcome.get_by_text("Director director1:").click()
    expect(outcome.locator("pre")).to_contain_text("vserver 10.77.0.10 any/*")
    _pictures(operator, "preview")
    operator.get_by_label("Client timeout").fill("-1")
    operator.get_by_role("button", name="Preview").click()
    expect(outcome).to_contain_text("Not saved")
    assert apply(lambda: VServer.objects.get(pk=pk).lb_method) == "SOURCEIPHASH"


def test_weights_are_set_by_the_keyboard_and_what_moves_is_told_beforehand(
    operator: Page, apply: Apply, console_url: str
) -> None:
    pk = apply(_all_up)
    operator.goto(f"{console_url}/vservers/{pk}/")
    operator.get_by_role("link", name="Weights …").click()
    slider = operator.get_by_role("slider", name="Weight of service_Server1_ANY", exact=True)
    number = operator.get_by_role("spinbutton", name="Weight of service_Server1_ANY")
    share = operator.locator("[data-share]").first
    expect(share).to_have_text("33.3 %")
    _tab_to(operator, slider)
    for _step in range(3):
        operator.keyboard.press("ArrowRight")
    expect(number).to_have_value("4")
    expect(share).to_have_text("66.7 %")
    moved = operator.locator("#outcome")
    expect(moved).to_contain_text(re.compile(r"\d+(\.\d)? % of the clients will move"))
    assert apply(_weights) == [1, 1, 1]
    _pictures(operator, "weights")
    number.fill("2")
    expect(slider).to_have_value("2")
    expect(share).to_have_text("50.0 %")
    operator.get_by_role("button", name="Save").click()
    expect(operator.get_by_text("The weights of vserver_DSR were saved.")).to_be_visible()
    assert apply(_weights) == [2, 1, 1]


def test_unbinding_asks_and_tells_whose_clients_move(operator: Page, apply: Apply, console_url: str) -> None:
    pk = apply(_all_up)
    operator.goto(f"{console_url}/vservers/{pk}/bindings/")
    operator.get_by_role("link", name="Unbind …: service service_Server1_ANY").click()
    expect(operator.locator("main")).to_contain_text("of the clients will move")
    _pictures(operator, "unbind")
    operator.get_by_role("button", name="Unbind service service_Server1_ANY").click()
    expect(operator.get_by_text("was unbound from vserver_DSR")).to_be_visible()
