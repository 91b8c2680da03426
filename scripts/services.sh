#!/bin/sh
# Installs from apt the system services that `make test-services` tests against (Debian, Ubuntu).
# Nothing is started or configured: each test runs a private instance on loopback.
set -eu

packages="bind9-dnsutils bind9-utils caddy nsd postfix prometheus rspamd unbound"

missing=""
for package in $packages; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

command -v apt-get >/dev/null || { echo "services: no apt-get here; install by hand:$missing" >&2; exit 1; }
root=""
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { echo "services: run as root: apt-get install$missing" >&2; exit 1; }
    root=sudo
fi

printf '==> installing%s\n' "$missing" >&2
# A package's first start is refused for the time of the installation (Debian policy 9.3.3.1);
# an existing policy of the machine stays as it is.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap '$root rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' | $root tee "$policy" >/dev/null
    $root chmod 755 "$policy"
fi
$root env DEBIAN_FRONTEND=noninteractive apt-get update -qq </dev/null
# shellcheck disable=SC2086 # a list of names
$root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $missing </dev/null >/dev/null
