"""`python -m worker.cli`: the `refreshd` command where no script of that name is on PATH."""

from worker.cli import main

main()
