from __future__ import annotations

from django.apps import AppConfig


class WebuiConfig(AppConfig):
    name = "webui"
    verbose_name = "Halfpipe"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register start-up checks."""
        from webui import checks  # noqa: F401, PLC0415 - registration needs the loaded settings
