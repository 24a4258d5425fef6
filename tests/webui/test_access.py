"""Coming in: throttling, second factor, tokens, sessions, and the rules about users."""

from __future__ import annotations

import re
import time
from datetime import datetime, timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from channels.db import database_sync_to_async
from django.contrib.auth.models import User
from django.core.cache import cache
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.test import AsyncClient, Client
from django.utils import timezone
from django_otp.oath import totp

from tests import factories
from tests.webui.test_consumer import _browser, _session_of
from webui import consumers, settings, tokens
from webui.actions import account, users
from webui.actions.base import Actor, PermissionRefused
from webui.models import ApiToken, AuditEntry, LoginSession, SecondFactor
from webui.recent import AUDITED

pytestmark = pytest.mark.django_db(transaction=True)

GOOD = "correct horse battery"


def _log_in(client: Client, name: str, password: str) -> Any:
    return client.post("/login/", {"username": name, "password": password})


def _page(answer: Any) -> str:
    return str(answer.content.decode())


def _with_device(user: User) -> tuple[SecondFactor, list[str]]:
    actor = factories.actor(user)
    device = account.begin_second_factor(actor)
    return account.confirm_second_factor(actor, f"{totp(device.key):06d}")


def test_too_many_failures_lock_out_that_name_from_that_address_alone(client: Client) -> None:
    factories.owner()
    for _attempt in range(4):
        assert _log_in(client, "owner", "wrong").status_code == 200
    assert _log_in(client, "owner", "wrong").status_code == 429
    answer = _log_in(client, "owner", "owner's password")
    assert answer.status_code == 429
    assert "Try again at" in _page(answer)
    assert 0 < int(answer.headers["Retry-After"]) <= 900
    assert "manage.py axes_reset" in _page(answer)
    assert "_auth_user_id" not in client.session
    reasons = set(AuditEntry.objects.filter(verb__in=("refuse", "fail")).values_list("reason", flat=True))
    assert any("Locked out" in reason for reason in reasons)
    elsewhere = Client(REMOTE_ADDR="192.0.2.99")
    assert _log_in(elsewhere, "owner", "owner's password").status_code == 302
    users.unlock(factories.SYSTEM, User.objects.get())
    assert _log_in(client, "owner", "owner's password").status_code == 302


def test_a_lock_out_tells_its_end_behind_either_kind_of_server(client: Client) -> None:
    for _attempt in range(5):
        locked = _log_in(client, "nobody", "wrong")
    assert 880 < int(locked.headers["Retry-After"]) <= 900
    of_asgi = async_to_sync(AsyncClient().post)("/login/", {"username": "nobody", "password": "wrong"})
    assert of_asgi.status_code == 429
    assert 880 < int(of_asgi.headers["Retry-After"]) <= 900
    until = re.search(r'<time datetime="([^"]*)"', _page(of_asgi))
    assert until
    assert timedelta(minutes=14) < datetime.fromisoformat(until[1]) - timezone.now() <= timedelta(minutes=15)


def test_a_login_with_a_second_factor_takes_two_steps(client: Client) -> None:
    user = factories.owner()
    device, codes = _with_device(user)
    assert _log_in(client, "owner", "owner's password").status_code == 302
    asked = client.get("/servers/")
    assert asked.headers["Location"] == "/login/second-factor/?next=%2Fservers%2F"
    assert client.post("/servers/add/", {"name": "x", "address": "10.0.0.1"}).status_code == 302
    before = client.session.session_key
    wrong = client.post("/login/second-factor/", {"code": "000000", "next": "/servers/"})
    assert wrong.status_code == 422
    assert "too many wrong codes" in _page(client.post("/login/second-factor/", {"code": codes[0]}))
    SecondFactor.objects.update(throttling_failure_timestamp=None, throttling_failure_count=0)
    right = client.post("/login/second-factor/", {"code": codes[0], "next": "/servers/"})
    assert right.headers["Location"] == "/servers/"
    assert client.session.session_key != before, "the session has another key than before the second step"
    assert client.get("/servers/").status_code == 200
    device.refresh_from_db()
    assert len(device.recovery) == account.RECOVERY_CODES - 1
    other = Client()
    _log_in(other, "owner", "owner's password")
    assert other.post("/login/second-factor/", {"code": codes[0]}).status_code == 422, "a code works once"
    assert other.get("/").status_code == 302


def test_a_code_of_the_clock_works_once(monkeypatch: pytest.MonkeyPatch) -> None:
    user = factories.owner()
    device, _codes = _with_device(user)
    with pytest.raises(ValidationError):  # the one that confirmed it
        account.verify_second_factor(factories.actor(user), f"{totp(device.key):06d}")
    SecondFactor.objects.update(throttling_failure_timestamp=None, throttling_failure_count=0)
    now = time.time()
    monkeypatch.setattr("time.time", lambda: now + 60)
    code = f"{totp(device.key, t0=-60):06d}"
    assert account.verify_second_factor(factories.actor(user), code)


def test_keys_and_codes_are_not_in_the_database_as_text() -> None:
    device, codes = _with_device(factories.owner())
    row = repr(SecondFactor.objects.values().get()) + repr(list(AuditEntry.objects.values()))
    for secret in (device.key.hex(), *codes, codes[0].replace("-", "")):
        assert secret not in row


def test_a_role_that_needs_a_second_factor_sees_only_its_set_up(client: Client, settings: Any) -> None:
    settings.SECOND_FACTOR_ROLES = frozenset({"operator"})
    client.force_login(factories.of_role("operator"))
    assert client.get("/").headers["Location"].startswith("/account/second-factor/")
    page = client.get("/account/second-factor/")
    assert "<svg" in _page(page)
    device = SecondFactor.objects.get()
    done = client.post("/account/second-factor/", {"code": f"{totp(device.key):06d}"})
    assert "shown this once" in _page(done)
    assert client.get("/").status_code == 200
    client.force_login(factories.of_role("network"))
    assert client.get("/").status_code == 200


def test_a_token_works_until_it_is_revoked_expires_or_its_user_is_disabled() -> None:
    cache.clear()
    user = factories.of_role("network")
    token, raw = account.make_token(factories.actor(user), {"name": "ci", "scope": "operator", "days": 7})
    assert raw not in repr(ApiToken.objects.values().get())
    assert raw not in repr(list(AuditEntry.objects.values()))
    actor = tokens.actor_of(raw, "192.0.2.1")
    assert (actor.name, actor.scope, actor.token, actor.interface) == ("network", "operator", "ci", "api")
    assert actor.may("webui.enable_service")
    assert not actor.may("webui.add_server")
    token.refresh_from_db()
    used = token.last_used_at
    tokens.actor_of(raw, "192.0.2.1")
    token.refresh_from_db()
    assert token.last_used_at == used, "at most one write a minute"
    users.set_role(factories.SYSTEM, user, "read-only")
    assert not tokens.actor_of(raw, None).may("webui.enable_service"), "never above the user's own role"
    for change, why in (
        ({"user__is_active": False}, "disabled"),
        ({"expires_at": timezone.now() - timedelta(seconds=1)}, "expired"),
        ({"revoked_at": timezone.now()}, "revoked"),
    ):
        if "user__is_active" in change:
            users.disable(factories.SYSTEM, user)
        else:
            users.enable(factories.SYSTEM, user)
            ApiToken.objects.update(**change)
        with pytest.raises(tokens.TokenRefused, match=why):
            tokens.actor_of(raw, None)
    for unknown in ("", "hp_", raw + "x", "x" * 10_000):
        with pytest.raises(tokens.TokenRefused, match="unknown"):
            tokens.actor_of(unknown, None)


@pytest.mark.parametrize(
    ("values", "field"),
    [({"scope": "superuser"}, "scope"), ({"scope": "x"}, "scope"), ({"days": 366}, "days"), ({"days": 0}, "days")],
)
def test_a_token_above_ones_role_or_without_end_is_refused(values: dict[str, Any], field: str) -> None:
    actor = factories.actor(factories.of_role("network"))
    with pytest.raises(ValidationError) as caught:
        account.make_token(actor, {"name": "t", "scope": "network", "days": 5} | values)
    assert list(caught.value.message_dict) == [field]
    assert not ApiToken.objects.exists()


def test_the_last_superuser_stays_and_nobody_changes_the_own_role() -> None:
    owner = factories.owner()
    for deed in (
        lambda: users.delete(factories.SYSTEM, owner),
        lambda: users.disable(factories.SYSTEM, owner),
        lambda: users.set_role(factories.SYSTEM, owner, "network"),
    ):
        with pytest.raises(ValidationError, match="last superuser"):
            deed()
    second = factories.of_role("superuser")
    for deed in (
        lambda: users.delete(factories.actor(second), second),
        lambda: users.disable(factories.actor(second), second),
        lambda: users.set_role(factories.actor(second), second, "network"),
    ):
        with pytest.raises(ValidationError, match="Nobody"):
            deed()
    users.set_role(factories.actor(second), owner, "network")
    assert AuditEntry.objects.filter(before={"role": "superuser"}, after={"role": "network"}).exists()


@pytest.mark.parametrize("password", ["short", "password1234", "123456789012", "somebody-else1"])
def test_weak_passwords_are_refused(password: str) -> None:
    with pytest.raises(ValidationError) as caught:
        users.create(factories.SYSTEM, {"username": "somebody-else", "password": password, "role": "operator"})
    assert "password" in caught.value.message_dict
    assert not User.objects.exists()


def test_a_change_of_role_or_password_ends_sessions(client: Client) -> None:
    factories.owner()
    user = users.create(factories.SYSTEM, {"username": "ada", "password": GOOD, "role": "operator"})
    assert _log_in(client, "ada", GOOD).status_code == 302
    assert LoginSession.objects.filter(user=user).count() == 1
    users.set_role(factories.SYSTEM, user, "network")
    assert client.get("/").headers["Location"].startswith("/login/")
    other = Client()
    _log_in(client, "ada", GOOD)
    _log_in(other, "ada", GOOD)
    key = client.session.session_key
    given = {"old_password": GOOD, "password": "another horse entirely", "again": "another horse entirely"}
    assert client.post("/account/password/", given).status_code == 302
    assert client.session.session_key != key
    assert client.get("/").status_code == 200
    assert other.get("/").headers["Location"].startswith("/login/")


def test_the_pages_of_users_and_accounts_work_through_forms(client: Client) -> None:
    client.force_login(factories.owner())
    given = {"username": "ada", "role": "operator", "password": GOOD, "again": GOOD}
    assert client.post("/users/add/", given | {"again": "x"}).status_code == 422
    added = client.post("/users/add/", given)
    pk = User.objects.get(username="ada").pk
    assert added.headers["Location"] == f"/users/{pk}/"
    assert client.post(f"/users/{pk}/role/", {"role": "network"}).status_code == 302
    assert "network" in _page(client.get(f"/users/{pk}/"))
    assert "ada" in _page(client.get("/users/"))
    made = client.post("/account/tokens/", {"name": "ci", "scope": "operator", "days": 30})
    assert "hp_" in _page(made)
    assert made.headers["Cache-Control"].find("no-store") >= 0
    token = ApiToken.objects.get()
    assert client.post(f"/account/tokens/{token.pk}/revoke/").status_code == 302
    assert "revoked" in _page(client.get("/account/"))
    assert client.post(f"/users/{pk}/delete/").headers["Location"] == "/users/"


def test_forms_without_their_token_are_refused_and_headers_forbid_frames_and_scripts() -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(factories.owner())
    assert strict.post("/users/add/", {}).status_code == 403
    answer = strict.get("/")
    assert "script-src 'self'" in answer.headers["Content-Security-Policy"]
    assert "unsafe" not in answer.headers["Content-Security-Policy"]
    assert (answer.headers["X-Frame-Options"], answer.headers["Referrer-Policy"]) == ("DENY", "same-origin")


def test_settings_that_make_no_sense_stop_the_start() -> None:
    with pytest.raises(ImproperlyConfigured, match="no role"):
        settings._second_factor_roles(["admin"])
    with pytest.raises(ImproperlyConfigured, match="NAME=VALUE"):
        settings._proxy_tls_header("X-Forwarded-Proto")
    assert settings._proxy_tls_header("X-Forwarded-Proto=https") == ("HTTP_X_FORWARDED_PROTO", "https")


async def _closed_with(browser: Any) -> int:
    while True:
        output = await browser.wire.receive_output(3)
        if output["type"] == "websocket.close":
            return int(output["code"])


@pytest.mark.parametrize("deed", ["no role", "disabled", "sessions ended"])
async def test_a_socket_closes_at_once_when_its_user_may_look_no_more(deed: str) -> None:
    session = await _session_of(lambda: factories.of_role("operator"))
    browser = _browser(session)
    assert await browser.connect() == 0
    await browser.message()

    def do() -> None:
        user = User.objects.get()
        if deed == "no role":
            user.groups.clear()  # behind the actions' back, and the session stays
        elif deed == "disabled":
            users.disable(factories.SYSTEM, user)
        else:
            users.end_sessions(factories.SYSTEM, user)

    await database_sync_to_async(do)()
    assert await _closed_with(browser) == (consumers.NOT_ALLOWED if deed == "no role" else consumers.NOT_LOGGED_IN)


async def test_a_socket_without_its_second_factor_is_refused() -> None:
    def user() -> User:
        made = factories.owner()
        _with_device(made)
        return made

    browser = _browser(await _session_of(user))
    assert await browser.connect() == 0  # or the browser would not be told the code
    assert await _closed_with(browser) == consumers.NOT_LOGGED_IN


async def test_snapshots_hold_the_audit_for_those_alone_who_may_see_it() -> None:
    await database_sync_to_async(factories.server)()
    for make, sees in ((factories.owner, True), (factories.outsider, False)):
        browser = _browser(await _session_of(make))
        assert await browser.connect() == 0
        told = [row["key"] for row in (await browser.message())["recent"]]
        assert any(key.startswith(AUDITED) for key in told) == sees
        await browser.disconnect()


def test_a_system_actor_has_no_account_of_its_own() -> None:
    with pytest.raises(PermissionRefused, match="nobody is logged in"):
        account.end_other_sessions(Actor.system("x"), None)


def test_the_api_takes_tokens_and_no_session_without_its_second_factor(client: Client) -> None:
    user = factories.of_role("network")
    _token, raw = account.make_token(factories.actor(user), {"name": "ci", "scope": "read-only", "days": 7})
    bearer = {"Authorization": f"Bearer {raw}"}
    assert client.get("/api/v1/servers", headers=bearer).status_code == 200
    given = {"name": "S", "address": "10.0.0.1"}
    refused = client.post("/api/v1/servers", given, content_type="application/json", headers=bearer)
    assert refused.status_code == 403
    assert client.get("/api/v1/servers", headers={"Authorization": f"Bearer {raw}x"}).status_code == 401
    _with_device(user)
    client.force_login(user)
    assert client.get("/api/v1/servers").status_code == 401
