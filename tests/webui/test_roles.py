"""Each role on each action, and on each page."""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.test import Client
from django.urls import URLPattern, get_resolver, reverse

import webui.actions
from tests import factories
from webui import access, roles, settings
from webui.actions.base import Actor, NotFoundError, PermissionRefused
from webui.actions.wizard import Order
from webui.choices import Interface, Role
from webui.models import ApiToken, AuditEntry, EventTarget, Monitor, Server, Service, ServiceGroup, VServer

pytestmark = pytest.mark.django_db

EVERYONE = ("read-only", "operator", "network", "superuser", "none")
OPERATORS = ("operator", "network", "superuser")
NETWORK = ("network", "superuser")
SUPERUSER = ("superuser",)


class World:
    """What the actions work on."""

    def __init__(self) -> None:
        self.server = factories.server()
        self.service = factories.service(self.server)
        self.vserver = factories.vserver(self.service)
        self.monitor = factories.monitor()
        given = {"name": "log", "target_type": "SYSLOG", "host": "log.example"}
        from webui.actions import eventtargets, servicegroups  # noqa: PLC0415 - beside its use

        self.group = servicegroups.create(factories.SYSTEM, {"name": "g", "service_type": "ANY"})
        self.target = eventtargets.create(factories.SYSTEM, given)
        self.user = User.objects.create_user("somebody", password="somebody's password")


Call = Callable[[Any, Actor, World], Any]
# Every public function of webui/actions that takes an actor: (who may, how it is called).
ACTIONS: dict[str, tuple[tuple[str, ...], Call]] = {
    "servers.create": (NETWORK, lambda do, a, _w: do(a, {"name": "S9", "address": "10.77.0.99"})),
    "servers.update": (NETWORK, lambda do, a, w: do(a, w.server, {"comment": "x"})),
    "servers.enable": (OPERATORS, lambda do, a, w: do(a, w.server)),
    "servers.disable": (OPERATORS, lambda do, a, w: do(a, w.server)),
    "servers.delete": (NETWORK, lambda do, a, w: do(a, w.server)),
    "services.create": (NETWORK, lambda do, a, w: do(a, {"name": "s9", "server": w.server, "service_type": "TCP"})),
    "services.update": (NETWORK, lambda do, a, w: do(a, w.service, {"comment": "x"})),
    "services.enable": (OPERATORS, lambda do, a, w: do(a, w.service)),
    "services.disable": (OPERATORS, lambda do, a, w: do(a, w.service, 60)),
    "services.delete": (NETWORK, lambda do, a, w: do(a, w.service)),
    "services.bind_monitor": (NETWORK, lambda do, a, w: do(a, w.service, w.monitor)),
    "services.set_monitor_binding": (NETWORK, lambda do, a, w: do(a, w.service, "ping-default", weight=2)),
    "services.unbind_monitor": (NETWORK, lambda do, a, w: do(a, w.service, w.monitor)),
    "servicegroups.create": (NETWORK, lambda do, a, _w: do(a, {"name": "g9", "service_type": "TCP"})),
    "servicegroups.update": (NETWORK, lambda do, a, w: do(a, w.group, {"comment": "x"})),
    "servicegroups.enable": (OPERATORS, lambda do, a, w: do(a, w.group)),
    "servicegroups.disable": (OPERATORS, lambda do, a, w: do(a, w.group, 60)),
    "servicegroups.delete": (NETWORK, lambda do, a, w: do(a, w.group)),
    "servicegroups.bind_member": (NETWORK, lambda do, a, w: do(a, w.group, w.server, "443")),
    "servicegroups.bind_members": (NETWORK, lambda do, a, w: do(a, w.group, [w.server], "443")),
    "servicegroups.set_member": (NETWORK, lambda do, a, w: do(a, w.group, w.server, "443", {"weight": 2})),
    "servicegroups.unbind_member": (NETWORK, lambda do, a, w: do(a, w.group, w.server)),
    "servicegroups.bind_monitor": (NETWORK, lambda do, a, w: do(a, w.group, w.monitor)),
    "servicegroups.set_monitor_binding": (NETWORK, lambda do, a, w: do(a, w.group, w.monitor, weight=2)),
    "servicegroups.unbind_monitor": (NETWORK, lambda do, a, w: do(a, w.group, w.monitor)),
    "servicegroups.bind_to_vserver": (NETWORK, lambda do, a, w: do(a, w.vserver, w.group)),
    "servicegroups.unbind_from_vserver": (NETWORK, lambda do, a, w: do(a, w.vserver, w.group)),
    "vservers.create": (NETWORK, lambda do, a, _w: do(a, {"name": "v9", "address": "10.77.0.90"})),
    "vservers.update": (NETWORK, lambda do, a, w: do(a, w.vserver, {"comment": "x"})),
    "vservers.enable": (NETWORK, lambda do, a, w: do(a, w.vserver)),
    "vservers.disable": (NETWORK, lambda do, a, w: do(a, w.vserver)),
    "vservers.delete": (NETWORK, lambda do, a, w: do(a, w.vserver)),
    "vservers.bind_service": (NETWORK, lambda do, a, w: do(a, w.vserver, w.service)),
    "vservers.set_weight": (NETWORK, lambda do, a, w: do(a, w.vserver, w.service, 3)),
    "vservers.set_weights": (NETWORK, lambda do, a, w: do(a, w.vserver, {w.service.name: 3})),
    "clearing.clear": (NETWORK, lambda do, a, _w: do(a)),
    "wizard.make": (NETWORK, lambda do, a, w: do(a, Order({"name": "v8", "address": "10.77.0.91"}, [w.server]))),
    "vservers.unbind_service": (NETWORK, lambda do, a, w: do(a, w.vserver, w.service)),
    "monitors.create": (NETWORK, lambda do, a, _w: do(a, {"name": "m9", "monitor_type": "PING"})),
    "monitors.update": (NETWORK, lambda do, a, w: do(a, w.monitor, {"interval": 9})),
    "monitors.enable": (NETWORK, lambda do, a, w: do(a, w.monitor)),
    "monitors.disable": (NETWORK, lambda do, a, w: do(a, w.monitor)),
    "monitors.delete": (NETWORK, lambda do, a, w: do(a, w.monitor)),
    "eventtargets.create": (
        NETWORK,
        lambda do, a, _w: do(a, {"name": "e9", "target_type": "SYSLOG", "host": "log.example"}),
    ),
    "eventtargets.update": (NETWORK, lambda do, a, w: do(a, w.target, {"host": "other.example"})),
    "eventtargets.enable": (NETWORK, lambda do, a, w: do(a, w.target)),
    "eventtargets.disable": (NETWORK, lambda do, a, w: do(a, w.target)),
    "eventtargets.delete": (NETWORK, lambda do, a, w: do(a, w.target)),
    "eventtargets.send_test": (NETWORK, lambda do, a, w: do(a, w.target)),
    "leaving.enable": (OPERATORS, lambda do, a, w: do(a, w.service)),
    "leaving.disable": (OPERATORS, lambda do, a, w: do(a, w.server)),
    "renaming.rename": (NETWORK, lambda do, a, w: do(a, w.server, "renamed")),
    "installation.update": (NETWORK, lambda do, a, _w: do(a, {"ttl_rule": True})),
    "flow_watch.renew": (NETWORK, lambda do, a, w: do(a, w.vserver)),
    "probing.choose": (NETWORK, lambda do, a, w: do(a, w.monitor, w.service)),
    "probing.start": (NETWORK, lambda do, a, w: do(a, w.monitor, w.service, "192.0.2.99")),
    "probing.preview_of": (NETWORK, lambda do, a, w: do(a, None, w.service, w.monitor, 1)),
    "revisions.rollback": (NETWORK, lambda do, a, _w: do(a, 1)),
    "revisions.save": (NETWORK, lambda do, a, _w: do(a)),
    "revisions.begin_trial": (NETWORK, lambda do, a, _w: do(a, 5)),
    "revisions.confirm": (NETWORK, lambda do, a, _w: do(a)),
    "revisions.end_trial": (NETWORK, lambda do, a, _w: do(a)),
    "users.create": (SUPERUSER, lambda do, a, _w: do(a, {"username": "new", "password": "", "role": ""})),
    "users.set_role": (SUPERUSER, lambda do, a, w: do(a, w.user, "network")),
    "users.set_password": (SUPERUSER, lambda do, a, w: do(a, w.user, "correct horse battery")),
    "users.enable": (SUPERUSER, lambda do, a, w: do(a, w.user)),
    "users.disable": (SUPERUSER, lambda do, a, w: do(a, w.user)),
    "users.delete": (SUPERUSER, lambda do, a, w: do(a, w.user)),
    "users.reset_second_factor": (SUPERUSER, lambda do, a, w: do(a, w.user)),
    "users.unlock": (SUPERUSER, lambda do, a, w: do(a, w.user)),
    "users.revoke_token": (SUPERUSER, lambda do, a, w: do(a, ApiToken(user=w.user, pk=0))),
    "users.end_sessions": (SUPERUSER, lambda do, a, w: do(a, w.user)),
    "users.require": (SUPERUSER, lambda do, a, _w: do(a, "look at")),
    "account.change_password": (EVERYONE, lambda do, a, _w: do(a, "wrong", "x")),
    "account.begin_second_factor": (EVERYONE, lambda do, a, _w: do(a)),
    "account.confirm_second_factor": (EVERYONE, lambda do, a, _w: do(a, "000000")),
    "account.verify_second_factor": (EVERYONE, lambda do, a, _w: do(a, "000000")),
    "account.remove_second_factor": (EVERYONE, lambda do, a, _w: do(a, "000000")),
    "account.new_recovery_codes": (EVERYONE, lambda do, a, _w: do(a, "000000")),
    "account.make_token": (EVERYONE, lambda do, a, _w: do(a, {"name": "t", "scope": "read-only", "days": 1})),
    "account.revoke_token": (EVERYONE, lambda do, a, w: do(a, ApiToken(user=w.user))),
    "account.end_session": (EVERYONE, lambda do, a, _w: do(a, 0)),
    "account.end_other_sessions": (EVERYONE, lambda do, a, _w: do(a, None)),
}
# Parts of others, whose permission was checked: they never ask.
PARTS = {"services.require_server", "users.mark_revoked", "probing.requester_of"}


def actions() -> dict[str, Callable[..., Any]]:
    """Every public function of the action modules whose first argument is an actor."""
    found: dict[str, Callable[..., Any]] = {}
    for info in pkgutil.iter_modules(webui.actions.__path__):
        if info.name == "base":
            continue
        module = import_module(f"webui.actions.{info.name}")
        for name, one in inspect.getmembers(module, inspect.isfunction):
            first = next(iter(inspect.signature(one).parameters), "")
            if one.__module__ == module.__name__ and not name.startswith("_") and first == "actor":
                found[f"{info.name}.{name}"] = one
    return found


def somebody(role: str) -> User:
    return factories.stranger() if role == "none" else factories.of_role(role)


def test_every_action_has_an_entry_in_the_table() -> None:
    assert actions().keys() - PARTS == ACTIONS.keys()


@pytest.mark.parametrize("role", EVERYONE)
@pytest.mark.parametrize("name", sorted(ACTIONS))
def test_a_role_may_what_the_table_says(name: str, role: str) -> None:
    allowed, call = ACTIONS[name]
    world = World()
    actor = factories.actor(somebody(role))
    before = AuditEntry.objects.filter(verb="refuse").count()
    if role in allowed:
        try:
            call(actions()[name], actor, world)
        except PermissionRefused:
            pytest.fail(f"{role} was refused {name}")
        except (ValidationError, NotFoundError, AttributeError):
            pass  # the permission was there; what is wanted here makes no sense, or there is nobody to do it
    else:
        with pytest.raises(PermissionRefused, match="may not"):
            call(actions()[name], actor, world)
        assert AuditEntry.objects.filter(verb="refuse").count() == before + 1


@pytest.mark.parametrize("scope", [role.value for role in Role])
def test_a_token_may_what_both_its_user_and_its_scope_may(scope: str) -> None:
    world = World()
    for role in EVERYONE:
        user = somebody(role)
        actor = Actor(user, Interface.API, scope=scope, token="t")
        for permission in ("webui.view_server", "webui.enable_service", "webui.change_vserver", "webui.manage_users"):
            both = user.has_perm(permission) and roles.grants(scope, permission)
            assert actor.may(permission) == both, (role, scope, permission)
        with pytest.raises(PermissionRefused, match="token"):
            ACTIONS["account.make_token"][1](actions()["account.make_token"], actor, world)


def _kwargs(pattern: Any, world: World) -> dict[str, Any]:
    given = {"kind": "servers", "pk": world.server.pk, "name": "concepts", "token": "x", "ticket": "t"}
    given |= {"monitor_pk": world.monitor.pk, "service_pk": world.service.pk, "token_pk": 1, "number": 1}
    if pattern.name == "bulk-result":
        given["token"] = "00000000-0000-0000-0000-000000000000"
    given["group_pk"] = world.group.pk
    by_path = {
        "servicegroups/": world.group.pk,
        "services/": world.service.pk,
        "vservers/": world.vserver.pk,
        "monitors/": world.monitor.pk,
        "eventtargets/": world.target.pk,
        "users/": world.user.pk,
    }
    for start, pk in by_path.items():
        if str(pattern.pattern).startswith(start):
            given["pk"] = pk
    return {name: given[name] for name in pattern.pattern.converters}


PATTERNS: dict[str, Any] = {
    str(one.name): one for one in get_resolver().url_patterns if isinstance(one, URLPattern) and one.name
}
PUBLIC = {"login", "healthz", "metrics"}
OF_SUPERUSERS = {name for name, rule in access.PAGES.items() if rule == roles.MANAGE_USERS}


def test_every_address_has_a_rule() -> None:
    missing = PATTERNS.keys() - PUBLIC - access.PAGES.keys()
    assert not missing, f"webui/access.py, PAGES, does not say who may see {sorted(missing)}"
    assert access.PAGES.keys() <= PATTERNS.keys()


@pytest.mark.parametrize("role", EVERYONE)
def test_a_role_sees_the_pages_that_it_may(role: str, client: Client) -> None:
    world = World()
    for name, pattern in PATTERNS.items():
        if name in PUBLIC | {"logout"}:
            continue
        client.force_login(
            User.objects.filter(username="stranger" if role == "none" else role).first() or somebody(role)
        )
        # OPTIONS reaches no view that changes or reads anything, but the rule is asked all the same.
        status = client.options(reverse(name, kwargs=_kwargs(pattern, world))).status_code
        rule = access.PAGES[name]
        if rule == access.OWN:
            allowed = True
        elif rule in {"webui.rollback_installation", "webui.add_vserver"}:
            allowed = role in NETWORK
        elif name in OF_SUPERUSERS or rule in {roles.VIEW_AUDIT, roles.EXPORT_CONFIGURATION}:
            allowed = role == "superuser"
        else:
            allowed = role != "none"
        assert (status != 403) == allowed, (name, role, status)


def test_a_refused_page_says_why_and_is_recorded(client: Client) -> None:
    client.force_login(factories.stranger())
    answer = client.get("/servers/")
    assert answer.status_code == 403
    assert "has no role" in answer.content.decode()
    assert "webui.view_server" in answer.content.decode()
    entry = AuditEntry.objects.get(verb="refuse", kind="page")
    assert (entry.actor_name, entry.object_name) == ("stranger", "/servers/")
    client.force_login(factories.of_role("network"))
    assert "Your role does not allow" in client.get("/users/").content.decode()


def test_an_operator_has_the_buttons_that_it_may_use(client: Client) -> None:
    world = World()
    client.force_login(factories.of_role("operator"))
    page = client.get(f"/services/{world.service.pk}/").content.decode()
    assert ">Disable …<" in page
    assert "Disable after" in page
    assert ">Edit<" not in page
    assert "Latest changes" not in page, "who did what is for those who may see the audit"
    assert ">Disable …<" not in client.get(f"/vservers/{world.vserver.pk}/").content.decode()
    assert client.get(f"/services/{world.service.pk}/disable/").status_code == 200
    assert client.get(f"/vservers/{world.vserver.pk}/disable/").status_code == 403
    assert client.post(f"/services/{world.service.pk}/disable/").status_code == 302
    assert Service.objects.get().state == "DISABLED"
    refused = client.post(f"/vservers/{world.vserver.pk}/disable/", follow=True).content.decode()
    assert "webui.enable_vserver is missing" in refused
    assert VServer.objects.get().state == "ENABLED"


def test_groups_follow_the_table() -> None:
    from django.contrib.auth.models import Group, Permission  # noqa: PLC0415

    group = Group.objects.get(name="read-only")
    group.permissions.add(Permission.objects.get(codename="delete_server"))
    Group.objects.get(name="network").delete()
    roles.make_groups()
    for role, wanted in roles.TABLE.items():
        names = Group.objects.get(name=role).permissions.values_list("codename", flat=True)
        assert {f"webui.{name}" for name in names} == wanted, "a permission of the table is missing in the models"
    assert [str(role) for role in Role] == list(settings.ROLES)
    assert {one._meta.model_name for one in (Server, Service, ServiceGroup, VServer, Monitor, EventTarget)} == set(
        roles.KINDS
    )
