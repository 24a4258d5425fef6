"""Passwords that their users did not choose: who is told, and when it ends. And how a user is deleted."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.test import Client

from tests import factories
from webui import passwords
from webui.actions import account, users
from webui.models import ApiToken, AuditEntry, GivenPassword

pytestmark = pytest.mark.django_db

GOOD = "correct horse battery"
OTHER = "another horse entirely"
BANNER = "choose your own</a>"


def _page(client: Client, address: str) -> str:
    return str(client.get(address).content.decode())


def _ensure_admin(path: Path) -> User:
    call_command("ensure_admin", "--password-file", str(path), stdout=io.StringIO())
    return User.objects.get(username="admin")


def _text(page: str) -> str:
    return " ".join(page.split())


@pytest.fixture
def owner(client: Client) -> Client:
    client.force_login(factories.owner())
    return client


def test_every_page_says_that_the_password_was_generated_until_another_is_chosen(
    client: Client, tmp_path: Path
) -> None:
    path = tmp_path / "password"
    admin = _ensure_admin(path)
    first = path.read_text().strip()
    assert client.post("/login/", {"username": "admin", "password": first}).status_code == 302
    for address in ("/", "/servers/", "/servers/add/", "/cli/", "/users/", "/docs/concepts/", "/account/"):
        assert "Your password was generated at first start: <a href=" in _page(client, address), address
    assert "It was generated at first start" in _page(client, "/account/")
    same = {"old_password": first, "password": first, "again": first}
    refused = client.post("/account/password/", same)
    assert refused.status_code == 422
    errors = refused.context["password_form"].errors
    assert errors == {"password": ["This is the password that was given: choose another."]}
    bad = {"old_password": "wrong", "password": "short", "again": "other"}
    assert set(client.post("/account/password/", bad).context["password_form"].errors) == {"password", "again"}
    assert passwords.given_to(admin)
    done = client.post("/account/password/", {"old_password": first, "password": GOOD, "again": GOOD})
    assert done.status_code == 302
    for address in ("/", "/account/"):
        assert BANNER not in _page(client, address)


def test_a_page_that_asks_for_a_second_factor_first_shows_no_link_that_leads_nowhere(
    client: Client, settings: Any
) -> None:
    settings.SECOND_FACTOR_ROLES = frozenset({"operator"})
    user = users.create(factories.SYSTEM, {"username": "ada", "password": GOOD, "role": "operator"})
    client.force_login(user)
    assert BANNER not in _page(client, "/account/second-factor/")


def test_a_password_that_another_person_set_is_told_with_the_name() -> None:
    owner = factories.owner()
    ada = users.create(factories.actor(owner), {"username": "ada", "password": GOOD, "role": "operator"})
    assert str(passwords.given_to(ada)) == "was set by owner"
    account.change_password(factories.actor(ada), GOOD, OTHER)
    assert passwords.given_to(ada) is None
    users.set_password(factories.actor(owner), ada, GOOD)
    browser = Client()
    browser.force_login(User.objects.get(pk=ada.pk))
    assert "Your password was set by owner: <a" in _page(browser, "/account/")
    users.set_password(factories.actor(owner), owner, OTHER)
    assert passwords.given_to(owner) is None, "one's own choice"


def test_the_given_password_set_again_stays_a_given_one() -> None:
    ada = users.create(factories.SYSTEM, {"username": "ada", "password": GOOD, "role": "operator"})
    with pytest.raises(ValidationError, match="choose another"):
        users.set_password(factories.SYSTEM, ada, GOOD)
    with pytest.raises(ValidationError, match="choose another"):
        account.change_password(factories.actor(ada), GOOD, GOOD)
    assert passwords.given_to(ada)


def test_a_password_chosen_on_the_machine_counts_and_one_only_hashed_anew_does_not(settings: Any) -> None:
    ada = users.create(factories.SYSTEM, {"username": "ada", "password": GOOD, "role": "operator"})
    old = ada.password
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.ScryptPasswordHasher", *settings.PASSWORD_HASHERS]
    assert ada.check_password(GOOD)
    ada.refresh_from_db()
    assert ada.password != old, "it was hashed anew"
    assert passwords.given_to(ada)
    ada.set_password(OTHER)  # as manage.py changepassword does
    ada.save()
    assert passwords.given_to(ada) is None


def test_an_older_installation_gets_the_mark_while_its_password_is_that_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "password"
    admin = _ensure_admin(path)
    GivenPassword.objects.all().delete()
    assert str(passwords.given_to(_ensure_admin(path))) == "was generated at first start"
    admin.refresh_from_db()
    account.change_password(factories.actor(admin), path.read_text().strip(), GOOD)
    assert passwords.given_to(_ensure_admin(path)) is None


def test_superusers_see_whose_password_is_not_their_own_and_who_has_no_second_factor(owner: Client) -> None:
    ada = users.create(factories.SYSTEM, {"username": "ada", "password": GOOD, "role": "operator"})
    page = _text(_page(owner, "/users/"))
    assert f'The password is not their own:</strong> <a href="/users/{ada.pk}/">ada</a></p>' in page
    assert "No second factor:</strong>" in page
    assert "not their own</span>" in page
    assert "not the user's own: it was set by" in _page(owner, f"/users/{ada.pk}/")
    users.disable(factories.SYSTEM, ada)
    assert "The password is not their own:" not in _page(owner, "/users/"), "nobody can come in by it"


@pytest.mark.parametrize("number", [1, 9])
def test_the_list_of_users_takes_as_many_queries_for_many_as_for_one(
    owner: Client, number: int, django_assert_num_queries: Any
) -> None:
    for one in range(number):
        users.create(factories.SYSTEM, {"username": f"user{one}", "password": GOOD, "role": "operator"})
    owner.get("/users/")
    with django_assert_num_queries(9):
        owner.get("/users/")


def test_deleting_a_user_asks_first_and_tells_what_ends(owner: Client) -> None:
    ada = users.create(factories.SYSTEM, {"username": "ada", "password": GOOD, "role": "operator"})
    account.make_token(factories.actor(ada), {"name": "ci", "scope": "operator", "days": 7})
    gone, _raw = account.make_token(factories.actor(ada), {"name": "old", "scope": "operator", "days": 7})
    account.revoke_token(factories.actor(ada), gone)
    browser = Client()
    browser.post("/login/", {"username": "ada", "password": GOOD})
    page = _page(owner, f"/users/{ada.pk}/delete/")
    assert "1 session of ada ends at once." in page
    assert "1 API token no longer works: ci." in page
    assert '<form method="post">' in page
    assert User.objects.filter(username="ada").exists(), "asking changes nothing"
    assert ApiToken.objects.filter(user=ada).count() == 2
    assert not AuditEntry.objects.filter(verb="delete", object_name="ada").exists()
    done = owner.post(f"/users/{ada.pk}/delete/", follow=True)
    assert "User ada was deleted." in done.content.decode()
    assert browser.get("/").headers["Location"].startswith("/login/")
    assert not ApiToken.objects.exists()
    assert owner.get(f"/users/{ada.pk}/delete/").status_code == 404


def test_deleting_oneself_or_the_last_superuser_is_refused_before_it_is_tried(owner: Client) -> None:
    me = User.objects.get(username="owner")
    page = _page(owner, f"/users/{me.pk}/delete/")
    assert "Nobody deletes the own account." in page
    assert '<button class="danger"' not in page
    owner.post(f"/users/{me.pk}/delete/")
    assert User.objects.filter(pk=me.pk).exists()
    refused = AuditEntry.objects.filter(verb="refuse")
    assert not refused.exists(), "looking is no attempt"


def test_the_history_of_a_user_tells_changes_and_no_logins(owner: Client) -> None:
    ada = users.create(factories.SYSTEM, {"username": "ada", "password": GOOD, "role": "operator"})
    Client().post("/login/", {"username": "ada", "password": GOOD})
    users.set_role(factories.SYSTEM, ada, "network")
    rows = owner.get(f"/users/{ada.pk}/").context["history"].rows
    assert [row["who"] for row in rows] == ["tests (system)"] * 2
    assert "network" in rows[0]["note"]


def test_a_bad_name_is_told_with_the_name(owner: Client) -> None:
    with pytest.raises(ValidationError, match="“a b” is no user name: use letters"):
        users.create(factories.SYSTEM, {"username": "a b", "password": GOOD, "role": "operator"})


def test_who_may_not_manage_users_is_not_asked(client: Client) -> None:
    client.force_login(factories.of_role("network"))
    owner = factories.owner()
    assert client.get(f"/users/{owner.pk}/delete/").status_code == 403
    assert client.post(f"/users/{owner.pk}/delete/").status_code == 403
    assert User.objects.filter(pk=owner.pk).exists()
