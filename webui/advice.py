"""What is allowed and yet may not be meant: warnings on an object's page. Pure: works on rows that were read."""

from __future__ import annotations

from collections.abc import Sequence

from webui.choices import TURNS, ConnFailover, LbMethod, OnOff, Persistence, ServiceType
from webui.models import VServer


def vserver_warnings(vserver: VServer, unchecked: Sequence[str]) -> list[str]:
    """Sentences about a vserver's options; ``unchecked`` are names of its services without health checks."""
    sessionless = vserver.sessionless == OnOff.ENABLED
    method = vserver.get_lb_method_display()
    told = []
    if (
        sessionless
        and vserver.lb_method in TURNS
        and vserver.persistence_type == Persistence.NONE
        and vserver.service_type != ServiceType.UDP
    ):
        told.append(
            f"{method}, sessionless and without persistence: each packet goes to the next service, so a TCP connection "
            "is split over the servers and breaks. Set sessionless to DISABLED, or use a hash method."
        )
    if vserver.conn_failover == ConnFailover.STATELESS and not sessionless:
        told.append(
            "Connection failover STATELESS with sessionless DISABLED: another director knows no flows. Those that are "
            "not where the hash puts them now, since services came and went, break when it takes over."
        )
    if vserver.lb_method == LbMethod.LRTM and unchecked:
        told.append(f"{method}: not checked, and so taken for average: {', '.join(unchecked)}.")
    return told
