"""`refreshd demo`: see it work, on accounts of a local provider."""

from __future__ import annotations

from typing import Annotated

import typer

from worker.cli.run.demo_screen import DemoShow
from worker.cli.terminal.console import out
from worker.cli.terminal.signals import Interrupts
from worker.cli.terminal.startup import Opening, close, title
from worker.local.demo.accounts import DEFAULT_NUMBER
from worker.local.demo.stack import DemoStack
from worker.local.demo.workspace import Workspace
from worker.local.ports import LOOPBACK
from worker.settings import Settings, load_settings


def demo(
    accounts: Annotated[
        int, typer.Option("--accounts", help="How many accounts.", min=1, max=5000)
    ] = DEFAULT_NUMBER,
    seconds: Annotated[
        float | None, typer.Option("--seconds", help="End by itself after so many seconds.", min=1)
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Go on where the last demo ended, instead of afresh.")
    ] = False,
    flower: Annotated[bool, typer.Option("--flower/--no-flower", help="Start Flower's web pages.")] = True,
) -> None:
    """The provider rotates refresh tokens, and revokes a grant whose old refresh token is used again.

    Everything runs on this machine and stays in the folder `demo` of the data folder; your own accounts are not
    touched. Two accounts fail on purpose: one has a wrong client secret, and the owner of another revokes the grant.
    """
    settings = demo_settings()
    with Interrupts() as interrupts, DemoStack(settings, Workspace(settings.data_dir)) as stack:
        interrupts.hurry = stack.supervisor.hurry
        title(out, "refreshd demo", stack)
        stack.set_the_scene(accounts, keep=keep)
        opening = Opening(out, stack, interrupts)
        if opening.run(stack.tasks(flower=flower)):
            opening.wait_until_it_works()
        show: DemoShow | None = None
        if interrupts.asked is None:
            show = DemoShow(out, stack, interrupts)
            show.run(seconds)
        close(out, stack)
        if show is None:
            raise typer.Exit(interrupts.exit_code)
        show.sum_up()
        raise typer.Exit(interrupts.exit_code if show.went_well else 1)


def demo_settings() -> Settings:
    """Return what is set, without all that a demo has no business with: real receivers, ports, and walls that keep it out."""
    return load_settings(
        data_dir=load_settings().data_dir.absolute() / "demo",
        database_url=None,
        # Its tokens are made up, and its screen and the hint beside it read them as they are.
        publish_keys=None,
        # Two accounts fail on purpose, which is no news for anybody.
        webhook_url=None,
        webhook_secret=None,
        # Its provider is on this machine.
        block_private_networks=False,
        # A real fleet has them.
        metrics_port=None,
        flower_address=LOOPBACK,
    )
