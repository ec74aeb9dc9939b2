"""`python -m worker.cli`: the `refreshd` command, for whoever has no script of that name at hand."""

from worker.cli import main

main()
