"""The kinds of targets by name."""

from __future__ import annotations

from webui.events import mail, syslog, webhook
from webui.events.kind import TargetKind

KINDS: dict[str, TargetKind] = {kind.name: kind for kind in (syslog.KIND, mail.KIND, webhook.KIND)}
