"""Render a conversation to token ids and labels: the one place where text becomes model input.

Training, chat, batch and evaluation all call `render_conversation`, so the ids that a model was trained on
are the ids that it is asked with. The layout comes from the tokenizer's own chat template; what people typed
is encoded apart from the template's special tokens, so that a typed "<|im_end|>" stays plain text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:  # transformers takes seconds to import, and reading records does not need it
    from transformers import PreTrainedTokenizerBase

IGNORE_INDEX = -100
IMAGE_MARKER = "<image>"
Role = Literal["system", "user", "assistant"]

# Private-use characters stand for the messages' contents while the template is rendered.
_SLOT = "\ue000{}\ue001"
_SLOT_PATTERN = re.compile("\ue000(\\d+)\ue001")


@dataclass(frozen=True)
class Message:
    """One turn. `images` is how many pictures stand before the text (0 or more)."""

    role: Role
    text: str
    images: int = 0


@dataclass
class Rendered:
    """Token ids of one conversation, and the labels: the id where it is trained on, else IGNORE_INDEX."""

    input_ids: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)

    def truncated(self, max_length: int | None) -> Rendered:
        """The first `max_length` tokens, picture tokens counted at their full number."""
        return Rendered(self.input_ids[:max_length], self.labels[:max_length])


@dataclass
class _Run:
    """A stretch that is encoded in one go: text, one special token or a picture."""

    text: str = ""
    token_id: int | None = None
    repeat: int = 1
    trained: bool = False


def render_conversation(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Message],
    *,
    image_token_id: int | None = None,
    tokens_per_image: int = 0,
    generation_prompt: bool = False,
    max_length: int | None = None,
) -> Rendered:
    """Token ids and labels of `messages`.

    Args:
        tokenizer: a tokenizer with a chat template.
        messages: turns in order; an optional system turn first.
        image_token_id: the id written at every picture position (needed when a message has pictures).
        tokens_per_image: positions that one picture takes, e.g. 576 for CLIP ViT-L/14-336.
        generation_prompt: end with the template's opening of the assistant's turn.
        max_length: keep this many tokens from the start.

    Returns:
        ids and labels of equal length. Trained on are the assistant's texts and the token that ends each.

    Raises:
        ValueError: the tokenizer has no chat template, or pictures are given without `image_token_id`.
    """
    if any(message.images for message in messages) and (image_token_id is None or tokens_per_image < 1):
        raise ValueError("a message has a picture, but image_token_id or tokens_per_image is missing")
    out = Rendered()
    for run in _runs(tokenizer, messages, generation_prompt, image_token_id, tokens_per_image):
        if run.token_id is not None:
            ids = [run.token_id] * run.repeat
        else:
            ids = tokenizer.encode(run.text, add_special_tokens=False, split_special_tokens=True)
        out.input_ids += ids
        out.labels += ids if run.trained else [IGNORE_INDEX] * len(ids)
    return out if max_length is None else out.truncated(max_length)


def answer_end(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """The token that ends an answer, trained on and stopped at; None where the chat template has none."""
    rendered = render_conversation(tokenizer, [Message("user", "a"), Message("assistant", "b")])
    last = [label for label in rendered.labels if label != IGNORE_INDEX][-1]
    return last if last in map(partial(id_of, tokenizer), _special_tokens(tokenizer)) else None


def id_of(tokenizer: PreTrainedTokenizerBase, token: str) -> int:
    """The id of one token of the vocabulary."""
    found = tokenizer.convert_tokens_to_ids(token)
    assert isinstance(found, int)  # a list comes back for a list only
    return found


def _special_tokens(tokenizer: PreTrainedTokenizerBase) -> set[str]:
    """Every special token, also those without a role: `all_special_tokens` alone holds those with one.

    A tokenizer whose configured end is another token than its template's would else spell the template's
    end out in pieces, and nothing would teach the model to stop.
    """
    added = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    return added | set(tokenizer.all_special_tokens)


def _runs(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Message],
    generation_prompt: bool,
    image_token_id: int | None,
    tokens_per_image: int,
) -> list[_Run]:
    """Split the rendered template into stretches; neighbouring plain text of equal training becomes one."""
    if not tokenizer.chat_template:
        raise ValueError(f"{tokenizer.name_or_path} has no chat template")
    slots = [{"role": m.role, "content": _SLOT.format(i)} for i, m in enumerate(messages)]
    # A string, as tokenize=False says; the declared type covers every other way of calling it.
    layout = str(
        tokenizer.apply_chat_template(slots, tokenize=False, add_generation_prompt=generation_prompt)
    )
    special = sorted(_special_tokens(tokenizer), key=len, reverse=True)
    special_pattern = re.compile("|".join(map(re.escape, special)) or r"(?!)")
    runs: list[_Run] = []
    end_is_trained = False  # the special token that closes an assistant's turn is trained on

    def add_text(text: str, trained: bool = False) -> None:
        if not text:
            return
        if runs and runs[-1].token_id is None and runs[-1].trained == trained:
            runs[-1].text += text
        else:
            runs.append(_Run(text=text, trained=trained))

    for position, piece in enumerate(_SLOT_PATTERN.split(layout)):
        if position % 2:  # the content of one message
            message = messages[int(piece)]
            for _ in range(message.images):
                assert image_token_id is not None
                runs.append(_Run(token_id=image_token_id, repeat=tokens_per_image))
                add_text("\n")
            add_text(message.text, trained=message.role == "assistant")
            end_is_trained = message.role == "assistant"
            continue
        cursor = 0
        for match in special_pattern.finditer(piece):
            add_text(piece[cursor : match.start()])
            runs.append(_Run(token_id=id_of(tokenizer, match.group()), trained=end_is_trained))
            end_is_trained = False
            cursor = match.end()
        add_text(piece[cursor:])
    return runs
