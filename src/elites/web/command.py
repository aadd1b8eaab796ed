"""`elites watch`: the live page from the command line."""

from __future__ import annotations

import signal
import threading
import webbrowser
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from ..launch import errors
from ..types import InputError
from .runs import Runs
from .server import Server

__all__ = ["add_to"]

HOME = Path("runs")


def add_to(app: typer.Typer) -> None:
    """Give an app the command of this module."""
    app.command()(watch)


def watch(
    runs: Annotated[
        list[Path] | None, typer.Argument(help="Folders of runs, or folders that hold some; runs/ by default.")
    ] = None,
    port: Annotated[int, typer.Option(help="Port of this machine; a free one by default.", min=0, max=65535)] = 0,
    show: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
) -> None:
    """Watch runs on a live page of this machine, and let them wait or stop."""
    for folder in runs or []:
        if not folder.is_dir():
            raise InputError(f"There is no folder {folder}: name run folders, or a folder that holds some.")
    server = Server(Runs(runs or [HOME]), port)
    work = threading.Thread(target=server.serve, daemon=True)
    work.start()
    print(server.address, flush=True)
    errors.print("Open this address; Ctrl-C ends the page.")
    if show:
        webbrowser.open(server.address)
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    with suppress(KeyboardInterrupt):
        while work.is_alive():
            work.join(1.0)
    signal.signal(signal.SIGTERM, before)
    server.close()
    errors.print("The page has ended; the runs go on.")
