#!/bin/sh
# Celery 5.7.0, and Flower 2.2.0 in the same environment (PyPI): `celery --app shop worker`.
#
# Expected: a worker imports what a worker needs; Flower is a program of its own (`celery flower`).
# Seen: Celery's command line imports all of its commands before it looks at which one was asked for, and each plugin of the
# entry point `celery.commands`. So a worker holds an interactive shell (click-repl with prompt_toolkit, for `celery amqp`), and
# where Flower is installed its web server too (tornado). Both stay in each worker's memory; how much is printed, and not
# compared. An environment without Flower for workers saves its part.

. "$(dirname "$0")/library.sh"

cat >shop.py <<'PROGRAM'
import os
import resource
import sys

from celery import Celery
from celery.signals import worker_ready

app = Celery("shop", broker="memory://")


@worker_ready.connect
def ready(**_):
    print(*(name for name in ("click_repl", "prompt_toolkit", "flower", "tornado") if name in sys.modules), file=sys.__stdout__, flush=True)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, "MB", file=sys.__stderr__, flush=True)
    os._exit(0)
PROGRAM

worker() { venv/bin/celery --quiet --app shop worker --pool solo --without-mingle --loglevel ERROR 2>memory | grep click_repl; }

python_packages celery==5.7.0
seen "without Flower a worker has imported" "click_repl prompt_toolkit" "$(worker)"
grep MB memory
venv/bin/pip install --quiet --disable-pip-version-check flower==2.2.0 >install.log 2>&1 || { cat install.log; exit 2; }
seen "with Flower a worker has imported" "click_repl prompt_toolkit flower tornado" "$(worker)"
grep MB memory
