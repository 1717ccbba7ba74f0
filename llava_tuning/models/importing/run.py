"""`import`: tell formats apart, and import the model."""

from __future__ import annotations

from pathlib import Path

from llava_tuning.errors import UserError
from llava_tuning.models.importing.llava_hf import import_llava_hf, is_llava_hf
from llava_tuning.models.importing.xtuner import import_xtuner, is_xtuner_llava, local_directory

# Of XTuner's and LLaVA's own training on Vicuna, whose tokenizer brings none.
VICUNA = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'user' %}{{ 'USER: ' + message['content'] + ' ASSISTANT:' }}"
    "{% elif message['role'] == 'assistant' %}{{ ' ' + message['content'] + eos_token }}"
    "{% else %}{{ message['content'] + ' ' }}{% endif %}{% endfor %}"
)


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
        chat_template: 'vicuna' or a file in Jinja.

    Returns:
        what format it was.

    Raises:
        UserError: no known format, or as `import_xtuner` and `import_llava_hf`.
    """
    directory = local_directory(source)
    if is_xtuner_llava(directory):
        import_xtuner(directory, out, llm, vision_tower, _template(chat_template))
        return "XTuner's LLaVA format"
    if is_llava_hf(directory):
        if llm or vision_tower or chat_template:
            raise UserError(
                f"{source}: holds all its parts; leave out --llm, --vision-tower and --chat-template"
            )
        import_llava_hf(directory, out, source if directory != Path(source) else directory.resolve().name)
        return "a llava-hf model"
    raise UserError(
        f"{source}: neither XTuner's LLaVA format (projector/config.json) nor a llava-hf model "
        "(config.json with a vision_config)"
    )


def _template(name: str | None) -> str | None:
    if name is None or name == "vicuna":
        return VICUNA if name else None
    path = Path(name).expanduser()
    if not path.is_file():
        raise UserError(f"{name}: no such chat template; give 'vicuna' or a Jinja file")
    return path.read_text(encoding="utf-8")
