#!/bin/sh
# Celery 5.7.0 (PyPI): `celery --app shop beat`, of one entry that is due each second.
#
# Expected: beat sleeps until the next entry is due.
# Seen: it wakes 10 ms before, finds that it is not due, and looks again without a pause until it is: scores of times for each
# entry, which is most of an idle beat's CPU. How often is printed, and not compared. A scheduler whose `adjust` takes nothing
# off looks three or four times, and is not late for it.

. "$(dirname "$0")/library.sh"

cat >shop.py <<'PROGRAM'
import sys
import time

from celery import Celery
from celery.beat import Scheduler

SECONDS = 6


class Counting(Scheduler):
    ticks = sent = 0

    def tick(self, *args, **options):
        if not self.ticks:
            self.began, self.used = time.monotonic(), time.process_time()
        if time.monotonic() > self.began + SECONDS:
            each = self.ticks / max(self.sent, 1)
            print("scores" if each > 20 else "a few", file=sys.__stdout__)
            print(f"{self.ticks} looks, {self.sent} sent, {time.process_time() - self.used:.3f} CPU s", file=sys.__stderr__, flush=True)
            raise SystemExit(0)
        self.ticks += 1
        return super().tick(*args, **options)

    def apply_async(self, *args, **options):
        self.sent += 1
        return super().apply_async(*args, **options)


class Patient(Counting):
    def adjust(self, n, drift=0.0):
        return super().adjust(n, drift)


app = Celery("shop", broker="memory://")
app.conf.beat_schedule = {"each second": {"task": "shop.count", "schedule": 1.0}}
PROGRAM

beat() { venv/bin/celery --quiet --app shop beat --scheduler "shop:$1" --loglevel ERROR 2>looks | grep -E 'scores|a few'; }

python_packages celery==5.7.0
seen "Celery's scheduler looks at an entry that is due each second" "scores" "$(beat Counting)"
tail -1 looks
seen "one that takes nothing off the wait" "a few" "$(beat Patient)"
tail -1 looks
