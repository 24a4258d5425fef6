#!/bin/sh
# Load the lab's example, wait until its virtual server has clients served, and tell how to get in.
set -eu
python manage.py load_example --prefix "$LAB_PREFIX"
status=0
python manage.py halfpipe_status --wait-applied 60 || status=$?
echo
echo "Console:  $CONSOLE"
echo "User:     admin, password $(cat /var/lib/halfpipe/secrets/admin-password)"
echo "Try:      docker-compose exec client curl http://$LAB_PREFIX.10/"
echo "Stop:     docker-compose --profile lab down --volumes"
[ "$status" -ne 0 ] || echo ready
exit "$status"
