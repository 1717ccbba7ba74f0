"""Subcommands of `llava-tuning`: inference."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llava_tuning.commands.options import Device, LoadInOption, say
from llava_tuning.errors import UserError

_MODEL = typer.Argument(help="A model directory, or 'default' for the embedded model.")
_TEMPERATURE = typer.Option(help="0 takes the likeliest word each time; up to 2.")
_NEW_TOKENS = typer.Option(help="The longest answer, in tokens.")


def register(app: typer.Typer) -> None:
    """Add this module's commands to the command line."""
    app.command()(chat)
    app.command()(vqa)


def chat(
    model: Annotated[str, _MODEL] = "default",
    image: Annotated[Path | None, typer.Option(help="A picture to talk about.")] = None,
    template: Annotated[
        str | None,
        typer.Option(help="Instead of the model's own: chatml, internlm2_chat, vicuna or a Jinja file."),
    ] = None,
    system: Annotated[str | None, typer.Option(help="What the assistant is told beforehand.")] = None,
    max_new_tokens: Annotated[int, _NEW_TOKENS] = 512,
    temperature: Annotated[float, _TEMPERATURE] = 0.1,
    top_p: Annotated[float, typer.Option(help="Sample among words of this probability together.")] = 0.75,
    repetition_penalty: Annotated[float, typer.Option(help="Above 1: repeat less.")] = 1.0,
    seed: Annotated[int | None, typer.Option(help="Makes answers repeatable.")] = None,
    device: Device = "auto",
    load_in: LoadInOption = "auto",
) -> None:
    """Chat in the terminal, with or without a picture; questions may also come from a pipe, one a line."""
    from llava_tuning.inference.backend import GenerationSettings, load_backend
    from llava_tuning.inference.loading import require_eyes
    from llava_tuning.inference.terminal import TerminalChat, run_chat
    from llava_tuning.models.default import resolve_model
    from llava_tuning.models.pictures import open_picture
    from llava_tuning.models.templates import read_template

    jinja = read_template(template) if template is not None else None
    settings = GenerationSettings(max_new_tokens, temperature, top_p, repetition_penalty, seed)
    if image is not None:
        # A bad picture, and a model that takes none, are told before the model is loaded.
        open_picture(image)
        require_eyes(resolve_model(model))
    run_chat(TerminalChat(load_backend(model, device, load_in, None, say, jinja), settings, system, image))


def vqa(
    model: Annotated[str, _MODEL],
    out: Annotated[Path, typer.Option(help="JSON lines to write, or to continue.")],
    images: Annotated[Path | None, typer.Option(help="Folder of pictures.")] = None,
    question: Annotated[
        list[str] | None, typer.Option(help="Asked about each picture of --images; may be repeated.")
    ] = None,
    questions: Annotated[
        Path | None, typer.Option(help="JSONL or CSV with the fields image, question and perhaps id.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Questions at a time.")] = 8,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many questions.")] = None,
    max_new_tokens: Annotated[int, _NEW_TOKENS] = 128,
    temperature: Annotated[float, _TEMPERATURE] = 0.0,
    seed: Annotated[int | None, typer.Option(help="Makes sampled answers repeatable.")] = None,
    device: Device = "auto",
    load_in: LoadInOption = "auto",
) -> None:
    """Ask about many pictures. The same command again continues an interrupted run.

    Exit status 1 when a row of the file has an error.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from llava_tuning.inference.answer_file import AnswerFile, run_meta
    from llava_tuning.inference.backend import GenerationSettings, load_backend
    from llava_tuning.inference.loading import choose_for, require_eyes
    from llava_tuning.inference.questions import questions_from_file, questions_from_folder
    from llava_tuning.inference.vqa import answer_questions
    from llava_tuning.models.default import resolve_model

    settings = GenerationSettings(max_new_tokens, temperature, seed=seed)
    if questions is not None:
        if question:
            raise UserError(
                "--question and --questions exclude each other; write all questions into the file"
            )
        rows = questions_from_file(questions, images)
    elif images is not None:
        rows = questions_from_folder(images, question or ())
    else:
        raise UserError("nothing to ask about; give --images FOLDER or --questions FILE")

    directory = resolve_model(model)
    require_eyes(directory)
    choice = choose_for(
        directory, device, load_in
    )  # not left to the loading, which may find less memory free
    meta = run_meta(model, directory, settings, choice.mode)
    console = Console(stderr=True)
    columns = (TextColumn("answering"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with AnswerFile(out, meta) as answers:
        say(choice.line)
        backend = load_backend(model, device, choice.mode)
        with Progress(*columns, console=console) as progress:
            task = progress.add_task("")
            summary = answer_questions(
                backend,
                rows,
                answers,
                settings,
                batch_size=batch_size,
                limit=limit,
                progress=lambda done, total: progress.update(task, completed=done, total=total),
            )
    typer.echo(f"{out}: {summary.rows} rows, {summary.added} of them new, {summary.errors} with an error")
    if summary.errors:
        typer.echo("To ask those again, mend the pictures, delete the rows and repeat the command.", err=True)
        raise typer.Exit(1)
