"""What a model has read already is not read again: keys and values of earlier turns, and encoded pictures."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

KEPT_TOKENS = 8_192  # of all conversations together; a 7B model's keys and values for them take about 1 GB
KEPT_PICTURES = 16


def picture_key(image: Image.Image) -> bytes:
    """The same for pictures of the same pixels."""
    digest = hashlib.blake2b(repr((image.mode, image.size)).encode(), digest_size=16)
    digest.update(image.tobytes())
    return digest.digest()


@dataclass
class Prefix:
    """A model's keys and values for `tokens`, a conversation's beginning.

    A token is named by its id, or at a picture's positions by the picture and the place in it.
    """

    tokens: list[Hashable]
    cache: Any


class PrefixCache:
    """The beginnings of the conversations answered last. Safe to use from several threads at once.

    A prefix belongs to whoever took it, until it is put back: two answers never write into the same cache.
    """

    def __init__(self, kept_tokens: int = KEPT_TOKENS) -> None:
        self._kept_tokens = kept_tokens
        self._prefixes: list[Prefix] = []  # the one used last stands last
        self._lock = threading.Lock()

    def take(self, tokens: Sequence[Hashable]) -> Prefix | None:
        """What is known of the beginning of `tokens`, cut to what agrees; the last token is never in it.

        None where nothing is known, or where less than half of what is known agrees: that is likely another
        conversation with the same first words, whose own next turn is still to come.
        """
        with self._lock:
            lengths = [_common(prefix.tokens, tokens) for prefix in self._prefixes]
            fitting = [
                i for i, prefix in enumerate(self._prefixes) if 2 * lengths[i] >= len(prefix.tokens) > 0
            ]
            if not fitting:
                return None
            best = max(fitting, key=lambda i: lengths[i])
            prefix = self._prefixes.pop(best)
        kept = min(lengths[best], len(tokens) - 1)
        if kept < len(prefix.tokens):
            prefix.cache.crop(kept - len(prefix.tokens))  # a negative number removes that many
            prefix.tokens = prefix.tokens[:kept]
        return prefix

    def put(self, prefix: Prefix) -> None:
        """Keep it for the conversation's next turn; those used longest ago make room."""
        with self._lock:
            self._prefixes.append(prefix)
            while sum(len(kept.tokens) for kept in self._prefixes) > self._kept_tokens:
                self._prefixes.pop(0)

    def clear(self) -> None:
        """Forget all: the memory is needed."""
        with self._lock:
            self._prefixes.clear()


class PictureCache:
    """Features of the pictures seen last. Safe to use from several threads at once."""

    def __init__(self, kept: int = KEPT_PICTURES) -> None:
        self._kept = kept
        self._features: OrderedDict[bytes, torch.Tensor] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: bytes) -> torch.Tensor | None:
        """Its features (tokens, hidden), or None."""
        with self._lock:
            if key in self._features:
                self._features.move_to_end(key)
            return self._features.get(key)

    def put(self, key: bytes, features: torch.Tensor) -> None:
        """Keep a picture's features (tokens, hidden); the picture seen longest ago makes room."""
        with self._lock:
            self._features[key] = features
            while len(self._features) > self._kept:
                self._features.popitem(last=False)


def _common(known: Sequence[Hashable], wanted: Sequence[Hashable]) -> int:
    """How many tokens both begin with."""
    for i, (a, b) in enumerate(zip(known, wanted, strict=False)):
        if a != b:
            return i
    return min(len(known), len(wanted))
