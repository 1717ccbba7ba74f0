"""Subcommands of `llava-tuning`: folders that Hugging Face Spaces and OpenXLab run."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

Out = Annotated[Path, typer.Option("--out", help="Folder to make.")]
Title = Annotated[str | None, typer.Option(help="Title.", show_default="the model's name")]

Replace = Annotated[bool, typer.Option("--replace", help="Replace what deploy wrote there before.")]


def register(app: typer.Typer) -> None:
    """Add this module's commands to the command line."""
    group = typer.Typer(help="Write the web app with a model for a platform.", no_args_is_help=True)
    group.callback()(_group)
    group.command("space")(space)
    group.command("openxlab")(openxlab)
    app.add_typer(group, name="deploy")


def _group() -> None:
    """Write the web app with a model for a platform."""


def space(
    model: Annotated[str, typer.Argument(help="A model directory, 'default', or owner/name on the hub.")],
    out: Out,
    hardware: Annotated[
        str | None,
        typer.Option(
            help="Hardware of the Space: cpu-basic, zerogpu, t4-small, l4x1, ...", show_default="cpu-basic"
        ),
    ] = None,
    push: Annotated[
        str | None, typer.Option(help="Upload it to this Space (owner/name), made where it is missing.")
    ] = None,
    public: Annotated[bool, typer.Option("--public", help="A Space that is made is seen by all.")] = False,
    title: Title = None,
    license: Annotated[
        str | None,
        typer.Option(
            help="Licence that the Space's page shows, as the hub names it, e.g. cc-by-4.0.",
            show_default="other; apache-2.0 for the embedded default",
        ),
    ] = None,
    replace: Replace = False,
) -> None:
    """Write a Hugging Face Space: the app, its requirements, and the model or its hub id."""
    from llava_tuning.deployment.space import check_push, push_space, write_space

    if public and push is None:
        raise typer.BadParameter("says who sees an uploaded Space; add --push", param_hint="--public")
    if push is not None:
        check_push(push, model)
    source = write_space(model, out, hardware or "cpu-basic", title, license, replace)
    asked = "the hub has it" if push is not None else "not checked; --push asks the hub whether it has it"
    where = asked if source.directory is None else "a copy"
    typer.echo(f"wrote {out}, a Space for {source.repository or source.directory} ({where})")
    if push is not None:
        typer.echo(f"uploaded to {push_space(out, push, hardware, public)}")
        return
    typer.echo(f"try it: GRADIO_SERVER_NAME=127.0.0.1 python {quote(str(out / 'app.py'))}")
    typer.echo("upload it: the same command with --replace --push OWNER/NAME")


def openxlab(
    model: Annotated[str, typer.Argument(help="A model directory, 'default', or owner/name on OpenXLab.")],
    out: Out,
    title: Title = None,
    replace: Replace = False,
) -> None:
    """Write an OpenXLab app: the web app, its requirements, and the model or its repository."""
    from llava_tuning.deployment.openxlab import write_openxlab

    source = write_openxlab(model, out, title, replace)
    where = "on OpenXLab, not looked at here" if source.directory is None else "a copy"
    typer.echo(f"wrote {out}, an OpenXLab app for {source.repository or source.directory} ({where})")
    typer.echo(f"try it: GRADIO_SERVER_NAME=127.0.0.1 python {quote(str(out / 'app.py'))}")
    git = f"git -C {quote(str(out))}"
    steps = ("init -b main", "lfs install --local", "add -A", "commit -m Assistant")
    typer.echo(f"commit it: {' && '.join(f'{git} {step}' for step in steps)}")
