"""Answer with transformers, in this process: a LLaVA directory, or a Llama directory for text only."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Generator, Hashable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import torch
from transformers import DynamicCache

from llava_tuning.errors import UserError
from llava_tuning.inference.attention_map import PictureAttention
from llava_tuning.inference.backend import (
    GREEDY,
    ChatMessage,
    Finished,
    GenerationSettings,
    MemoryFullError,
)
from llava_tuning.inference.context import check_messages, fit_context
from llava_tuning.inference.decoding import Sampler, StopTexts, TextStream
from llava_tuning.inference.forward import ForwardPass, Prompt
from llava_tuning.inference.loading import LoadedModel, load_model
from llava_tuning.inference.prefix_cache import Prefix, PrefixCache
from llava_tuning.models.conversation import Message, answer_end, render_conversation

_MEMORY_FULL = (
    "the GPU's memory is full; start a new conversation, shorten the question or choose fewer new tokens"
)


class TransformersBackend:
    """A `ChatBackend` over a loaded model. It writes token by token itself, without `generate`.

    So one loop serves streaming and batches, a stopped answer stops between two tokens, errors reach the
    caller without a thread in between, and each answer has its own source of randomness.
    """

    at_once = 1  # two would each take twice as long

    def __init__(self, loaded: LoadedModel, name: str) -> None:
        config = loaded.model.config
        text_config = config.get_text_config()
        self.name = name
        self.sees = loaded.image_processor is not None
        self.mode = loaded.mode
        self.max_length: int = text_config.max_position_embeddings
        self._tokenizer = loaded.tokenizer
        self._end_ids = _end_ids(loaded)
        self._forward = ForwardPass(loaded, pad_id=next(iter(self._end_ids)))
        self._prefixes = PrefixCache()
        # The picture's id is no word, and ids beyond the tokenizer's have no text.
        beyond = range(len(loaded.tokenizer), text_config.vocab_size)
        self._forbidden = sorted(
            {*beyond}
            | ({self._forward.image_token_id} if self._forward.image_token_id is not None else set())
        )

    @classmethod
    def load(
        cls,
        directory: Path,
        name: str,
        device: str = "auto",
        load_in: str = "auto",
        say: Callable[[str], None] = lambda line: None,
        template: str | None = None,
    ) -> TransformersBackend:
        """Load a model directory; see `load_backend` for the arguments and errors."""
        return cls(load_model(directory, device, load_in, say, template), name)

    def stream(
        self,
        messages: Sequence[ChatMessage],
        settings: GenerationSettings,
        cancel: threading.Event | None = None,
    ) -> Generator[str, None, Finished]:
        """See `ChatBackend.stream`. A bad question raises here, before the first piece is asked for."""
        return self._stream(self._prompt(messages, settings), settings, cancel)

    def answer_batch(
        self, conversations: Sequence[Sequence[ChatMessage]], settings: GenerationSettings
    ) -> list[str]:
        """See `ChatBackend.answer_batch`. Conversations with and without pictures may be mixed."""
        prompts = [self._prompt(messages, settings) for messages in conversations]
        written: list[list[int]] = [[] for _ in prompts]
        try:
            for tokens in self._write(prompts, settings):
                for row, token in tokens.items():
                    written[row].append(token)
        except torch.OutOfMemoryError:
            longest = max(len(prompt.ids) for prompt in prompts)
            raise UserError(
                f"{len(prompts)} conversations of up to {longest:,} tokens do not fit into the GPU's memory "
                "at once; choose a smaller batch size"
            ) from None
        answers = []
        for ids in written:
            text = TextStream(self._tokenizer)
            whole = "".join(text.push(token) for token in ids) + text.finish()
            answers.append(StopTexts(settings.stop).push(whole).strip() if settings.stop else whole.strip())
        return answers

    def ready(self) -> bool:
        """See `ChatBackend.ready`: once loaded, always."""
        return True

    def picture_attention(self, messages: Sequence[ChatMessage], answer: str) -> list[PictureAttention]:
        """See `AttentiveBackend.picture_attention`."""
        prompt = self._prompt(messages, GREEDY)
        if not prompt.images or not (answer := answer.strip()):
            return []
        ids = self._tokenizer.encode(answer, add_special_tokens=False, split_special_tokens=True)
        ids = ids[: self.max_length - len(prompt.ids)]
        whole = Prompt([*prompt.ids, *ids], prompt.images, prompt.room)
        try:
            weights = self._forward.attention(whole, len(ids))
        except torch.OutOfMemoryError:
            self._prefixes.clear()
            raise MemoryFullError(_MEMORY_FULL) from None
        places = torch.tensor(prompt.ids).eq(self._forward.image_token_id or 0).nonzero()[:, 0]
        side = math.isqrt(self._forward.tokens_per_image)
        maps = weights[places].reshape(-1, side, side)  # (pictures, rows, columns)
        return [PictureAttention(*pair) for pair in zip(prompt.images, maps, strict=True)]

    def _prompt(self, messages: Sequence[ChatMessage], settings: GenerationSettings) -> Prompt:
        check_messages(messages, sees=self.sees, name=self.name)
        kept, ids, room = fit_context(messages, self._render, self.max_length, settings.max_new_tokens)
        return Prompt(ids, [image for message in kept for image in message.images], room)

    def _render(self, messages: Sequence[ChatMessage]) -> list[int]:
        return render_conversation(
            self._tokenizer,
            [Message(message.role, message.text, len(message.images)) for message in messages],
            image_token_id=self._forward.image_token_id,
            tokens_per_image=self._forward.tokens_per_image,
            generation_prompt=True,
        ).input_ids

    def _stream(
        self, prompt: Prompt, settings: GenerationSettings, cancel: threading.Event | None
    ) -> Generator[str, None, Finished]:
        """Reads what is new since the conversation's last answer, and keeps keys and values for its next.

        What is to be repeated is read from the beginning each time: read in other pieces, logits differ by
        rounding, and chance makes another text of that.
        """
        names = self._forward.token_names(prompt)
        prefix = self._prefixes.take(names)
        if prefix is None or settings.repeatable:
            prefix = Prefix([], self._forward.new_cache())
        rest = prompt.after(len(prefix.tokens), self._forward.image_token_id, self._forward.tokens_per_image)
        text, until, count = TextStream(self._tokenizer), StopTexts(settings.stop), 0
        try:
            for tokens in self._write([rest], settings, cancel, prefix.cache):
                names.append(tokens[0])
                count += 1
                if piece := until.push(text.push(tokens[0])):
                    yield piece
                if until.found:
                    break
            else:
                if last := until.push(text.finish()) + until.finish():
                    yield last
        except torch.OutOfMemoryError:
            self._prefixes.clear()
            raise MemoryFullError(_MEMORY_FULL) from None
        except GeneratorExit:  # any other error leaves half of a token read: nothing is kept
            self._keep(prefix, names)
            raise
        self._keep(prefix, names)
        return Finished(self._reason(count, prompt.room, until.found, cancel), len(prompt.ids), count)

    @staticmethod
    def _reason(
        count: int, room: int, stop_found: bool, cancel: threading.Event | None
    ) -> Literal["stop", "length", "cancelled"]:
        if stop_found:
            return "stop"
        if count == room:
            return "length"
        return "cancelled" if cancel and cancel.is_set() else "stop"

    def _keep(self, prefix: Prefix, names: list[Hashable]) -> None:
        prefix.tokens = names[: prefix.cache.get_seq_length()]
        self._prefixes.put(prefix)

    def _write(
        self,
        prompts: Sequence[Prompt],
        settings: GenerationSettings,
        cancel: threading.Event | None = None,
        cache: DynamicCache | None = None,
    ) -> Iterator[dict[int, int]]:
        """Yield one token for each prompt (by its index) that is not finished; end tokens are kept back.

        `cache` holds what stands before a single prompt; it grows by all that is read and written.
        """
        if not prompts:
            return
        # inference_mode is entered anew for each step: a generator must not leave it on for its caller.
        sampler = Sampler(settings, self._forbidden, self._forward.model.device)
        if cache is None:
            cache, read, prompts = self._forward.begin(prompts)
        else:
            read = torch.ones(1, cache.get_seq_length(), dtype=torch.long, device=self._forward.model.device)
        embeds, mask = self._forward.embed(prompts)
        mask = torch.cat([read, mask], dim=1)
        rows = list(range(len(prompts)))
        written = mask.new_empty((len(rows), 0))  # (batch, answer length)
        while not (cancel and cancel.is_set()):
            tokens = sampler.next(self._forward.logits(embeds, mask, cache), written)  # (batch,)
            written = torch.cat([written, tokens[:, None]], dim=1)
            step = {row: token for row, token in zip(rows, tokens.tolist(), strict=True)}
            step = {row: token for row, token in step.items() if token not in self._end_ids}
            if step:
                yield step
            going = [i for i, row in enumerate(rows) if row in step and written.shape[1] < prompts[row].room]
            if not going:
                return
            if len(going) < len(rows):  # finished answers leave the batch
                index = torch.tensor(going, device=mask.device)
                cache.batch_select_indices(index)
                tokens, mask, written = tokens[index], mask[index], written[index]
                rows = [rows[i] for i in going]
            embeds = self._forward.embed_ids(tokens[:, None])
            mask = torch.cat([mask, mask.new_ones(len(rows), 1)], dim=1)


def _end_ids(loaded: LoadedModel) -> frozenset[int]:
    """Every id that ends an answer: the generation config's, the tokenizer's and the chat template's."""
    generation_config = loaded.model.generation_config
    configured = generation_config.eos_token_id if generation_config else None
    ids = set(configured if isinstance(configured, list) else [configured])
    ids.add(loaded.tokenizer.eos_token_id)
    ids.add(answer_end(loaded.tokenizer))
    return frozenset(token for token in ids if token is not None)
