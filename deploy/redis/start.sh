#!/bin/sh
# Starts Redis or Valkey with a configuration file and users: sh start.sh redis.conf users.acl
# Passwords come from the environment and go to the server by standard input: no command line and no file holds one.
set -eu
server=$(command -v valkey-server || command -v redis-server)
# The user that reads events alone is there where it has a password.
events='/^user refreshd-events /d'
[ -z "${REDIS_EVENTS_PASSWORD:-}" ] || events="s|[$]{EVENTS_PASSWORD}|$REDIS_EVENTS_PASSWORD|"
users=$(
    sed -f /dev/stdin "$2" <<EOF
s|[$]{WORKER_PASSWORD}|$REDIS_WORKER_PASSWORD|
s|[$]{WATCHER_PASSWORD}|$REDIS_WATCHER_PASSWORD|
s|[$]{CONNECTOR_PASSWORD}|$REDIS_CONNECTOR_PASSWORD|
s|[$]{API_PASSWORD}|$REDIS_API_PASSWORD|
$events
EOF
)
exec "$server" "$1" - <<EOF
maxmemory $REDIS_MAXMEMORY
$users
user administrator reset on >$REDIS_PASSWORD ~* &* +@all
EOF
