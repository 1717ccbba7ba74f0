"""Chat templates by name, for models whose tokenizer brings none or the wrong one."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, TemplateSyntaxError

from llava_tuning.errors import UserError
from llava_tuning.models.gguf_llama import CHATML
from llava_tuning.models.internlm2_tokenizer import CHAT_TEMPLATE as INTERNLM2

# Of XTuner's and LLaVA's own training on Vicuna, whose tokenizer brings none.
VICUNA = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'user' %}{{ 'USER: ' + message['content'] + ' ASSISTANT:' }}"
    "{% elif message['role'] == 'assistant' %}{{ ' ' + message['content'] + eos_token }}"
    "{% else %}{{ message['content'] + ' ' }}{% endif %}{% endfor %}"
)
TEMPLATES = {"chatml": CHATML, "internlm2_chat": INTERNLM2, "vicuna": VICUNA}


def read_template(given: str) -> str:
    """The template of that name, or what the Jinja file holds.

    Raises:
        UserError: neither a name nor a file, or a file that is no Jinja.
    """
    if given in TEMPLATES:
        return TEMPLATES[given]
    path = Path(given).expanduser()
    if not path.is_file():
        raise UserError(f"{given}: no such chat template; give {', '.join(TEMPLATES)} or a Jinja file")
    text = path.read_text(encoding="utf-8")
    try:
        Environment(autoescape=False).parse(text)
    except TemplateSyntaxError as error:
        raise UserError(f"{path}, line {error.lineno}: {error.message}; mend the template there") from None
    return text
