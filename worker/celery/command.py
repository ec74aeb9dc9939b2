"""`refreshd-celery worker|beat`: Celery's worker and beat, without what its command line loads beside them.

`celery` imports every plugin and each of its other commands, whichever of them is run: Flower with its web server, and an interactive
shell. They do nothing in a worker, and stay in its memory. The commands and their options are Celery's own.
"""

from __future__ import annotations

from typing import Any

import click
from celery.bin.base import CLIContext
from celery.bin.beat import beat
from celery.bin.worker import worker


@click.group(help="Run Celery's worker or beat of refreshd; what follows is an option of Celery's.")
@click.pass_context
def main(context: click.Context) -> Any:
    # Late: the application asks which program it is part of.
    from worker.app import app

    context.obj = CLIContext(app=app, no_color=False, workdir=None)


main.add_command(worker)
main.add_command(beat)


if __name__ == "__main__":
    main()
