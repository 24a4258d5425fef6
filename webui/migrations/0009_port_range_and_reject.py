
import django.core.validators
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('webui', '0008_flow_watch'),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name='vserver',
            name='vserver_endpoint_unique',
        ),
        migrations.AddField(
            model_name='vserver',
            name='port_end',
            field=models.PositiveIntegerField(default=0, help_text='Of a range; 0: none.', validators=[django.core.validators.MaxValueValidator(65535)], verbose_name='last port'),
        ),
        migrations.AddField(
            model_name='vserver',
            name='when_down',
            field=models.CharField(choices=[('DROP', 'dropped: clients try again until they give up'), ('REJECT', 'rejected: clients are told at once')], default='DROP', help_text='Rejected: TCP by a reset, also of connections that are there; the rest by ICMP unreachable.', max_length=6, verbose_name='when no service can take clients'),
        ),
        migrations.AddConstraint(
            model_name='vserver',
            constraint=models.UniqueConstraint(fields=('address', 'service_type', 'port', 'port_end'), name='vserver_endpoint_unique'),
        ),
    ]
