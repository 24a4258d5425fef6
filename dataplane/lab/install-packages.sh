#!/bin/bash
# Install the Debian packages named as arguments, without starting or enabling any service of theirs.
# Does nothing, and needs neither root nor a network, when all of them are installed.
set -euo pipefail
export LC_ALL=C DEBIAN_FRONTEND=noninteractive PATH="$PATH:/usr/sbin:/sbin"
POLICY=${POLICY_RC_D:-/usr/sbin/policy-rc.d} # another path for tests alone
MARK='made by halfpipe install-packages'

installed() { dpkg-query --show --showformat '${Package} ${db:Status-Status}\n' | sed -n 's/ installed$//p' | sort -u; }

have=$(installed)
missing=()
for package in "$@"; do
	grep -qxF -- "$package" <<<"$have" || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

if [ "$(id -u)" -ne 0 ]; then
	echo "Packages are missing: ${missing[*]}. Installing them needs root: run 'sudo make ...', or 'apt-get install ${missing[*]}'." >&2
	exit 1
fi

undo() {
	if grep -qsF "$MARK" "$POLICY"; then rm -f "$POLICY"; fi
}
trap undo EXIT
trap 'exit 130' INT TERM HUP
undo # what an interrupted run may have left
if [ ! -e "$POLICY" ]; then
	# invoke-rc.d asks this program; 101 means "action forbidden" (see invoke-rc.d(8)).
	printf '#!/bin/sh\n# %s\nexit 101\n' "$MARK" >"$POLICY"
	chmod 755 "$POLICY"
fi

echo "Installing ${missing[*]}"
apt-get -q -o DPkg::Lock::Timeout=120 update
apt-get -q -y -o DPkg::Lock::Timeout=120 -o Dpkg::Use-Pty=0 install --no-install-recommends "${missing[@]}"

# Services of what is new would start with the next boot: the lab runs its own.
command -v systemctl >/dev/null || exit 0
comm -13 <(echo "$have") <(installed) | while read -r package; do
	{ dpkg-query --listfiles "$package" || true; } |
		sed -nE 's#^(/usr)?/lib/systemd/system/([^/@]+\.(service|socket|timer))$#\2#p; s#^/etc/init\.d/([^/]+)$#\1.service#p' |
		sort -u | while read -r unit; do
		systemctl disable "$unit" >/dev/null 2>&1 || echo "Note: systemctl could not disable $unit." >&2
	done
done
