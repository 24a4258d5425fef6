#!/bin/bash
# Run a command with a Docker daemon, Compose and the base images at hand: with-docker.sh [--keep] COMMAND...
# A daemon that this script had to start is stopped again afterwards, and its traces on the network removed, unless
# --keep is given. Ends with 77 and the reason in a sentence where Docker cannot run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export PATH="$PATH:/usr/sbin:/sbin"
INSTALL=dataplane/lab/install-packages.sh
STAND_INS=${STAND_INS:-../shared/docker-stand-ins/make-base-images} # makes the base images where no registry answers
IMAGES=(debian:bookworm-slim python:3.11-slim-bookworm redis:7 postgres:15)
CANNOT=77

keep=0
if [ "${1:-}" = --keep ]; then keep=1; shift; fi

cannot() {
	echo "Docker cannot run here: $*" >&2
	exit "$CANNOT"
}

answers() { docker info >/dev/null 2>&1; }
has_compose() { command -v docker-compose >/dev/null || docker compose version >/dev/null 2>&1; }

# Whoever has Docker from elsewhere keeps it: Debian's packages would take its place.
wanted=()
command -v docker >/dev/null || wanted+=(docker.io)
if ! answers && ! command -v dockerd >/dev/null; then wanted+=(docker.io); fi
has_compose || wanted+=(docker-compose)
command -v iptables >/dev/null || wanted+=(iptables)
if [ ${#wanted[@]} -gt 0 ]; then "$INSTALL" "${wanted[@]}" || cannot "its packages could not be installed."; fi

log=$(mktemp)
daemon=
policy=
forwarding=

stop_daemon() {
	rm -f "$log"
	[ -n "$daemon" ] && [ $keep -eq 0 ] || return 0
	kill "$daemon" 2>/dev/null || true
	wait "$daemon" 2>/dev/null || true
	# The daemon leaves a mount, its bridge, its rules and its setting of ip_forward.
	umount /run/docker/netns/default 2>/dev/null || true
	ip link delete docker0 2>/dev/null || true
	for table in nat filter; do
		iptables-save -t $table | grep -vi docker | sed "s/^:FORWARD DROP /:FORWARD $policy /" | iptables-restore -T $table || true
	done
	echo "$forwarding" >/proc/sys/net/ipv4/ip_forward || true
}
trap stop_daemon EXIT
trap 'exit 130' INT TERM HUP

if ! answers; then
	[ "$(id -u)" -eq 0 ] || cannot "no daemon answers, and starting one needs root."
	if [ -d /run/systemd/system ]; then
		systemctl start docker || cannot "systemctl could not start it; see journalctl -u docker."
	else
		policy=$(iptables -S FORWARD | awk '$1 == "-P" { print $3 }')
		forwarding=$(</proc/sys/net/ipv4/ip_forward)
		setsid dockerd >"$log" 2>&1 </dev/null &
		daemon=$!
	fi
	for _ in $(seq 60); do
		answers && break
		if [ -n "$daemon" ] && ! kill -0 "$daemon" 2>/dev/null; then break; fi
		sleep 1
	done
	answers || cannot "its daemon does not answer: $(tail -n 1 "$log")"
fi

missing=()
for image in "${IMAGES[@]}"; do
	docker image inspect "$image" >/dev/null 2>&1 || timeout 300 docker pull --quiet "$image" >/dev/null 2>&1 || missing+=("$image")
done
if [ ${#missing[@]} -gt 0 ]; then
	[ -x "$STAND_INS" ] || cannot "no registry gives ${missing[*]}."
	echo "No registry gives ${missing[*]}: making them with $STAND_INS"
	DOCKER=$(command -v docker) "$STAND_INS" debian python redis postgres || cannot "the base images could not be made."
fi

status=0
"$@" || status=$?
exit "$status"
