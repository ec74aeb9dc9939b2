#!/usr/bin/env bash
# Read an account's token, report a refused one, wait for the next: bash 4 and later, nothing else installed.
#
#     export REFRESHD_REDIS_URL=redis://refreshd-connector:PASSWORD@HOST:6379/0
#     ./token.sh get ACCOUNT                      prints the access token
#     ./token.sh reject ACCOUNT GENERATION STATUS reports it as refused by the API
#     ./token.sh next ACCOUNT GENERATION [SECONDS] waits for a newer one and prints it
#     ./token.sh generation ACCOUNT               prints the generation
#
#     curl -K - https://api.example.com/ <<<"header = \"Authorization: Bearer $(./token.sh get acct-1)\""
#
# Exit codes: 0 done, 1 no token (stderr says why), 2 usage, 4 Redis unreachable. docs/redis.md is what this follows.
# No TLS: bash has none; where Redis wants it, use `redis-cli --tls` with the same commands.
set -euo pipefail

fail() { echo "$2" >&2; exit "$1"; }

connect() {
  local url=${REFRESHD_REDIS_URL:?is not set}
  [[ $url =~ ^redis://(([^:@]*)(:([^@]*))?@)?([^:/]+)(:([0-9]+))?(/([0-9]+))?$ ]] || fail 2 "no redis:// address"
  local user=${BASH_REMATCH[2]:-default} password=${BASH_REMATCH[4]:-} database=${BASH_REMATCH[9]:-0}
  exec 3<>"/dev/tcp/${BASH_REMATCH[5]}/${BASH_REMATCH[7]:-6379}" || fail 4 "Redis does not answer"
  if [[ -n $password ]]; then command_ AUTH "$user" "$password"; fi
  if [[ $database != 0 ]]; then command_ SELECT "$database"; fi
}

# RESP2 (redis.io/docs/reference/protocol-spec): send words, leave the answer's strings in the array REPLY_.
command_() {
  local LC_ALL=C word
  {
    printf '*%d\r\n' $#
    for word; do printf '$%d\r\n%s\r\n' ${#word} "$word"; done
  } >&3
  REPLY_=()
  reply_
}

reply_() {
  local LC_ALL=C line count text rest
  IFS= read -r -t 10 -u 3 line || fail 4 "Redis does not answer"
  line=${line%$'\r'}
  case $line in
    -*) fail 4 "Redis refuses: ${line#-}" ;;
    +* | :*) REPLY_+=("${line:1}") ;;
    '$-1') REPLY_+=("") ;;
    '$'*)
      IFS= read -r -t 10 -u 3 -N "${line:1}" text || [[ ${line:1} == 0 ]] || fail 4 "Redis does not answer"
      IFS= read -r -t 10 -u 3 rest
      REPLY_+=("$text")
      ;;
    '*'*) for ((count = ${line:1}; count > 0; count--)); do reply_; done ;;
  esac
}

# Leave the fields of a hash in the associative array HASH; false if there is none.
hash_() {
  command_ HGETALL "$1"
  unset HASH
  declare -gA HASH=()
  local i
  for ((i = 0; i < ${#REPLY_[@]}; i += 2)); do HASH[${REPLY_[i]}]=${REPLY_[i + 1]}; done
  [[ ${#HASH[@]} -gt 0 ]]
}

no_token() {
  hash_ "refreshd:account:{$1}" || fail 1 "$1: unknown account"
  fail 1 "$1: no token: ${HASH[status]} ${HASH[reason]:-}"
}

# Looks again twice a second. Who listens (SUBSCRIBE refreshd:announce) has the token a moment sooner.
next() {
  local ends_at=$((SECONDS + ${3:-10}))
  until hash_ "refreshd:token:{$1}" && ((${HASH[generation]} > $2)); do
    if hash_ "refreshd:account:{$1}" && [[ ${HASH[status]} =~ ^(reauthorize|misconfigured|disabled)$ ]]; then
      fail 1 "$1: ${HASH[status]} ${HASH[reason]:-}"
    fi
    ((SECONDS < ends_at)) || fail 1 "$1: no token newer than generation $2"
    sleep 0.5
  done
  printf '%s\n' "${HASH[access_token]}"
}

main() {
  case "${1:-}/$#" in
    get/2) connect; hash_ "refreshd:token:{$2}" || no_token "$2"; printf '%s\n' "${HASH[access_token]}" ;;
    generation/2) connect; hash_ "refreshd:token:{$2}" || no_token "$2"; printf '%s\n' "${HASH[generation]}" ;;
    reject/4)
      connect
      command_ XADD refreshd:rejected MAXLEN '~' 100000 '*' account "$2" generation "$3" http_status "$4"
      ;;
    next/3 | next/4) connect; next "$2" "$3" "${4:-10}" ;;
    *) fail 2 "usage: token.sh get|generation ACCOUNT | reject ACCOUNT GENERATION STATUS | next ACCOUNT GENERATION [SECONDS]" ;;
  esac
}

main "$@"
