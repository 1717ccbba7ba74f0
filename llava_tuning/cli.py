"""The `llava-tuning` command: thin over the package; each group of subcommands is a module of `commands/`."""

from __future__ import annotations

import errno
import functools
import importlib
import os
import sys

import typer

from llava_tuning.errors import UserError

app = typer.Typer(
    name="llava-tuning",
    help="Train, talk to and deploy an assistant of your own that can see.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
# Each module has `register(app)`, which adds its commands; heavy imports stay inside the commands.
# What stands between a program and a file without being its fault: said in a sentence like a UserError.
_PLACE_ERRORS = {
    errno.EACCES,
    errno.EDQUOT,
    errno.EEXIST,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.ENOSPC,
    errno.ENOTDIR,
    errno.EPERM,
    errno.EROFS,
}
_MODULES = (
    "data",
    "everyday_questions",
    "distillation",
    "models",
    "training",
    "training_selection",
    "training_export",
    "inference",
    "evaluation",
    "web",
    "deployment",
    "doctor",
)


@app.callback()
def _options() -> None:
    """Train, talk to and deploy an assistant of your own that can see."""


@functools.cache  # commands are added once, however often a process calls `main`
def _build() -> typer.Typer:
    for name in _MODULES:
        importlib.import_module(f"llava_tuning.commands.{name}").register(app)
    return app


def main() -> None:
    """Entry point: a UserError, or a place that cannot be used, becomes one sentence and exit status 2."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    try:
        _build()()
    except UserError as error:
        print(f"llava-tuning: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        if error.errno not in _PLACE_ERRORS or error.filename is None:
            raise
        remedy = "make room or rights there, or choose another place"
        print(f"llava-tuning: {error.filename}: {error.strerror}; {remedy}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
