#!/bin/sh
# Writes NSD's configuration from the environment, and becomes NSD.
#   DNS_ZONE          the zone
#   DNS_PRIMARY       address@port of `mailagent dns serve`
#   DNS_LISTEN        address@port
#   DNS_FOLDER        where the copy of the zone is kept
#   DNS_TSIG_FILE     holds algorithm:name:secret
set -eu

IFS=: read -r algorithm key secret <"$DNS_TSIG_FILE" || [ -n "$secret" ]
umask 077
cat >"$DNS_FOLDER/nsd.conf" <<CONF
server:
  ip-address: $DNS_LISTEN
  username: ""
  hide-version: yes
  server-count: 1
  zonesdir: "$DNS_FOLDER"
  database: ""
  pidfile: ""
  xfrdir: "$DNS_FOLDER"
  xfrdfile: "$DNS_FOLDER/xfrd.state"
  zonelistfile: "$DNS_FOLDER/zone.list"
remote-control:
  control-enable: no
key:
  name: "$key"
  algorithm: $algorithm
  secret: "$secret"
zone:
  name: "$DNS_ZONE"
  zonefile: "zone"
  request-xfr: $DNS_PRIMARY $key
  allow-notify: ${DNS_PRIMARY%@*} $key
CONF
exec nsd -d -c "$DNS_FOLDER/nsd.conf"
