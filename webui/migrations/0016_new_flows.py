from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("webui", "0015_revisions")]

    operations = [
        migrations.AddField(
            model_name="directorevent",
            name="key",
            field=models.CharField(blank=True, help_text="Of an alarm: which one, as in Alarm.", max_length=64),
        ),
    ]
