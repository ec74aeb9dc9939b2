# Read by the scripts beside it: installs and starts one server of tests/servers, without refreshd.
#
#     NAME=canaille TOKEN_PATH=/oauth/token
#     . "$(dirname "$0")/server.sh"
#
# Afterwards $SERVER is its address, $GRANTS where a new person's tokens come from; both end with the script. It needs
# curl and python3, and for some servers node and npm, or apt-get and dpkg of Debian 12.

set -eu
here=$(cd "$(dirname "$0")" && pwd)
folder=$(mktemp -d)
pid=
trap 'stop; rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM
cp -R "$here/../tests/servers/$NAME/." "$folder"
cd "$folder"

if [ -e package-lock.json ]; then
	npm ci --ignore-scripts --no-audit --no-fund >install.log 2>&1 || { cat install.log; exit 2; }
	run="node server.mjs"
elif [ -e requirements.lock ]; then
	python3 -m venv venv
	venv/bin/pip install --quiet --no-deps --requirement requirements.lock >install.log 2>&1 || { cat install.log; exit 2; }
	run="venv/bin/python server.py"
else
	mkdir packages
	(cd packages && apt-get download $(cat ../packages.lock)) >install.log 2>&1 || { cat install.log; exit 2; }
	for one in packages/*.deb; do dpkg --extract "$one" root; done
	if [ -e run.sh ]; then
		run="sh run.sh"
	else
		python3 -m venv venv
		venv/bin/pip install --quiet httpx==0.28.1 >install.log 2>&1 || { cat install.log; exit 2; }
		run="venv/bin/python server.py"
	fi
fi

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
PORT=$(free_port)
GRANT_PORT=$PORT
[ "$NAME" != glewlwyd ] || GRANT_PORT=$(free_port)
CLIENT_ID=client CLIENT_SECRET=${CLIENT_SECRET:-secret}
ACCESS_TOKEN_S=${ACCESS_TOKEN_S:-60}
export PORT GRANT_PORT CLIENT_ID CLIENT_SECRET ACCESS_TOKEN_S
SERVER=http://127.0.0.1:$PORT GRANTS=http://127.0.0.1:$GRANT_PORT/grant

# start: runs the program, and waits until it listens.
start() {
	: >server.log
	$run >server.log 2>&1 &
	pid=$!
	tries=300
	until grep -q listening server.log; do
		tries=$((tries - 1))
		if [ "$tries" = 0 ] || ! kill -0 "$pid" 2>/dev/null; then
			cat server.log
			exit 2
		fi
		sleep 0.2
	done
}

# stop: ends it.
stop() {
	[ -z "$pid" ] || { kill "$pid" && wait "$pid"; } 2>/dev/null || :
	pid=
}

# field NAME: the field of the JSON object on standard input.
field() { python3 -c 'import json, sys; print(json.load(sys.stdin).get(sys.argv[1], "none"))' "$1"; }

# grant: a new person's tokens.
grant() { curl --silent --show-error --data '' "$GRANTS"; }

# refresh REFRESH_TOKEN [SECRET]: the answer's status into $status, its body into $body.
refresh() {
	status=$(curl --silent --output body --write-out '%{http_code}' "$SERVER$TOKEN_PATH" \
		--data grant_type=refresh_token --data-urlencode "refresh_token=$1" \
		--data client_id=client --data "client_secret=${2:-secret}")
	body=$(cat body)
}

# seen WHAT EXPECTED FOUND: prints it, and ends with 1 where it is something else.
seen() {
	printf '%-62s %s\n' "$1" "$3"
	if [ "$2" != "$3" ]; then
		echo "CHANGED: it was $2"
		exit 1
	fi
}

start
