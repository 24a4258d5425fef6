#!/bin/sh
# A server of the lab: the VIP on its loopback interface, and HTTP that says who answers.
set -eu
ip address replace "$VIP/32" dev lo
python3 -c 'from pathlib import Path; from dataplane.lab.server import write_files; write_files(Path("/tmp"))'
exec python3 -m dataplane.lab.server --name "$1" --files /tmp
