"""`llava-tuning data`: sample data sets, conversion, a look at a record, and the check before training."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from llava_tuning.data.phrases import LanguageChoice
from llava_tuning.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

data = typer.Typer(help="Make, convert, look at and check data sets.", no_args_is_help=True)

Out = Annotated[Path, typer.Option(help="Folder to write to.")]
Languages = Annotated[LanguageChoice, typer.Option(help="English, Chinese or both.")]


def register(app: typer.Typer) -> None:
    """Add this module's commands to the command line."""
    app.add_typer(data, name="data")


@data.command("easy-vqa")
def easy_vqa(
    out: Out,
    seed: Annotated[int, typer.Option(help="Chooses phrasings and the order of questions.")] = 0,
    limit: Annotated[int | None, typer.Option(help="Only the first N pictures of each split.")] = None,
    language: Languages = "en",
) -> None:
    """Write easy-VQA as LLaVA records: captions, conversations, and its test split apart."""
    from llava_tuning.data.easy_vqa import write_easy_vqa

    print_paths(write_easy_vqa(make_folder(out), seed, limit, language), out)


@data.command()
def scenes(
    out: Out,
    count: Annotated[int, typer.Option(help="Number of scenes.")] = 1000,
    seed: Annotated[int, typer.Option(help="Another seed makes other scenes.")] = 0,
    size: Annotated[int, typer.Option(help="Side of the pictures in pixels.")] = 224,
    language: Languages = "en",
    confusable: Annotated[
        float,
        typer.Option(
            help="Share of scenes, at least, with three objects of one colour and different shapes, or of "
            "one shape and different colours: those that a model describes worst."
        ),
    ] = 0.0,
) -> None:
    """Draw scenes of 1 to 5 objects, with captions and questions whose answers are exact."""
    from rich.progress import Progress

    from llava_tuning.data.scenes import write_scenes

    with Progress(transient=True) as bar:
        task = bar.add_task("drawing", total=count)
        paths = write_scenes(
            make_folder(out),
            count,
            seed,
            size,
            lambda done: bar.update(task, completed=done),
            language=language,
            confusable=confusable,
        )
    print_paths(paths, out)


@data.command()
def everyday(
    out: Out,
    packages: Annotated[
        Path | None, typer.Option(help="Folder of the unpacked packages; OUT/packages by default.")
    ] = None,
    side: Annotated[int, typer.Option(min=32, max=512, help="Side of the pictures in pixels.")] = 128,
) -> None:
    """Render emoji and clip art of free licence, which npm and apt-get fetch, with a table of names."""
    from rich.progress import Progress, TextColumn

    from llava_tuning.data.everyday.build import build_everyday
    from llava_tuning.data.everyday.packages import fetch

    folder = make_folder(out)
    found = fetch(packages or folder / "packages", lambda what: typer.echo(f"fetching {what}"))
    with Progress(TextColumn("{task.description}: {task.completed} pictures"), transient=True) as bar:
        task = bar.add_task("rendering", total=None)
        table = build_everyday(
            found,
            make_folder(out),
            side,
            lambda done, style: bar.update(task, description=style, completed=done),
        )
    typer.echo(f"{table}: {sum(1 for _ in table.open(encoding='utf-8')):,} pictures")


@data.command()
def photographs(
    out: Out,
    packages: Annotated[
        Path | None, typer.Option(help="Folder of the unpacked packages; OUT/packages by default.")
    ] = None,
) -> None:
    """Collect photographs of free licence, which apt-get fetches: OUT/train, and others in OUT/test."""
    from rich.progress import Progress, TextColumn

    from llava_tuning.data.everyday.packages import PHOTOGRAPHS, fetch
    from llava_tuning.data.everyday.photographs import build_photographs

    folder = make_folder(out)
    found = fetch(packages or folder / "packages", lambda what: typer.echo(f"fetching {what}"), PHOTOGRAPHS)
    with Progress(TextColumn("{task.description}: {task.completed} photographs"), transient=True) as bar:
        task = bar.add_task("writing", total=None)
        counts = build_photographs(found, folder, lambda done: bar.update(task, completed=done))
    for split, count in counts.items():
        typer.echo(f"{split}: {folder / split} ({count:,} photographs)")


@data.command()
def identity(
    name: Annotated[str, typer.Option(help="What the assistant is called.")],
    owner: Annotated[str, typer.Option(help="The person or group that made it.")],
    out: Out,
    language: Languages = "en",
    seed: Annotated[int, typer.Option(help="Chooses what is held out, answers and contexts.")] = 0,
) -> None:
    """Write conversations that teach a name and maker, and held-out questions to test them with."""
    from rich.console import Console
    from rich.table import Table

    from llava_tuning.data.identity.generate import write_identity
    from llava_tuning.data.identity.who import Identity

    who = Identity(name, owner)  # a bad name leaves no folder behind
    written = write_identity(make_folder(out), who, language, seed)
    table = Table("language", "kind of question", "training", "held out", title="records")
    counts = written.records
    for code, kind in dict.fromkeys((code, kind) for _, code, kind in counts):
        held_out = sum(counts[file, code, kind] for file in written.paths if file != "train")
        table.add_row(code, kind, str(counts["train", code, kind]), str(held_out))
    Console().print(table)
    for code, number in written.wordings.items():
        typer.echo(f"{code}: {number} different identity questions")
    for file, path in written.paths.items():
        rows = sum(number for (key, _, _), number in counts.items() if key == file)
        typer.echo(f"{file}: {path} ({rows:,} records)")
    train = written.paths["train"]
    size = 5 * sum(number for (key, _, _), number in counts.items() if key == "train")
    typer.echo(
        "next, with general conversations of yours so that nothing else is forgotten:\n"
        f"  llava-tuning data mix {quote(str(train))}:0.2 GENERAL.json:0.8 --size {size} "
        f"--out {quote(str(out / 'mix.json'))}"
    )


@data.command()
def convert(
    source: Annotated[Path, typer.Argument(help="JSON or JSONL file.")],
    out: Annotated[Path, typer.Argument(help="File to write, .json or .jsonl.")],
    from_: Annotated[
        Literal["auto", "llava", "openai", "alpaca", "xtuner", "sharegpt"],
        typer.Option("--from", help="Shape of the source; auto recognises each record."),
    ] = "auto",
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave out what cannot be converted.")] = False,
) -> None:
    """Convert OpenAI, Alpaca, XTuner, ShareGPT or misspelt LLaVA records to LLaVA records."""
    from llava_tuning.data.convert import convert_file

    result = convert_file(source, out, None if from_ == "auto" else from_, skip_bad)
    for message in result.skipped:
        typer.echo(f"left out: {message}", err=True)
    typer.echo(
        f"{out}: {result.written:,} records" + (f", {len(result.skipped):,} left out" if skip_bad else "")
    )


@data.command()
def mix(
    files: Annotated[
        list[str], typer.Argument(help="Data files of any shape that `convert` knows: FILE or FILE:WEIGHT.")
    ],
    out: Annotated[Path, typer.Option(help="File to write, .json or .jsonl.")],
    size: Annotated[int | None, typer.Option(min=1, help="Records of the mix, with weights.")] = None,
    seed: Annotated[int, typer.Option(help="Chooses records and their order.")] = 0,
    like_base: Annotated[
        list[Path] | None,
        typer.Option(
            help="One of the files, of text: an adapter keeps to the base model's own answers there."
        ),
    ] = None,
) -> None:
    """Mix data files by ratio, shuffled; without weights every record comes once."""
    from llava_tuning.data.mix import mix_files, parse_source, warnings

    parts = mix_files([parse_source(file) for file in files], out, size, seed, like_base or [])
    total = sum(part.taken for part in parts)
    for part in parts:
        converted = f", {part.converted:,} of the file converted" if part.converted else ""
        share = f"{part.taken:,} ({part.taken / total:.0%}), {part.distinct:,} different"
        typer.echo(f"{part.path}: {share}{converted}")
    for warning in warnings(parts):
        typer.echo(f"warning: {warning}", err=True)
    typer.echo(f"{out}: {total:,} records; image folder: {out.parent}")


@data.command()
def show(
    file: Annotated[Path, typer.Argument(help="JSON or JSONL file of LLaVA records.")],
    index: Annotated[int | None, typer.Option(help="Position of the record, from 0.")] = None,
    record_id: Annotated[str | None, typer.Option("--id", help="Id of the record.")] = None,
    model: Annotated[str, typer.Option(help="Model directory, or 'default'.")] = "default",
    tokens_per_image: Annotated[
        int | None, typer.Option(min=1, help="Tokens that a picture takes; the model's own if left out.")
    ] = None,
    max_length: Annotated[
        int | None, typer.Option(min=1, help="Cut to this many tokens, as training does.")
    ] = None,
) -> None:
    """Print a record as the model sees it; what is trained on is green, or ⟦in brackets⟧ without colours."""
    from rich.console import Console

    from llava_tuning.data.show import as_text, find_record, segments

    if index is not None and record_id is not None:
        raise UserError("--index and --id both name a record; give one of them")
    record = find_record(file, index, record_id)
    tokenizer, own_tokens = _load_tokenizer(model)
    parts = segments(record, tokenizer, tokens_per_image or own_tokens, max_length)
    console = Console(highlight=False, soft_wrap=True)
    console.print(as_text(parts, brackets=not console.is_terminal or console.no_color))
    trained = sum(part.tokens for part in parts if part.trained)
    total = sum(part.tokens for part in parts)
    console.print(
        f"id {record.id} · {total:,} tokens, {trained:,} trained on · picture: {record.image}", markup=False
    )


@data.command()
def check(
    files: Annotated[list[Path], typer.Argument(help="JSON or JSONL files of LLaVA records.")],
    images: Annotated[
        Path | None, typer.Option(help="Folder that pictures' paths start from; each file's own if left out.")
    ] = None,
    model: Annotated[str, typer.Option(help="Model whose tokenizer counts, or 'default'.")] = "default",
    max_length: Annotated[
        int, typer.Option(min=1, help="Tokens kept in training; the configs' value by default.")
    ] = 2048,
    max_pictures: Annotated[
        int | None, typer.Option(min=0, help="Decode only this many pictures a file.")
    ] = None,
    text: Annotated[
        bool, typer.Option("--text", help="The records are for a text model: a picture is a fault.")
    ] = False,
    limit: Annotated[int, typer.Option(min=0, help="Findings to print; 0 prints all.")] = 100,
) -> None:
    """Find what would break or spoil a training; exits with 1 when anything is found."""
    from rich.console import Console
    from rich.table import Table

    from llava_tuning.data.check import check_file

    for file in files:  # a wrong path is said before slow imports
        if not file.is_file():
            raise UserError(f"{file}: no such data file; check the path")
    tokenizer, own_tokens = _load_tokenizer(model)
    findings = [
        finding
        for file in files
        for finding in check_file(file, images, tokenizer, max_length, own_tokens, max_pictures, text)[0]
    ]
    for finding in findings[: limit or None]:
        typer.echo(str(finding))
    if not findings:
        typer.echo(f"nothing found in {', '.join(map(str, files))}")
        return
    if limit and len(findings) > limit:
        typer.echo(f"... and {len(findings) - limit:,} more (--limit 0 prints all)")
    table = Table("kind", "findings", title=f"{len(findings):,} findings")
    for kind, number in Counter(finding.kind for finding in findings).most_common():
        table.add_row(kind, f"{number:,}")
    Console().print(table)
    raise typer.Exit(1)


def _load_tokenizer(model: str) -> tuple[PreTrainedTokenizerBase, int]:
    """The tokenizer of a model, and the tokens that one picture takes in it."""
    from llava_tuning.data.show import tokens_per_image
    from llava_tuning.models.default import resolve_model

    directory = resolve_model(model)  # a wrong path is said before transformers' slow import

    from llava_tuning.models.tokenizer import check_chat_template, load_tokenizer

    tokenizer = load_tokenizer(directory, name=directory, remedy="give a chat model's directory")
    check_chat_template(tokenizer, directory)
    return tokenizer, tokens_per_image(directory)


def make_folder(path: Path) -> Path:
    """The folder to write to, made where it is missing."""
    if path.exists() and not path.is_dir():
        raise UserError(f"{path}: is a file; give a folder to write to")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path}: cannot be made ({error.strerror}); give another --out") from None
    return path


def print_paths(paths: dict[str, Path], out: Path) -> None:
    """Say what was written."""
    for name, path in paths.items():
        typer.echo(f"{name}: {path}")
    typer.echo(f"image folder: {out}")
