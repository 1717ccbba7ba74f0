"""`llava-tuning data distill`: training records written by a stronger model."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from llava_tuning.commands.data import data
from llava_tuning.errors import UserError

if TYPE_CHECKING:
    from llava_tuning.distillation.questions import TeacherQuestion
    from llava_tuning.distillation.run import Summary
    from llava_tuning.distillation.teacher import TeacherSettings
    from llava_tuning.distillation.templates import Template

_SHOWN = 20  # failures printed; all are in the file beside the records


def register(app: typer.Typer) -> None:
    """Add this module's command to `llava-tuning data`."""
    data.command()(distill)


def distill(
    teacher_url: Annotated[str, typer.Option(help="The teacher's address, e.g. http://127.0.0.1:8000/v1.")],
    out: Annotated[Path, typer.Option(help="Records to write, or to continue; .jsonl.")],
    questions: Annotated[
        Path | None, typer.Option(help="JSON or JSONL with question, perhaps image, system and id.")
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Folder of pictures: all of them, or those that --questions names.")
    ] = None,
    question: Annotated[
        list[str] | None, typer.Option(help="Asked about each picture of --images; may be repeated.")
    ] = None,
    template: Annotated[
        Literal["plain", "five-questions"],
        typer.Option(help="The questions as they are, or five questions and answers a picture."),
    ] = "plain",
    language: Annotated[
        str | None, typer.Option(help="Language of the five questions; English if left out.")
    ] = None,
    system: Annotated[str | None, typer.Option(help="What the teacher is told beforehand.")] = None,
    teacher_model: Annotated[
        str | None, typer.Option(help="The teacher's name there; the only one if left out.")
    ] = None,
    api_key_variable: Annotated[
        str, typer.Option(help="Environment variable that holds the API key, if there is one.")
    ] = "OPENAI_API_KEY",
    concurrency: Annotated[int, typer.Option(min=1, help="Requests at a time.")] = 4,
    requests_per_minute: Annotated[
        float | None, typer.Option(min=0.01, help="At most so many, evenly spread.")
    ] = None,
    retries: Annotated[int, typer.Option(min=0, help="Repetitions of a request that failed.")] = 5,
    timeout: Annotated[float, typer.Option(help="Longest wait for a reply, in seconds.")] = 120,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many questions.")] = None,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="The longest reply; the teacher's own limit if left out.")
    ] = None,
    temperature: Annotated[float | None, typer.Option(help="0 to 2; the teacher's own if left out.")] = None,
) -> None:
    """Let a stronger model (OpenAI-compatible) answer questions; the answers become training records.

    The same command again continues an interrupted run. Exit status 1 when a question has no answer.
    """
    from llava_tuning.distillation.questions import from_file, from_folder
    from llava_tuning.distillation.run import failure_file
    from llava_tuning.distillation.teacher import TeacherSettings
    from llava_tuning.distillation.templates import FiveQuestions, Plain

    if language is not None and template == "plain":
        raise UserError(
            "--language goes with --template five-questions; write plain questions in it yourself"
        )
    if out.suffix != ".jsonl":
        raise UserError(f"{out}: records are appended as they come; let its name end in .jsonl")
    form: Template = Plain() if template == "plain" else FiveQuestions(language or "English")
    if questions is not None:
        if question:
            raise UserError("--question and --questions exclude each other; write all into the file")
        rows = from_file(questions, form, images, system)
        folder = images or questions.parent
    elif images is not None:
        rows, folder = from_folder(images, form, question or (), system), images
    else:
        raise UserError("nothing to ask; give --questions FILE or --images FOLDER")
    key = os.environ.get(api_key_variable, "").strip() or None
    settings = TeacherSettings(
        teacher_url, teacher_model, temperature, max_tokens, timeout, retries, key, api_key_variable
    )
    try:
        summary = _ask_all(settings, form, rows, out, system, concurrency, requests_per_minute, limit)
    except KeyboardInterrupt:
        typer.echo(f"\nstopped; what was answered is in {out}, and the same command continues", err=True)
        raise typer.Exit(130) from None
    for failure in summary.failures[:_SHOWN]:
        typer.echo(f"not answered: {failure}", err=True)
    if len(summary.failures) > _SHOWN:
        typer.echo(f"... and {len(summary.failures) - _SHOWN:,} more", err=True)
    repeated = f"; repeated questions, asked once: {summary.repeated:,}" if summary.repeated else ""
    typer.echo(f"{out}: {summary.records:,} records, {summary.added:,} of them new{repeated}")
    typer.echo(f"image folder: {folder}")
    if summary.failures:
        typer.echo(
            f"{len(summary.failures):,} not answered, with the teacher's words in {failure_file(out)}; "
            "the same command asks them again",
            err=True,
        )
        raise typer.Exit(1)


def _ask_all(
    settings: TeacherSettings,
    template: Template,
    questions: list[TeacherQuestion],
    out: Path,
    system: str | None,
    concurrency: int,
    per_minute: float | None,
    limit: int | None,
) -> Summary:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from llava_tuning.distillation.pacing import Pace, RealClock
    from llava_tuning.distillation.run import distill, failure_file
    from llava_tuning.distillation.teacher import Teacher
    from llava_tuning.inference.answer_file import AnswerFile

    async def ask(progress: Callable[[int, int], None]) -> Summary:
        clock = RealClock()
        async with Teacher(settings, Pace(per_minute, clock), clock) as teacher:
            meta = {
                "teacher": {"url": settings.url, "model": await teacher.choose_model()},
                "template": template.settings(),
                "settings": {
                    "temperature": settings.temperature,
                    "max_tokens": settings.max_tokens,
                    "system": system,
                },
            }
            with AnswerFile(out, meta) as answers:
                try:
                    return await distill(
                        teacher,
                        template,
                        questions,
                        answers,
                        failure_file(out),
                        concurrency=concurrency,
                        limit=limit,
                        progress=progress,
                    )
                except UserError as error:
                    raise UserError(f"{error} ({len(answers.rows):,} records are in {out})") from None

    columns = (TextColumn("asking"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("")
        return asyncio.run(ask(lambda done, total: bar.update(task, completed=done, total=total)))
