"""Who serves a virtual server's clients when some of its services are no more."""

from __future__ import annotations

from collections.abc import Collection

from webui.backups import chain
from webui.choices import AdminState
from webui.effective import sessionless, takes_clients
from webui.models import VServerServiceBinding
from webui.world import World


def left(world: World, binding: VServerServiceBinding, gone: Collection[int]) -> tuple[list[str], str]:
    """Who serves a binding's vserver when the services in ``gone`` are no more: its own, or else of which backup."""
    vserver = binding.vserver
    keeps_no_flows = sessionless(vserver)
    for pk in (vserver.pk, *chain(vserver.pk, world.backup_of)):
        owner = world.vservers[pk]
        names = [
            bound.service.name
            for bound in world.bindings_of_vserver[pk]
            if bound.service_id not in gone
            and owner.state == AdminState.ENABLED
            and takes_clients(world.verdicts(vserver, owner)[bound.service_id], keeps_no_flows=keeps_no_flows)
        ]
        if names:
            return names, "" if pk == vserver.pk else f" of its backup {owner.name}"
    return [], ""
