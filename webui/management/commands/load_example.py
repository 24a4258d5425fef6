from __future__ import annotations

import argparse
from typing import Any

from django.core.management.base import BaseCommand
from django.db import transaction

from webui.actions import monitors, servers, services, vservers
from webui.actions.base import Actor, lock_installation
from webui.models import Monitor, Server, Service, VServer

PREFIX = "10.77.0"  # of the lab's network
SERVERS = (11, 12, 13)
VIP = 10
# One failed check is enough here, on a network that loses nothing: clients of a server that lost its VIP are served
# again within one check interval. NetScaler's default, three failures in a row, suits real networks better.
TIMING = {"interval": 5, "resp_timeout": 1, "retries": 1, "down_time": 5}
MONITORS: tuple[dict[str, Any], ...] = (
    {"name": "ping", "monitor_type": "PING"} | TIMING,
    {"name": "tcp-80", "monitor_type": "TCP", "dest_port": 80} | TIMING,
)


class Command(BaseCommand):
    help = "Fill an empty configuration with the example: one virtual server, three servers, two monitors."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--prefix", default=PREFIX, help="first three numbers of the servers' network, a /24")

    def handle(self, *_args: Any, prefix: str, **_options: Any) -> None:
        with transaction.atomic():
            lock_installation()  # two first starts at once: the second one waits, then finds the rows
            if _anything_configured():
                self.stdout.write("There is a configuration already; it is left alone.")
                return
            load(Actor.system("load_example"), prefix)
        self.stdout.write(f"Loaded the example: vserver_DSR at {prefix}.{VIP} with {len(SERVERS)} servers.")


def _anything_configured() -> bool:
    own_monitors = Monitor.objects.filter(built_in=False)
    return any(rows.exists() for rows in (Server.objects, Service.objects, VServer.objects, own_monitors))


def load(actor: Actor, prefix: str = PREFIX) -> None:
    """Make the example's objects, by the same actions as everyone, in the /24 that begins with ``prefix``."""
    checks = [monitors.create(actor, values) for values in MONITORS]
    vserver = vservers.create(
        actor,
        {
            "name": "vserver_DSR",
            "service_type": "ANY",
            "address": f"{prefix}.{VIP}",
            "port": "*",
            "lb_method": "SOURCEIPHASH",
            "mode": "MAC",
            "sessionless": "ENABLED",
        },
    )
    for number, host in enumerate(SERVERS, start=1):
        servers.create(actor, {"name": f"Server{number}", "address": f"{prefix}.{host}"})
        name = f"service_Server{number}_ANY"
        values = {"name": name, "server": f"Server{number}", "service_type": "ANY", "port": "*", "usip": "YES"}
        service = services.create(actor, values)
        for monitor in checks:
            services.bind_monitor(actor, service, monitor)
        vservers.bind_service(actor, vserver, service)
