"""Subcommands of `llava-tuning`: models out of training, and between the formats of engines."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from llava_tuning.commands.training import ready
from llava_tuning.errors import UserError


def register(app: typer.Typer) -> None:
    """Add this module's commands to the command line."""
    app.command()(export)
    app.command()(merge)
    app.command()(average)
    app.command("import")(import_command)


def export(
    source: Annotated[
        str,
        typer.Argument(
            help="The directory of a training run; with --format gguf a model directory, or 'default'."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Directory for the model.")],
    checkpoint: Annotated[Path | None, typer.Option(help="An iter_N.pth; the newest by default.")] = None,
    dtype: Annotated[
        str, typer.Option(help="bfloat16, float16 or float32; with --format gguf also q8_0.")
    ] = "bfloat16",
    parts: Annotated[
        bool,
        typer.Option("--parts", help="Only vision tower, projector and adapter, without the language model."),
    ] = False,
    adapter: Annotated[
        bool, typer.Option("--adapter", help="Only the adapter of a text run, in peft's format.")
    ] = False,
    format: Annotated[
        str, typer.Option(help="model: a model directory; gguf: files for llama.cpp from a model directory.")
    ] = "model",
) -> None:
    """Make a model directory from a training checkpoint, or GGUF files from a model directory.

    From a checkpoint, adapters are merged, and the result is checked against the run's model.
    """
    if format not in ("model", "gguf"):
        raise typer.BadParameter("choose model or gguf", param_hint="--format")
    dtypes = ("bfloat16", "float16", "float32", *(["q8_0"] if format == "gguf" else []))
    if dtype not in dtypes:
        raise typer.BadParameter(f"choose {', '.join(dtypes[:-1])} or {dtypes[-1]}", param_hint="--dtype")
    if format == "gguf":
        if parts or adapter or checkpoint:
            raise typer.BadParameter(
                "takes a whole model directory, so no --parts, --adapter or --checkpoint; export the run "
                "first",
                param_hint="--format gguf",
            )
        _export_gguf(source, out, dtype)
        return
    ready()
    from llava_tuning.training.export import export as run
    from llava_tuning.training.export import export_adapter, export_parts

    work_dir = Path(source)
    if adapter:
        typer.echo(f"{export_adapter(work_dir, out, checkpoint)}: adapter written")
        return
    if parts:
        written = export_parts(work_dir, out, checkpoint)
        typer.echo(f"{written}: vision tower, projector and adapter written")
        return
    report = run(work_dir, out, checkpoint, dtype)
    typer.echo(
        f"{report.directory}: written and read back. Largest logit difference, float32, on "
        f"{report.probes}: trained to merged {report.merged_difference:.1e}, written to read "
        f"{report.reloaded_difference:.1e}; rounding to {dtype} moves logits by up to "
        f"{report.rounding_difference:.1e}."
    )


def _export_gguf(source: str, out: Path, dtype: str) -> None:
    """Needs nothing of XTuner."""
    from llava_tuning.models.default import resolve_model
    from llava_tuning.models.gguf_export.export import export_gguf

    directory = resolve_model(source)
    name = source if source == "default" else directory.resolve().name
    files = export_gguf(directory, out, name, dtype)
    seen = f" and {files.mmproj}: give it to llama.cpp with --mmproj" if files.mmproj else ""
    typer.echo(f"wrote {files.model}{seen}")
    if files.mmproj:
        typer.echo(
            "pictures: llama.cpp shifts their patches until one line of it is changed; docs/serving.md"
        )


def merge(
    base: Annotated[
        str, typer.Argument(help="The language model that the adapter was trained on, or 'smollm2'.")
    ],
    adapter: Annotated[Path, typer.Argument(help="The adapter, in peft's format.")],
    out: Annotated[Path, typer.Option("--out", help="Directory to make.")],
    dtype: Annotated[str, typer.Option(help="bfloat16, float16 or float32.")] = "bfloat16",
) -> None:
    """Merge a LoRA adapter into its language model, checked against the two of them apart."""
    if dtype not in ("bfloat16", "float16", "float32"):
        raise typer.BadParameter("choose bfloat16, float16 or float32", param_hint="--dtype")
    ready()
    from llava_tuning.models.adapters import merge_adapter
    from llava_tuning.models.default import resolve_model
    from llava_tuning.models.smollm2 import smollm2_directory

    directory = smollm2_directory() if base == "smollm2" else resolve_model(base)
    report = merge_adapter(directory, adapter, out, dtype)
    typer.echo(
        f"{report.directory}: written. Largest logit difference, float32, on three questions: adapter on "
        f"base to merged {report.merged_difference:.1e}; rounding to {dtype} moves logits by up to "
        f"{report.rounding_difference:.1e}."
    )


def average(
    parts: Annotated[
        list[str], typer.Argument(help="Folders that `export --parts` wrote, each as FOLDER:WEIGHT.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder of parts to make.")],
    model: Annotated[
        Path | None, typer.Option(help="Also make this model directory of them and the language model.")
    ] = None,
    llm: Annotated[
        str, typer.Option(help="With --model: the language model that all were trained on.")
    ] = "smollm2",
) -> None:
    """Average the parts of several runs on the same base models: one model, as fast as any of them."""
    ready()
    from llava_tuning.models.default import resolve_model
    from llava_tuning.models.directory import complete_or_not_at_all
    from llava_tuning.models.parts import assemble_parts, average_parts
    from llava_tuning.models.smollm2 import smollm2_directory

    base = None
    if model is not None:
        if model.exists() and (not model.is_dir() or any(model.iterdir())):
            raise UserError(f"--model {model}: is there already and not empty; delete it or name another")
        base = smollm2_directory() if llm == "smollm2" else resolve_model(llm)
    made = average_parts([_weighted(text) for text in parts], out, base)
    typer.echo(
        f"{out}: the mean of {len(parts)} runs; its adapter's rank leaves out {made.lost:.2%} of the mean's "
        "square"
    )
    if model is not None and base is not None:
        with complete_or_not_at_all(model) as building:
            assemble_parts(out, base, building)
        typer.echo(f"{model}: written")


def _weighted(text: str) -> tuple[Path, float]:
    folder, colon, weight = text.rpartition(":")
    try:
        value = float(weight) if colon else 0.0
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise UserError(
            f"{text}: write FOLDER:WEIGHT with a positive number, e.g. {text.partition(':')[0]}:2"
        )
    return Path(folder), value


def import_command(
    source: Annotated[
        str,
        typer.Argument(
            help="A directory or hub id: XTuner's LLaVA format (projector/, ...) or a llava-hf model."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="Directory to make.")],
    llm: Annotated[
        str | None,
        typer.Option(help="XTuner: the language model it was trained on: directory, hub id or 'smollm2'."),
    ] = None,
    vision_tower: Annotated[
        str | None, typer.Option(help="XTuner: the CLIP model it was trained on: directory or hub id.")
    ] = None,
    chat_template: Annotated[
        str | None,
        typer.Option(
            help="XTuner, for an llm without one: chatml, internlm2_chat, vicuna or a Jinja file.",
        ),
    ] = None,
) -> None:
    """Turn a LLaVA model of XTuner's or Hugging Face's format into a model directory."""
    from llava_tuning.models.importing.run import import_model

    kind = import_model(source, out, llm, vision_tower, chat_template)
    typer.echo(f"wrote {out} from {kind}; ask it: llava-tuning chat {quote(str(out))} --image FILE")
