"""Checks are leased in parts, not one by one: what claimed single rows goes."""

from __future__ import annotations

from django.db import migrations, models

import webui.models.health


class Migration(migrations.Migration):
    dependencies = [("webui", "0005_monitor_parameters")]

    operations = [
        migrations.CreateModel(
            name="CheckLease",
            fields=[
                ("shard", models.PositiveSmallIntegerField(primary_key=True, serialize=False)),
                (
                    "owner",
                    models.CharField(
                        blank=True, help_text="Worker that runs these checks; empty: nobody.", max_length=64
                    ),
                ),
                ("beats", models.PositiveBigIntegerField(default=0)),
                (
                    "wanted_by",
                    models.CharField(blank=True, help_text="Worker with less to do that asks for it.", max_length=64),
                ),
                (
                    "renewed_at",
                    models.DateTimeField(
                        help_text="When the owner last said so; for people, not for owners.", null=True
                    ),
                ),
            ],
        ),
        migrations.RemoveIndex(model_name="healthstate", name="health_due"),
        migrations.RemoveField(model_name="healthstate", name="due_at"),
        migrations.RemoveField(model_name="healthstate", name="claimed_until"),
        migrations.AddField(
            model_name="healthstate",
            name="edition",
            field=models.PositiveBigIntegerField(
                default=webui.models.health.new_edition,
                help_text="Counts on when what was found so far no longer counts.",
            ),
        ),
    ]
