from __future__ import annotations

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class WebuiConfig(AppConfig):
    """The console and the configuration."""

    name = "webui"
    verbose_name = "Halfpipe"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register start-up checks, the audit of logins, and the rows every installation has."""
        from webui import checks, journal, signals  # noqa: F401, PLC0415 - registration needs the loaded settings
        from webui.audit.after_migrate import keep_append_only  # noqa: PLC0415 - as above
        from webui.builtin import make_built_in_rows  # noqa: PLC0415 - as above

        journal.listen()
        post_migrate.connect(make_built_in_rows, sender=self, dispatch_uid="built-in-rows")
        post_migrate.connect(keep_append_only, sender=self, dispatch_uid="audit-triggers")
