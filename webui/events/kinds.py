"""The kinds of targets by name."""

from __future__ import annotations

from events import mail, syslog, webhook
from events.kind import TargetKind

KINDS: dict[str, TargetKind] = {kind.name: kind for kind in (syslog.KIND, mail.KIND, webhook.KIND)}
