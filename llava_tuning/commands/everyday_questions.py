"""`llava-tuning data everyday-questions`: what everyday pictures are described with and asked about."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llava_tuning.commands.data import Languages, Out, data, make_folder, print_paths


def register(app: typer.Typer) -> None:
    """Add this module's command to the group `data`."""
    data.command("everyday-questions")(everyday_questions)


def everyday_questions(
    folder: Annotated[Path, typer.Argument(help="Folder of everyday pictures and their table.")],
    out: Out,
    count: Annotated[int, typer.Option(help="Number of pictures to compose.")] = 1000,
    seed: Annotated[int, typer.Option(help="Chooses grounds, places, questions and their order.")] = 0,
    size: Annotated[int, typer.Option(help="Side of the pictures in pixels.")] = 224,
    language: Languages = "en",
    photographs: Annotated[
        Path | None, typer.Option(help="Folder of photographs, which the model is to decline to name.")
    ] = None,
    hold_out: Annotated[
        str | None, typer.Option(help="Style that is not shown, so that an encoder can be scored on it.")
    ] = None,
) -> None:
    """Compose everyday pictures, with captions, and questions whose answers follow from their table."""
    from rich.progress import Progress

    from llava_tuning.data.everyday.conversations import write_conversations

    with Progress(transient=True) as bar:
        task = bar.add_task("composing", total=count)
        paths = write_conversations(
            folder,
            make_folder(out),
            count,
            seed,
            size,
            language,
            photographs,
            lambda done: bar.update(task, completed=done),
            hold_out,
        )
    print_paths(paths, out)
