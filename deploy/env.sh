#!/bin/sh
# Writes .env for compose.yaml, with new passwords and a new key: sh deploy/env.sh
set -eu

if [ -e .env ]; then
    echo '.env is there already and stays as it is: a lost key would be every grant lost' >&2
    exit 1
fi

# Hexadecimal, because they become part of URLs.
password() {
    od -An -N24 -tx1 /dev/urandom | tr -d ' \n'
}

# No other key has it: `refreshd up` may have made one in this folder.
key_id() {
    echo "k-$(date -u +%Y%m%d)-$(od -An -N4 -tx1 /dev/urandom | tr -d ' \n')"
}

# `refreshd up` in this folder reads .env from now on, and still has to open what its own keys have sealed.
kept_keys() {
    [ ! -s .refreshd/keys ] || tr -s ',[:space:]' '\n' <.refreshd/keys | sed -n 's/^\(.*:.*\)$/,\1/p' | tr -d '\n'
}

umask 077
while IFS= read -r line; do
    case $line in
        *_PASSWORD=) echo "$line$(password)" ;;
        REFRESHD_KEYS=) echo "${line}$(key_id):$(head -c 32 /dev/urandom | base64 | tr -d '\n')$(kept_keys)" ;;
        REFRESHD_FLOWER_BASIC_AUTH=) echo "${line}operator:$(password)" ;;
        *) printf '%s\n' "$line" ;;
    esac
done <.env.example >.env.new
mv .env.new .env
echo 'Wrote .env. Keep a copy of REFRESHD_KEYS apart from the backups of the database: without it every grant is lost.'
