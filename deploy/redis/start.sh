#!/bin/sh
# Starts Redis or Valkey with a configuration file: sh start.sh redis.conf
# The password reaches it by standard input, so that neither a command line nor a file holds it.
set -eu
server=$(command -v valkey-server || command -v redis-server)
exec "$server" "$1" - <<EOF
requirepass $REDIS_PASSWORD
maxmemory $REDIS_MAXMEMORY
EOF
