from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('webui', '0010_metrics'),
    ]

    operations = [
        migrations.AddField(
            model_name='flowwatch',
            name='frames_until',
            field=models.DateTimeField(null=True),
        ),
    ]
