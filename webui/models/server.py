"""A server: one machine that carries VIPs on its loopback."""

from __future__ import annotations

from ipaddress import ip_address

from django.db import models
from django.db.models.functions import Lower

from webui.models.addresses import check_address
from webui.models.fields import Problems, check_name, object_name_validator, twin_name
from webui.models.leaving import Leaving


class Server(Leaving):
    """A machine on the director's segment, known by its own address (never by a VIP)."""

    finds_twins = True

    name = models.CharField(max_length=127, validators=[object_name_validator])
    address = models.GenericIPAddressField(unique=True, help_text="The server's own address, not the VIP.")
    comment = models.CharField(max_length=255, blank=True)

    class Meta:
        ordering = ["name"]
        permissions = [("enable_server", "Can enable and disable servers")]
        constraints = [models.UniqueConstraint(Lower("name"), name="server_name_unique")]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        """Rules of the name and the address."""
        problems = Problems()
        if self.usable("name"):
            check_name(self, problems, digit_first=_is_address(self.name))
        if self.usable("address"):
            self._check_address(problems)
        problems.tell()

    def _check_address(self, problems: Problems) -> None:
        from webui.models.vserver import VServer  # noqa: PLC0415 - the two look at each other

        if self.usable("name") and _is_address(self.name) and ip_address(self.name) != ip_address(self.address):
            problems["name"].append(f"“{self.name}” is an address, but not this server's, which is {self.address}.")
        old = self.stored()
        if old is not None and old.address == self.address:
            return
        check_address(self.address, "server", problems)
        other = twin_name(Server.objects.filter(address=self.address).exclude(pk=self.pk))
        if other is not None:
            problems["address"].append(f"{self.address} is the address of server “{other}” already.")
        vserver = twin_name(VServer.objects.filter(address=self.address))
        if vserver is not None:
            problems["address"].append(
                f"{self.address} is the VIP of vserver “{vserver}”; a server is known by its own address, "
                "at which it answers ARP or neighbour discovery."
            )


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
