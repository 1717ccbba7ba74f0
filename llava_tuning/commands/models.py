"""Subcommands of `llava-tuning`: base models, and what a directory is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add this module's commands to the command line."""
    app.command("prepare")(prepare_command)
    app.command("inspect")(inspect_command)


def prepare_command(
    source: Annotated[
        str,
        typer.Argument(
            help="Directory of an InternLM2 or Llama checkpoint, 'smollm2', a .gguf file, or a hub id."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="Directory to make.")],
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of a hub id.")] = None,
    max_shard_gb: Annotated[
        float, typer.Option("--max-shard-gb", help="Largest weight file in GB; it bounds the memory used.")
    ] = 2.0,
) -> None:
    """Turn a base model into a native Llama directory that training and chat read."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from llava_tuning.models.prepare import prepare

    columns = (
        TextColumn("converting"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("tensors"),
        TimeRemainingColumn(),
    )
    bar = Progress(*columns, transient=True)
    task = bar.add_task("converting", total=None)

    def advance(done: int, total: int, name: str) -> None:
        bar.start()  # not before: a download shows bars of its own
        bar.update(task, completed=done, total=total)

    try:
        prepare(source, out, revision=revision, max_shard_gb=max_shard_gb, progress=advance)
    finally:
        bar.stop()
    typer.echo(f"wrote {out}")


def inspect_command(
    directory: Annotated[
        str, typer.Argument(help="A model directory, adapter, training run or checkpoint; or 'default'.")
    ],
) -> None:
    """Print what a directory is: sizes, parameters of each part, template, picture size, provenance."""
    from llava_tuning.models.inspect import describe

    if directory == "default":
        from llava_tuning.models.default import resolve_model

        directory = str(resolve_model(directory))
    typer.echo(describe(directory))
