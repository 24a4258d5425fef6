from webui.models.access import AccessEdition, ApiToken, GivenPassword, LoginSession, SecondFactor
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
from webui.models.servicegroup import (
    ServiceGroup,
    ServiceGroupMember,
    ServiceGroupMonitorBinding,
    VServerServiceGroupBinding,
)
from webui.models.vserver import VServer, VServerServiceBinding
from webui.models.watch import FlowWatch

__all__ = [
    "AccessEdition",
    "Alarm",
    "ApiToken",
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
    "GivenPassword",
    "HealthState",
    "HealthTransition",
    "Installation",
    "LoginSession",
    "MetricBlock",
    "MetricCursor",
    "Monitor",
    "PendingConfirmation",
    "ProbeTarget",
    "RevisionRow",
    "SecondFactor",
    "Server",
    "ServerPath",
    "Service",
    "ServiceGroup",
    "ServiceGroupMember",
    "ServiceGroupMonitorBinding",
    "ServiceMonitorBinding",
    "Sparklines",
    "VServer",
    "VServerServiceBinding",
    "VServerServiceGroupBinding",
]
