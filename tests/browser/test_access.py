"""Coming in, and what each role finds on the pages: no button that the server would refuse."""

from __future__ import annotations

import re
import time
from base64 import b32decode
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django_otp.oath import TOTP
from playwright.sync_api import Browser, Page, expect

from tests import factories
from tests.browser import seed
from tests.browser.conftest import Apply, log_in
from tests.browser.test_console import _violations
from webui.choices import AdminState, Role
from webui.models import Installation, Server, Service, VServer

pytestmark = pytest.mark.browser

GIVEN = "correct horse battery"
# Addresses that lead to a change
CHANGING = ("/add/", "/edit/", "/rename/", "/delete/", "/disable/", "/disable-after/", "/bulk/", "/new/", "/weights/")


@contextmanager
def _somebody(browser: Browser, apply: Apply, console_url: str, role: str, **look: Any) -> Iterator[Page]:
    """A page of a new user of this role, at the dashboard; axe may be run on it."""
    apply(factories.of_role, role)
    # The policy forbids foreign scripts, axe too; it is lifted in this context alone.
    with browser.new_context(bypass_csp=True, **look) as context:
        page = context.new_page()
        log_in(page, console_url, role, f"{role}'s password")
        yield page


def _code(secret: str, steps: int = 0) -> str:
    """What an authenticator shows, so many steps of 30 s from now."""
    totp = TOTP(b32decode(secret.replace(" ", "")), 30, 0, 6)
    totp.time = time.time() + 30 * steps
    return f"{totp.token():06d}"


def _changing(page: Page) -> list[str]:
    """Forms and links in the page's own part that change something."""
    forms = page.locator("main form[method=post]").evaluate_all(
        "all => all.map(one => one.getAttribute('action') ?? '')"
    )
    links = page.locator("main a").evaluate_all("all => all.map(one => one.getAttribute('href') ?? '')")
    boxes = page.locator("main input[type=checkbox]:enabled").evaluate_all("all => all.map(one => 'box ' + one.name)")
    return [*forms, *boxes, *(link for link in links if link.split("?")[0].endswith(CHANGING))]


def test_a_second_factor_is_set_up_with_its_key_and_asked_for_at_the_next_login(
    apply: Apply, watched: list[str], browser: Browser, console_url: str
) -> None:
    found: list[str] = []
    with _somebody(browser, apply, console_url, Role.NETWORK, color_scheme="dark") as page:
        page.get_by_role("link", name=Role.NETWORK).click()
        page.get_by_role("link", name="Set up").click()
        secret = page.locator("code.secret").inner_text()
        found += _violations(page, "set up")
        page.get_by_label("Code", exact=True).fill(_code(secret))
        page.get_by_role("button", name="Take into use").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Recovery codes")
        codes = page.locator(".codes li").all_inner_texts()
        found += _violations(page, "recovery codes")
        page.get_by_role("link", name="I have kept them").click()
        page.get_by_role("button", name="Log out").click()

        page.goto(console_url + "/services/")
        page.get_by_label("Username").fill(Role.NETWORK)
        page.get_by_label("Password").fill(f"{Role.NETWORK}'s password")
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Second factor")
        expect(page.get_by_role("navigation", name="Main")).to_have_count(0)
        found += _violations(page, "second factor")
        page.get_by_label("Code", exact=True).fill(
            _code(secret, 1)
        )  # none is taken twice, and the next is taken already
        page.keyboard.press("Enter")
        page.wait_for_url(console_url + "/services/")

        page.get_by_role("button", name="Log out").click()
        page.goto(console_url + "/")
        page.get_by_label("Username").fill(Role.NETWORK)
        page.get_by_label("Password").fill(f"{Role.NETWORK}'s password")
        page.get_by_role("button", name="Log in").click()
        page.get_by_label("Code", exact=True).fill(codes[0])
        page.keyboard.press("Enter")
        page.wait_for_url(console_url + "/")
    assert found == []
    assert watched == []


def test_a_token_is_shown_once(apply: Apply, browser: Browser, console_url: str) -> None:
    with _somebody(browser, apply, console_url, Role.OPERATOR) as page:
        page.goto(console_url + "/account/")
        page.get_by_label("Name").fill("deploy")
        page.get_by_role("button", name="Make a token").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Token deploy")
        raw = page.locator("code.secret").inner_text()
        found = _violations(page, "token")
        page.get_by_role("link", name="I have kept it").click()
        expect(page.get_by_role("button", name="Revoke: deploy")).to_be_visible()
        assert raw not in page.content()
        page.get_by_role("button", name="Revoke: deploy").click()
        expect(page.get_by_role("button", name="Revoke: deploy")).to_have_count(0)
    assert found == []


def test_after_wrong_passwords_a_page_tells_until_when_nothing_is_tried(
    apply: Apply, browser: Browser, console_url: str
) -> None:
    apply(factories.of_role, Role.OPERATOR)
    with browser.new_context(bypass_csp=True, color_scheme="dark", viewport={"width": 360, "height": 740}) as context:
        page = context.new_page()
        for number in range(5):
            page.goto(console_url + "/login/")
            page.get_by_label("Username").fill(Role.OPERATOR)
            page.get_by_label("Password").fill(f"wrong {number}")
            page.get_by_role("button", name="Log in").click()
            expect(page.get_by_role("alert")).to_be_visible()
        expect(page.get_by_role("heading", level=1)).to_have_text("Locked out")
        assert _violations(page, "locked out") == []
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        page.get_by_role("link", name="Back to the login").click()
        page.get_by_label("Username").fill(Role.OPERATOR)
        page.get_by_label("Password").fill(f"{Role.OPERATOR}'s password")
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Locked out")


def _pages() -> list[str]:
    """Dashboard, lists, and each tab of one object of each kind."""
    found = ["/", "/vservers/", "/services/", "/servers/", "/monitors/", "/eventtargets/", "/settings/"]
    for kind, model in (("vservers", VServer), ("services", Service), ("servers", Server)):
        pk = model.objects.values_list("pk", flat=True)[0]
        found += [f"/{kind}/{pk}/{part}" for part in ("", "bindings/", "statistics/", "history/")]
    return [*found, "/monitors/1/"]


def test_who_may_only_look_finds_nothing_that_changes(apply: Apply, browser: Browser, console_url: str) -> None:
    apply(seed.incident)
    found = []
    with _somebody(browser, apply, console_url, Role.READ_ONLY, color_scheme="dark") as page:
        for address in apply(_pages):
            page.goto(console_url + address)
            expect(page.get_by_role("heading", level=1)).to_be_visible()
            found += [f"{address}: {one}" for one in _changing(page)]
            found += _violations(page, address)
        links = page.get_by_role("navigation", name="Main").locator("a")
        assert not {"Revisions", "Audit", "Users"} & set(links.all_text_contents())
        page.goto(console_url + "/users/")
        expect(page.get_by_text("permission webui.manage_users is missing")).to_be_visible()
        found += _violations(page, "refusal")
    assert found == []


def test_an_operator_disables_a_service_and_edits_nothing(apply: Apply, browser: Browser, console_url: str) -> None:
    apply(seed.incident)
    pk = apply(lambda: Service.objects.get(name="service_Server1_ANY").pk)
    with _somebody(browser, apply, console_url, Role.OPERATOR) as page:
        page.goto(f"{console_url}/services/{pk}/")
        assert _changing(page) == [f"/services/{pk}/disable-after/", f"/services/{pk}/disable/"]
        page.get_by_role("link", name="Disable …").click()
        assert _violations(page, "disable") == []
        page.get_by_role("button", name="Disable").click()
        expect(page.get_by_role("button", name="Enable")).to_be_visible()
        expect(page.locator("#part-now")).to_contain_text("OUT OF SERVICE")
        assert apply(lambda: Service.objects.get(pk=pk).state) == AdminState.DISABLED
        page.goto(f"{console_url}/services/{pk}/edit/")
        expect(page.get_by_role("button", name="Save")).to_have_count(0)
        page.goto(console_url + "/revisions/")
        expect(page.get_by_text("permission webui.rollback_installation is missing")).to_be_visible()


def test_a_trial_is_told_on_every_page_until_it_is_confirmed(operator: Page, apply: Apply, console_url: str) -> None:
    apply(factories.server)
    operator.goto(console_url + "/revisions/")
    operator.get_by_role("button", name="Begin").click()
    banner = operator.locator(".trial")
    expect(banner).to_contain_text(re.compile(r"is rolled back (at|in) \d"))  # the script counts down
    operator.goto(console_url + "/servers/")
    expect(banner.get_by_role("button", name="Roll back now")).to_be_visible()
    for width in (1280, 360):
        operator.set_viewport_size({"width": width, "height": 740})
        assert operator.evaluate("document.documentElement.scrollWidth") <= width
    banner.get_by_role("button", name="Confirm").click()
    expect(banner).to_have_count(0)
    assert apply(Server.objects.count) == 1


def test_a_revision_is_brought_back_after_a_look_at_what_differs(
    operator: Page, apply: Apply, console_url: str
) -> None:
    apply(factories.server, 1)
    kept = apply(lambda: Installation.objects.get(pk=1).revision)
    apply(factories.server, 2)
    operator.goto(console_url + "/revisions/")
    operator.get_by_role("link", name=f"bring back revision {kept} …").click()
    expect(operator.get_by_role("heading", level=1)).to_have_text(f"Roll back to revision {kept}?")
    expect(operator.get_by_role("main")).to_contain_text("Server2")
    operator.get_by_role("button", name=f"Roll back to revision {kept}").click()
    expect(operator.get_by_role("heading", level=1)).to_have_text("Compare revisions")
    assert apply(lambda: list(Server.objects.values_list("name", flat=True))) == ["Server1"]


def test_the_audit_is_searched_and_narrowed_with_the_keyboard(operator: Page, apply: Apply, console_url: str) -> None:
    apply(seed.incident)
    operator.goto(console_url + "/audit/")
    operator.evaluate("window.sameDocument = true")
    rows = operator.locator("#results tbody tr")
    before = rows.count()
    operator.keyboard.press("/")
    operator.keyboard.type("web_Server1")
    operator.keyboard.press("Enter")
    expect(operator).to_have_url(re.compile(r"/audit/\?q=web_Server1"))
    expect(rows.first).to_contain_text("web_Server1")
    assert 0 < rows.count() < before
    operator.keyboard.press("Tab")
    expect(operator.get_by_label("Kind", exact=True)).to_be_focused()
    operator.keyboard.press("Tab")
    expect(operator.get_by_label("What", exact=True)).to_be_focused()
    operator.keyboard.type("created")
    expect(rows).to_have_count(1)
    rows.get_by_role("link").first.focus()
    assert operator.evaluate("window.sameDocument") is True
    operator.keyboard.press("Enter")
    expect(operator.get_by_role("heading", name="Before and after")).to_be_visible()


def _somebody_new(name: str) -> int:
    from webui.actions import account, users  # noqa: PLC0415 - after django.setup()

    made = users.create(factories.SYSTEM, {"username": name, "password": GIVEN, "role": Role.OPERATOR})
    account.make_token(factories.actor(made), {"name": "ci", "scope": Role.OPERATOR, "days": 7})
    return made.pk


def test_a_given_password_is_told_on_each_page_until_another_is_chosen(
    apply: Apply, watched: list[str], browser: Browser, console_url: str
) -> None:
    apply(_somebody_new, "ada.lovelace")
    with browser.new_context(bypass_csp=True, color_scheme="dark", viewport={"width": 360, "height": 700}) as context:
        page = context.new_page()
        log_in(page, console_url, "ada.lovelace", GIVEN)
        banner = page.get_by_role("link", name="choose your own")
        for address in ("/", "/vservers/", "/docs/concepts/", "/cli/", "/nothing/"):
            page.goto(console_url + address)
            expect(banner).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        found = _violations(page, "banner")
        banner.focus()
        page.keyboard.press("Enter")
        page.wait_for_url(console_url + "/account/#id_old_password")
        page.get_by_label("Old password").fill(GIVEN)
        page.get_by_label("New password").fill("another horse entirely")
        page.get_by_label("The same again").fill("another horse entirely")
        page.keyboard.press("Enter")
        # The hashes take their time, on purpose.
        expect(page.get_by_text("Your password was changed.")).to_be_visible(timeout=30_000)
        expect(banner).to_have_count(0)
        page.goto(console_url + "/vservers/")
        expect(banner).to_have_count(0)
    assert found == []


def test_a_user_is_deleted_by_keyboard_once_it_was_told_what_ends(
    operator: Page, apply: Apply, console_url: str
) -> None:
    pk = apply(_somebody_new, "grace")
    operator.goto(f"{console_url}/users/{pk}/")
    operator.get_by_role("link", name="Delete …").focus()
    operator.keyboard.press("Enter")
    expect(operator.get_by_role("heading", level=1)).to_have_text("Delete user grace?")
    expect(operator.get_by_text("1 API token no longer works: ci.")).to_be_visible()
    operator.locator(".crumbs a").last.focus()
    operator.keyboard.press("Tab")
    expect(operator.get_by_role("button", name="Delete grace")).to_be_focused()
    operator.keyboard.press("Tab")
    expect(operator.get_by_role("link", name="Change nothing")).to_be_focused()
    operator.keyboard.press("Shift+Tab")
    operator.keyboard.press("Enter")
    operator.wait_for_url(console_url + "/users/")
    expect(operator.get_by_text("User grace was deleted.")).to_be_visible()
    expect(operator.get_by_role("table").get_by_text("grace")).to_have_count(0)
