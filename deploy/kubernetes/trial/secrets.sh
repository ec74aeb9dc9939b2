#!/bin/sh
# Writes the trial's secrets beside this file, new ones: sh secrets.sh
set -eu
cd "$(dirname "$0")"

if [ -e work.env ]; then
    echo 'work.env is there already and stays as it is: a lost key would be every grant lost' >&2
    exit 1
fi

# Hexadecimal, because they become part of URLs.
password() {
    od -An -N24 -tx1 /dev/urandom | tr -d ' \n'
}

umask 077
worker=$(password) watcher=$(password) api=$(password) postgres=$(password) postgres_api=$(password)
key="k-$(date -u +%Y%m%d)-$(od -An -N4 -tx1 /dev/urandom | tr -d ' \n'):$(head -c 32 /dev/urandom | base64 | tr -d '\n')"

cat >redis.env <<EOF
REDIS_PASSWORD=$(password)
REDIS_WORKER_PASSWORD=$worker
REDIS_WATCHER_PASSWORD=$watcher
REDIS_API_PASSWORD=$api
REDIS_EVENTS_PASSWORD=$(password)
REDIS_CONNECTOR_PASSWORD=$(password)
REDIS_MAXMEMORY=512mb
EOF
cat >postgres.env <<EOF
POSTGRES_USER=refreshd
POSTGRES_DB=refreshd
POSTGRES_PASSWORD=$postgres
EOF
echo "REFRESHD_DATABASE_URL=postgresql://refreshd:$postgres@postgres:5432/refreshd" >database.env
echo "REFRESHD_REDIS_URL=redis://refreshd-watcher:$watcher@redis:6379/0" >watch.env
# REFRESHD_INTAKE_KEY is public, and follows from REFRESHD_KEYS: docs/kubernetes.md says how it gets here.
cat >api.env <<EOF
REFRESHD_DATABASE_URL=postgresql://refreshd_api:$postgres_api@postgres:5432/refreshd
REFRESHD_REDIS_URL=redis://refreshd-api:$api@redis:6379/0
REFRESHD_INTAKE_KEY=
EOF
cat >api-role.env <<EOF
PGHOST=postgres
PGUSER=refreshd
PGDATABASE=refreshd
PGPASSWORD=$postgres
API_PASSWORD=$postgres_api
EOF
echo "REFRESHD_FLOWER_BASIC_AUTH=operator:$(password)" >flower.env
# Last, and whole or not there: it holds the key.
{
    cat database.env
    echo "REFRESHD_REDIS_URL=redis://refreshd-worker:$worker@redis:6379/0"
    echo "REFRESHD_KEYS=$key"
} >work.env.new
mv work.env.new work.env
echo 'Wrote the secrets. Keep a copy of REFRESHD_KEYS (work.env) elsewhere: without it every grant is lost.'
