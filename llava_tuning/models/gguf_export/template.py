"""The chat template that goes into a GGUF file: llama.cpp puts a mark into the text for each picture.

Its server joins a message's parts to one string without a line break after the mark; llama-cpp-python gives
parts. Both become what the model was trained on: the pictures, each followed by a line break, then the text.
"""

from __future__ import annotations

from llava_tuning.models.llava import FLATTEN_CONTENT

# A mark is `<__media__>`, or has letters of the server's own: `<__media_X__>`.
_MEDIA = (
    "{%- set ns = namespace(flat=[]) -%}{%- for m in messages -%}{%- set whole = namespace(value='') -%}"
    "{%- if m['content'] is string -%}{%- set whole.value = m['content'] -%}"
    "{%- elif m['content'] -%}{%- for part in m['content'] -%}"
    "{%- set whole.value = whole.value + (part['text'] or '') -%}{%- endfor -%}{%- endif -%}"
    "{%- set out = namespace(pictures='', text='') -%}"
    "{%- for piece in whole.value.split('__>') -%}"
    "{%- set halves = piece.split('<__media') -%}"
    "{%- if loop.last -%}{%- set out.text = out.text + piece -%}"
    "{%- elif halves | length == 2 -%}"
    "{%- set out.text = out.text + halves[0] -%}"
    "{%- set out.pictures = out.pictures + '<__media' + halves[1] + '__>\n' -%}"
    "{%- else -%}{%- set out.text = out.text + piece + '__>' -%}{%- endif -%}{%- endfor -%}"
    "{%- set ns.flat = ns.flat + [{'role': m['role'], 'content': out.pictures + out.text}] -%}"
    "{%- endfor -%}{%- set messages = ns.flat -%}"
)


def media_template(template: str) -> str:
    """The chat template of a model that sees, for llama.cpp's marks instead of `<image>`."""
    return _MEDIA + template.removeprefix(FLATTEN_CONTENT)
