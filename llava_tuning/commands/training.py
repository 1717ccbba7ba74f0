"""Subcommands of `llava-tuning` that train: train, train-clip, config."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from llava_tuning.errors import UserError

config_app = typer.Typer(help="The configs that come with the project.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add this module's commands to the command line."""
    app.command()(train)
    app.command("train-clip")(train_clip)
    app.add_typer(config_app, name="config")


def train(
    config: Annotated[str, typer.Argument(help="A config's name (`config list`) or file.")],
    work_dir: Annotated[
        Path | None, typer.Option(help="Where the run writes; work_dirs/CONFIG by default.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Override a setting: NAME=VALUE; repeatable.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the run's newest checkpoint.")] = False,
    resume_from: Annotated[str | None, typer.Option(help="Go on from this checkpoint.")] = None,
    load_from: Annotated[
        str | None,
        typer.Option(
            help="Begin with a model's parts (a folder, or default: the embedded model's), or with the "
            "weights of another run's checkpoint, iter_N.pth."
        ),
    ] = None,
    deepspeed: Annotated[
        str | None, typer.Option(help="zero1, zero2, zero3 or a DeepSpeed JSON file.")
    ] = None,
    nproc_per_node: Annotated[int, typer.Option(min=1, help="Processes (GPUs) on this machine.")] = 1,
    nnodes: Annotated[
        int, typer.Option(min=1, help="Machines; give torchrun's rendezvous options after --.")
    ] = 1,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, print the plan, stop.")
    ] = False,
    card: Annotated[
        str | None,
        typer.Option(help="A GPU, e.g. H100 or 'RTX 4090': does the run fit, how long does it take."),
    ] = None,
    torchrun_args: Annotated[list[str] | None, typer.Argument(help="More options for torchrun.")] = None,
) -> None:
    """Train a stage by a config, through XTuner: checks everything first, shows progress, can be resumed."""
    from llava_tuning.training.config import config_path, parse_settings

    config_path(config)  # a mistyped word is told before what takes seconds to import
    parse_settings(set_ or ())
    from llava_tuning.training.launch import train as run

    status = run(
        config,
        work_dir,
        set_ or (),
        resume=resume_from or ("auto" if resume else None),
        deepspeed=deepspeed,
        nproc_per_node=nproc_per_node,
        nnodes=nnodes,
        launcher_args=torchrun_args or (),
        dry_run=dry_run,
        card=card,
        load_from=load_from,
    )
    sys.exit(status if status >= 0 else 128 - status)


def train_clip(
    out: Annotated[Path, typer.Option(help="Directory for the vision tower and its picture processor.")],
    data: Annotated[
        list[str] | None, typer.Argument(help="Records with captions: FILE.json or FILE.json:IMAGE_FOLDER.")
    ] = None,
    everyday: Annotated[Path | None, typer.Option(help="Folder that `data everyday` wrote.")] = None,
    everyday_share: Annotated[float, typer.Option(help="Share of a batch beside records.")] = 0.5,
    hold_out: Annotated[
        str | None,
        typer.Option(
            help="Style of the everyday pictures to score on, not to train on; no DATA may show it."
        ),
    ] = None,
    image_size: Annotated[int, typer.Option(min=1, help="Side of a picture, pixels.")] = 96,
    patch_size: Annotated[int, typer.Option(min=1, help="Side of a patch, pixels.")] = 16,
    width: Annotated[int, typer.Option(min=1, help="Hidden size.")] = 256,
    layers: Annotated[int, typer.Option(min=1, help="Layers of the vision tower.")] = 6,
    epochs: Annotated[float, typer.Option(min=0, help="Passes over the data.")] = 20,
    batch_size: Annotated[int, typer.Option(min=2, help="Pictures a step.")] = 256,
    lr: Annotated[float, typer.Option(min=0, help="Highest learning rate.")] = 5e-4,
    pooling: Annotated[
        Literal["class", "patches"],
        typer.Option(
            help="Captions are compared with: class, as in CLIP, or patches, the mean of what LLaVA reads."
        ),
    ] = "class",
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of weights, order and shifts.")] = 0,
    tokenizer: Annotated[
        str, typer.Option(help="Tokenizer directory for captions; SmolLM2's by default.")
    ] = "smollm2",
    resume: Annotated[bool, typer.Option("--resume", help="Go on where this run was interrupted.")] = False,
) -> None:
    """Train a small CLIP contrastively on captioned pictures and save its vision tower."""
    ready()
    from llava_tuning.models.smollm2 import smollm2_directory
    from llava_tuning.training.clip.settings import HEAD_WIDTH, ClipSettings
    from llava_tuning.training.clip.train import train_clip as run

    pairs = []
    for item in data or ():
        file, _, folder = item.partition(":")
        pairs.append((Path(file), Path(folder) if folder else Path(file).parent))
    settings = ClipSettings(
        image_size=image_size,
        patch_size=patch_size,
        width=width,
        layers=layers,
        heads=max(1, width // HEAD_WIDTH),
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        seed=seed,
        everyday_share=everyday_share,
        held_out_style=hold_out,
        pooling=pooling,
    )
    directory = smollm2_directory() if tokenizer == "smollm2" else Path(tokenizer)
    scores = run(pairs, out, directory, settings, resume, everyday)
    told = f"{out}: loss {scores['loss']:.3f}, right caption first {scores['retrieval_accuracy']:.1%}"
    if hold_out is not None:
        told += f"; {hold_out} named rightly {scores['held_out_accuracy']:.1%}"
    if os.environ.get("RANK", "0") == "0":  # torchrun starts several
        typer.echo(told)


@config_app.command("list")
def config_list(
    pattern: Annotated[str, typer.Option("--pattern", "-p", help="Part of the name.")] = "",
) -> None:
    """Names of the configs."""
    from llava_tuning.training.config import config_names

    names = [name for name in config_names() if pattern in name]
    if not names:
        raise UserError(
            f"--pattern {pattern}: no config's name holds it; `llava-tuning config list` shows all"
        )
    for name in names:
        typer.echo(name)


@config_app.command("copy")
def config_copy(name: str, directory: Path = Path()) -> None:
    """Copy a config and its base into a directory, to edit."""
    from llava_tuning.training.config import copy_config

    typer.echo(copy_config(name, directory))


@config_app.command("show")
def config_show(name: str) -> None:
    """Print a config with its base, every setting put where XTuner reads it."""
    from llava_tuning.training.config import config_path, load_settings

    typer.echo(load_settings(config_path(name)).pretty_text)


def ready() -> None:
    """Before the heavy imports of a command that loads models."""
    from llava_tuning.training import compat, quiet

    compat.apply()
    quiet.apply()
