"""From logits to text: choose the next token, and turn tokens into text piece by piece."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from transformers import (
    LogitsProcessorList,
    PreTrainedTokenizerBase,
    RepetitionPenaltyLogitsProcessor,
    SuppressTokensLogitsProcessor,
    TemperatureLogitsWarper,
    TopPLogitsWarper,
)

from llava_tuning.inference.backend import GenerationSettings

_HALF_CHARACTER = "\ufffd"


class Sampler:
    """Choose next tokens as `settings` say, never one of `forbidden`.

    The repetition penalty counts the answer's tokens only: words of the question may well be repeated.
    """

    def __init__(self, settings: GenerationSettings, forbidden: Sequence[int], device: torch.device) -> None:
        self._greedy = settings.temperature == 0
        self._generator = torch.Generator(device)
        if settings.seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(settings.seed)
        self._processors = LogitsProcessorList()
        if forbidden:
            self._processors.append(SuppressTokensLogitsProcessor(list(forbidden), device=str(device)))
        if settings.repetition_penalty != 1.0:
            self._processors.append(RepetitionPenaltyLogitsProcessor(settings.repetition_penalty))
        if not self._greedy:
            self._processors.append(TemperatureLogitsWarper(float(settings.temperature)))
            if settings.top_p < 1.0:
                self._processors.append(TopPLogitsWarper(settings.top_p))

    def next(self, logits: torch.Tensor, written: torch.Tensor) -> torch.Tensor:
        """Token ids (batch,) from logits (batch, vocabulary) after the answer so far (batch, length)."""
        scores = self._processors(cast(torch.LongTensor, written), cast(torch.FloatTensor, logits.float()))
        if self._greedy:
            return scores.argmax(-1)
        return torch.multinomial(scores.softmax(-1), 1, generator=self._generator).squeeze(-1)


class TextStream:
    """Decode a growing list of tokens so that only whole characters come out.

    A token may hold part of a character (an emoji takes several), and may read differently at the start of a
    text; so a piece is the difference between decoding with and without the newest tokens, behind those that
    came out last.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._ids: list[int] = []
        self._context = 0  # where the tokens of the piece before begin
        self._emitted = 0  # tokens whose text is out

    def _decode(self, ids: list[int]) -> str:
        text = self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        assert isinstance(text, str)
        return text

    def push(self, token_id: int) -> str:
        """Add a token; returns the text that is complete now, "" while a character is still half."""
        self._ids.append(token_id)
        piece = self._pending()
        if not piece or piece.endswith(_HALF_CHARACTER):
            return ""
        self._context, self._emitted = self._emitted, len(self._ids)
        return piece

    def finish(self) -> str:
        """What is left at the end, without a character that never became whole."""
        return self._pending().rstrip(_HALF_CHARACTER)

    def _pending(self) -> str:
        before = self._decode(self._ids[self._context : self._emitted])
        return self._decode(self._ids[self._context :])[len(before) :]


class StopTexts:
    """Let a growing text through up to the first of `texts`, keeping back what may be one's beginning."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts
        self._kept = ""
        self.found = False

    def push(self, piece: str) -> str:
        """Add a piece; returns what is certain to be part of the answer. `found` tells the end."""
        text = self._kept + piece
        ends = [at for stop in self._texts if (at := text.find(stop)) >= 0]
        if ends:
            self.found, self._kept = True, ""
            return text[: min(ends)]
        keep = max((_overlap(text, stop) for stop in self._texts), default=0)
        cut = len(text) - keep
        self._kept = text[cut:]
        return text[:cut]

    def finish(self) -> str:
        """What was kept back and turned out to be no stop text."""
        kept, self._kept = self._kept, ""
        return kept


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of `text` begin `stop`."""
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if stop.startswith(text[-n:])), 0)
