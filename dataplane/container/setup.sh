#!/bin/sh
# Bring the database up to date and make the first user.
set -eu
python manage.py migrate --no-input --verbosity 0
python manage.py ensure_admin --password-file /var/lib/halfpipe/secrets/admin-password
