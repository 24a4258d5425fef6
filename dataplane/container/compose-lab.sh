#!/bin/bash
# Build and start the lab in containers, and tell how to get in; `compose-lab.sh down` takes all of it away.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
compose() {
	if command -v docker-compose >/dev/null; then docker-compose --profile lab "$@"; else docker compose --profile lab "$@"; fi
}
if [ "${1:-up}" = down ]; then
	compose down --volumes --remove-orphans
	exit
fi
compose build
compose up --detach || {
	compose logs --no-color settings setup
	echo "The lab did not start; what is above may tell why." >&2
	exit 1
}
compose logs --no-color --follow example | sed -un 's/^[^|]*| \?//p'
