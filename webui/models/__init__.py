from webui.models.alarm import Alarm
from webui.models.audit import AuditArchive, AuditEntry, AuditHead, Installation
from webui.models.dataplane import DataplaneStatus, DirectorCounters, DirectorEvent, ServerPath
from webui.models.event import EventDelivery, EventTarget
from webui.models.health import CheckLease, HealthState, HealthTransition, ProbeTarget
from webui.models.metrics import MetricBlock, MetricCursor, Sparklines
from webui.models.monitor import Monitor
from webui.models.revision import ConfigurationRevision, PendingConfirmation, RevisionRow
from webui.models.server import Server
from webui.models.service import Service, ServiceMonitorBinding
from webui.models.vserver import VServer, VServerServiceBinding
from webui.models.watch import FlowWatch

__all__ = [
    "Alarm",
    "AuditArchive",
    "AuditEntry",
    "AuditHead",
    "CheckLease",
    "ConfigurationRevision",
    "DataplaneStatus",
    "DirectorCounters",
    "DirectorEvent",
    "EventDelivery",
    "EventTarget",
    "FlowWatch",
    "HealthState",
    "HealthTransition",
    "Installation",
    "MetricBlock",
    "MetricCursor",
    "Monitor",
    "PendingConfirmation",
    "ProbeTarget",
    "RevisionRow",
    "Server",
    "ServerPath",
    "Service",
    "ServiceMonitorBinding",
    "Sparklines",
    "VServer",
    "VServerServiceBinding",
]
