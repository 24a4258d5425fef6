from webui.models.audit import AuditEntry, Installation
from webui.models.dataplane import DataplaneStatus, DirectorCounters, DirectorEvent, ServerPath
from webui.models.health import CheckLease, HealthState, HealthTransition, ProbeTarget
from webui.models.monitor import Monitor
from webui.models.server import Server
from webui.models.service import Service, ServiceMonitorBinding
from webui.models.vserver import VServer, VServerServiceBinding

__all__ = [
    "AuditEntry",
    "CheckLease",
    "DataplaneStatus",
    "DirectorCounters",
    "DirectorEvent",
    "HealthState",
    "HealthTransition",
    "Installation",
    "Monitor",
    "ProbeTarget",
    "Server",
    "ServerPath",
    "Service",
    "ServiceMonitorBinding",
    "VServer",
    "VServerServiceBinding",
]
