"""Options that several subcommands share, and how they are told what a model was loaded in."""

from __future__ import annotations

from typing import Annotated

import typer

from llava_tuning.load_in import LOAD_IN_HELP, LoadIn

Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
LoadInOption = Annotated[LoadIn, typer.Option("--load-in", help=LOAD_IN_HELP)]


def say(line: str) -> None:
    """To the terminal, apart from answers, which may go into a pipe."""
    typer.echo(line, err=True)
