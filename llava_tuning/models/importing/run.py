"""`import`: tell formats apart, and import the model."""

from __future__ import annotations

from pathlib import Path

from llava_tuning.errors import UserError
from llava_tuning.models.importing.llava_hf import import_llava_hf, is_llava_hf
from llava_tuning.models.importing.origin import find_origin
from llava_tuning.models.importing.xtuner import import_xtuner, is_xtuner_llava
from llava_tuning.models.templates import read_template


def import_model(
    source: str,
    out: Path,
    llm: str | None = None,
    vision_tower: str | None = None,
    chat_template: str | None = None,
) -> str:
    """Write a LLaVA model of another format as a model directory.

    Args:
        source: a directory or hub id.
        out: the directory to make.
        llm: see `import_xtuner`, and so `vision_tower`.
        chat_template: one of `TEMPLATES` or a file in Jinja.

    Returns:
        what format it was.

    Raises:
        UserError: no known format, or as `import_xtuner` and `import_llava_hf`.
    """
    origin = find_origin(source)
    if is_xtuner_llava(origin.directory):
        template = read_template(chat_template) if chat_template else None
        import_xtuner(origin, out, llm, vision_tower, template)
        return "XTuner's LLaVA format"
    if is_llava_hf(origin.directory):
        if llm or vision_tower or chat_template:
            raise UserError(
                f"{source}: holds all its parts; leave out --llm, --vision-tower and --chat-template"
            )
        import_llava_hf(origin, out)
        return "a llava-hf model"
    raise UserError(
        f"{source}: neither XTuner's LLaVA format (projector/config.json) nor a llava-hf model "
        "(config.json with a vision_config)"
    )
