#!/bin/sh
# Install apt.txt without starting the services that some of its packages bring. Needs root; changes nothing else.
set -eu
cd "$(dirname "$0")/.."
packages=$(sed -e 's/#.*//' apt.txt | tr -s ' \n' ' ')
missing=$(for p in $packages; do dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q '^install ok installed' || printf '%s ' "$p"; done)
if [ -z "$missing" ]; then
    echo "make system: everything in apt.txt is installed"
    exit 0
fi
if ! command -v apt-get >/dev/null; then
    echo "make system: this is no Debian system; install by its own means: $missing" >&2
    exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
    echo "make system: root is needed to install: $missing(try: sudo make system)" >&2
    exit 1
fi
# policy-rc.d is how Debian's maintainer scripts are told to start nothing (invoke-rc.d(8)); an existing one is kept.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' > "$policy"
    chmod 755 "$policy"
    trap 'rm -f "$policy"' EXIT INT TERM HUP
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
# All are optional: what this release does not have must not keep the others away.
had=$(for p in $missing; do
    if apt-cache show "$p" >/dev/null 2>&1; then printf '%s ' "$p"; else echo "make system: this release has no $p" >&2; fi
done)
[ -n "$had" ] || exit 0
# shellcheck disable=SC2086 # a list of package names
apt-get install -y -q --no-install-recommends $had
