#!/bin/sh
# Makes secrets/: the key of mailagent, the database's password and address, the key of the zone.
# What is there already stays as it is, so this may be run again.
#   sudo sh deploy/make-secrets.sh [FOLDER]
set -eu
folder=${1:-$(dirname "$0")/secrets}
owner=10001 # the user in the image

umask 077
mkdir -p "$folder"

word() { LC_ALL=C tr -dc 'A-Za-z0-9' </dev/urandom | head -c 48; }
keep() { if [ -s "$folder/$1" ]; then echo "$folder/$1 stays as it is"; else cat >"$folder/$1" && echo "$folder/$1 made"; fi; }

word | keep secret_key
word | keep postgres_password
printf 'postgresql://mailagent:%s@postgres:5432/mailagent' "$(cat "$folder/postgres_password")" | keep database_url
printf 'hmac-sha256:mailagent:%s' "$(head -c 32 /dev/urandom | base64)" | keep dns_tsig

if [ "$(id -u)" -eq 0 ]; then
    chown -R "$owner" "$folder"
else
    echo "not root: now run  sudo chown -R $owner $folder  so that the containers may read them" >&2
fi
