"""Users and configuration for tests. Rows are made by the actions, so they obey every rule."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import Group, Permission, User

from webui.actions import monitors, servers, services, vservers
from webui.actions.base import Actor
from webui.choices import Interface, Role
from webui.models import Monitor, Server, Service, VServer

SYSTEM = Actor.system("tests")


def owner() -> User:
    """A superuser: may do everything."""
    return User.objects.create_superuser("owner", password="owner's password")


def member() -> User:
    """May look and change the configuration, but neither add nor delete."""
    user = User.objects.create_user("member", password="member's password")
    user.groups.set(Group.objects.filter(name=Role.READ_ONLY))
    names = [f"change_{kind}" for kind in ("server", "service", "vserver", "monitor")]
    user.user_permissions.set(Permission.objects.filter(content_type__app_label="webui", codename__in=names))
    return user


def outsider() -> User:
    """May look, and change nothing: the role read-only."""
    return of_role(Role.READ_ONLY, "outsider")


def stranger() -> User:
    """Has an account and no role."""
    return User.objects.create_user("stranger", password="stranger's password")


def of_role(role: str, name: str = "") -> User:
    """Somebody of a role, named after it."""
    user = User.objects.create_user(name or role, password=f"{name or role}'s password")
    user.is_superuser = role == Role.SUPERUSER
    user.save()
    user.groups.set(Group.objects.filter(name=role))
    return user


def actor(user: User, interface: str = Interface.PAGE) -> Actor:
    """The user on a page, from a fixed address."""
    return Actor(user=user, interface=interface, source_address="192.0.2.7")


def server(number: int = 1, **values: Any) -> Server:
    """Server*n* at 10.77.0.(10 + n)."""
    return servers.create(SYSTEM, {"name": f"Server{number}", "address": f"10.77.0.{10 + number}"} | values)


def service(of: Server | None = None, **values: Any) -> Service:
    """service_<server>_ANY: ANY on every port; values may change type, port and name."""
    of = of or server()
    kind = values.get("service_type", "ANY")
    given = {"name": f"service_{of.name}_{kind}", "server": of, "service_type": kind} | values
    return services.create(SYSTEM, given)


def vserver(*bound: Service, **values: Any) -> VServer:
    """vserver_DSR: ANY at 10.77.0.10, port *; with these services bound."""
    made = vservers.create(SYSTEM, {"name": "vserver_DSR", "address": "10.77.0.10"} | values)
    for one in bound:
        vservers.bind_service(SYSTEM, made, one)
    made.refresh_from_db()
    return made


def monitor(name: str = "tcp-80", **values: Any) -> Monitor:
    """A TCP monitor of port 80, every 2 s with 1 s to answer."""
    given = {"monitor_type": "TCP", "dest_port": 80, "interval": 2, "resp_timeout": 1, "down_time": 2}
    if values.get("monitor_type") == "PING":
        del given["dest_port"]
    return monitors.create(SYSTEM, {"name": name} | given | values)
