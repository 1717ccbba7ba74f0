"""What was read in earlier turns is not read again, and answers are the same as if it were."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from llava_tuning.inference.backend import GREEDY, ChatMessage, MemoryFullError, load_backend
from llava_tuning.inference.forward import _is_worthwhile
from llava_tuning.inference.prefix_cache import PictureCache, Prefix, PrefixCache, picture_key
from llava_tuning.inference.transformers_backend import TransformersBackend

SHORT = replace(GREEDY, max_new_tokens=8)
STRIPES = Image.linear_gradient("L").convert("RGB")
RED = Image.new("RGB", (40, 30), "red")
QUESTIONS = ["What is this?", "Is it big?", "What is the capital of France?", "And of Italy?", "Why?"]


@pytest.fixture(scope="module")
def fresh(llava: TransformersBackend) -> Callable[[], TransformersBackend]:
    """Backends that have read nothing yet; they share the weights, which are loaded once."""

    def make() -> TransformersBackend:
        backend = copy(llava)
        backend._prefixes, backend._forward = PrefixCache(), copy(llava._forward)
        backend._forward.pictures = PictureCache()
        return backend

    return make


@pytest.fixture
def backend(fresh: Callable[[], TransformersBackend]) -> TransformersBackend:
    return fresh()


@pytest.fixture
def read(backend: TransformersBackend, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many tokens each forward pass read."""
    lengths: list[int] = []
    logits = backend._forward.logits

    def spy(embeds: torch.Tensor, *rest: object) -> torch.Tensor:
        lengths.append(embeds.shape[1])
        return logits(embeds, *rest)

    monkeypatch.setattr(backend._forward, "logits", spy)
    return lengths


@pytest.fixture
def encoded(backend: TransformersBackend, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pictures each call of the vision tower encoded."""
    counts: list[int] = []
    features = backend._forward.model.get_image_features

    def spy(pixel_values: torch.Tensor, **options: object) -> object:
        counts.append(len(pixel_values))
        return features(pixel_values=pixel_values, **options)

    monkeypatch.setattr(backend._forward.model, "get_image_features", spy)
    return counts


def ask(backend: TransformersBackend, messages: list[ChatMessage]) -> str:
    return "".join(backend.stream(messages, SHORT))


def talk(backend: TransformersBackend, image: Image.Image = STRIPES) -> list[ChatMessage]:
    """A conversation of five turns about a picture; in each turn the picture is another object."""
    messages: list[ChatMessage] = []
    for number, question in enumerate(QUESTIONS):
        messages.append(ChatMessage("user", question, () if number else (image,)))
        if number:
            messages[0] = replace(messages[0], images=(image.copy(),))
        messages.append(ChatMessage("assistant", ask(backend, messages)))
    return messages


@pytest.fixture(scope="module")
def talked(fresh: Callable[[], TransformersBackend]) -> list[ChatMessage]:
    """`talk` with a backend that had read nothing before."""
    return talk(fresh())


def test_answers_are_those_of_a_backend_that_reads_all_anew(
    fresh: Callable[[], TransformersBackend], talked: list[ChatMessage]
) -> None:
    anew = fresh()
    for end in range(1, len(talked), 2):
        anew._prefixes, anew._forward.pictures = PrefixCache(0), PictureCache(0)
        assert ask(anew, talked[:end]) == talked[end].text


def test_a_conversation_reads_a_picture_and_each_turn_once(
    backend: TransformersBackend, read: list[int], encoded: list[int]
) -> None:
    messages = talk(backend)
    starts = [length for length in read if length > 1]
    assert len(starts) == len(QUESTIONS)
    whole = len(backend._render(messages[:-1]))
    assert starts[0] > backend._forward.tokens_per_image
    assert sum(starts[1:]) < whole - starts[0]
    assert max(starts[1:]) < 40
    assert encoded == [1]
    ask(backend, [ChatMessage("user", "Another question about it?", (STRIPES.copy(),))])
    assert encoded == [1]
    ask(backend, [ChatMessage("user", "What is this?", (RED,))])
    assert encoded == [1, 1]


def test_another_picture_under_the_same_words_is_read(
    fresh: Callable[[], TransformersBackend], backend: TransformersBackend, talked: list[ChatMessage]
) -> None:
    other = talk(backend, RED)
    assert talk(backend, STRIPES) == talked
    assert talk(fresh(), RED)[1:] == other[1:]


def test_an_edited_turn_is_answered_anew(
    fresh: Callable[[], TransformersBackend], backend: TransformersBackend
) -> None:
    messages = talk(backend)
    edited = [*messages[:4], ChatMessage("user", "What is the capital of Spain?")]
    assert ask(backend, edited) == ask(fresh(), edited)
    retried = [*edited[:4], messages[4]]
    assert ask(backend, retried) == messages[5].text


def test_conversations_in_turns_keep_what_was_read(backend: TransformersBackend, read: list[int]) -> None:
    first = [ChatMessage("user", "Tell me about cats and all that they like to eat.")]
    second = [ChatMessage("user", "Write a poem about the sea and the wind in autumn.")]
    for messages in (first, second):
        messages += [ChatMessage("assistant", ask(backend, messages)), ChatMessage("user", "More.")]
    read.clear()
    for messages in (first, second):
        ask(backend, messages)
    assert [length for length in read if length > 1] == [pytest.approx(10, abs=5)] * 2


def test_a_closed_answer_is_gone_on_from(
    fresh: Callable[[], TransformersBackend], backend: TransformersBackend
) -> None:
    messages = [ChatMessage("user", "Write a long story about a cat.")]
    stream = backend.stream(messages, replace(GREEDY, max_new_tokens=50))
    begun = "".join(next(stream) for _ in range(5))
    stream.close()
    messages += [ChatMessage("assistant", begun), ChatMessage("user", "What is the capital of France?")]
    assert ask(backend, messages) == ask(fresh(), messages)


def test_a_failed_answer_leaves_nothing_behind(
    backend: TransformersBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")  # stands for a GPU that is full

    ask(backend, [ChatMessage("user", "What is the capital of Italy?")])  # is kept, until memory is short
    with monkeypatch.context() as patch:
        patch.setattr(backend._forward, "logits", full)
        with pytest.raises(MemoryFullError, match="start a new conversation"):
            ask(backend, [ChatMessage("user", "What is the capital of France?")])
    assert not backend._prefixes._prefixes
    assert "Paris" in ask(backend, [ChatMessage("user", "What is the capital of France?")])


def test_a_seeded_answer_is_read_from_the_beginning_and_its_next_turn_is_not(
    backend: TransformersBackend, read: list[int]
) -> None:
    """Rounding differs with what is read at once, and a sampled text with the rounding."""
    seeded = replace(SHORT, temperature=1.5, top_p=1.0, seed=7)
    question = [ChatMessage("user", "Write a poem about the sea.")]
    answer = "".join(backend.stream(question, seeded))
    whole = read[0]
    read.clear()
    assert "".join(backend.stream(question, seeded)) == answer and read[0] == whole
    assert len(backend._prefixes._prefixes) == 1
    read.clear()
    further = [*question, ChatMessage("assistant", answer), ChatMessage("user", "Why?")]
    "".join(backend.stream(further, SHORT))
    assert read[0] < whole + 8


class Cache:
    """As much of a `DynamicCache` as the prefix cache touches."""

    def __init__(self, length: int) -> None:
        self.length = length

    def crop(self, change: int) -> None:
        assert change < 0
        self.length += change


def prefix(tokens: str) -> Prefix:
    return Prefix(list(tokens), Cache(len(tokens)))


def test_questions_of_a_batch_about_one_picture_read_it_once(
    backend: TransformersBackend,
    fresh: Callable[[], TransformersBackend],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of two pictures; a turn before the picture and a second picture are read as well."""
    shapes: list[tuple[int, int]] = []
    logits = backend._forward.logits

    def spy(embeds: torch.Tensor, *rest: object) -> torch.Tensor:
        shapes.append((embeds.shape[0], embeds.shape[1]))
        return logits(embeds, *rest)

    monkeypatch.setattr(backend._forward, "logits", spy)
    greeting = [ChatMessage("user", "Hello."), ChatMessage("assistant", "Hi.")]
    later = [[*greeting, ChatMessage("user", text, (RED,))] for text in QUESTIONS]
    asked = [[ChatMessage("user", text, (STRIPES,))] for text in (*QUESTIONS, "Is it red or blue?")]
    asked += [[ChatMessage("user", text, (RED,))] for text in QUESTIONS]
    asked += [[ChatMessage("user", "Are both red?", (RED, STRIPES))]]
    for questions, pictures in ((asked, 2), (later, 1)):
        shapes.clear()
        whole = max(len(backend._prompt(messages, SHORT).ids) for messages in questions)
        answers = backend.answer_batch(questions, SHORT)
        beginnings, rest = shapes[:2]
        assert beginnings[0] == pictures and rest[0] == len(questions)
        assert rest[1] <= whole - backend._forward.tokens_per_image
        assert answers == [fresh().answer_batch([messages], SHORT)[0] for messages in questions]


def test_a_batch_with_a_question_in_text_alone_is_answered_as_its_questions_are(
    backend: TransformersBackend, fresh: Callable[[], TransformersBackend]
) -> None:
    asked = [[ChatMessage("user", text, (RED,))] for text in QUESTIONS]
    asked += [[ChatMessage("user", "What is the capital of France?")]]
    answers = backend.answer_batch(asked, SHORT)
    assert answers == [fresh().answer_batch([messages], SHORT)[0] for messages in asked]


def test_attention_that_reaches_back_only_so_far_is_not_cut_by_padding(
    blind_llava: Path, tmp_path: Path
) -> None:
    """As in Mistral: padding between a picture and a short question would take places of its window."""
    config = json.loads((blind_llava / "config.json").read_text())
    config["text_config"] |= {"model_type": "mistral", "architectures": ["MistralForCausalLM"]}
    config["text_config"]["sliding_window"] = 24
    for file in blind_llava.iterdir():
        (tmp_path / file.name).symlink_to(file)
    (tmp_path / "config.json").unlink()
    (tmp_path / "config.json").write_text(json.dumps(config))
    backend = load_backend(str(tmp_path), device="cpu", load_in="float32")
    assert isinstance(backend, TransformersBackend) and any(backend._forward.new_cache().is_sliding)
    asked = [[ChatMessage("user", text, (RED,))] for text in (*QUESTIONS, "Is it large? " * 12)]
    assert backend.answer_batch(asked, SHORT) == [backend.answer_batch([one], SHORT)[0] for one in asked]


def test_a_batch_reads_beginnings_apart_only_where_that_saves_work() -> None:
    few, many = [90] * 8, [90] * 32
    assert _is_worthwhile(few, [70] * 8, 1) and _is_worthwhile(many, [70] * 32, 16)
    assert not _is_worthwhile(few, [70] * 8, 8)  # each its own picture
    lengths, ends = [2064, 2064] * 4, [2000, 64] * 4  # a long beginning, and a long rest
    assert not _is_worthwhile(lengths, ends, 2)
    lengths = [2064, 1000] * 16  # half of the work, and 42 % more memory
    assert not _is_worthwhile(lengths, [2000, 64] * 16, 2)
    assert _is_worthwhile(lengths, [2000, 936] * 16, 2)


def test_a_prefix_is_cut_to_what_agrees_and_leaves_a_token_to_read() -> None:
    cache = PrefixCache()
    cache.put(prefix("abcdef"))
    taken = cache.take(list("abcdxyz"))
    assert taken is not None and taken.tokens == list("abcd") and taken.cache.length == 4
    assert cache.take(list("abcdxyz")) is None  # it belongs to who took it
    cache.put(taken)
    whole = cache.take(list("abcd"))
    assert whole is not None and whole.tokens == list("abc")


def test_few_common_words_do_not_spoil_another_conversation() -> None:
    cache = PrefixCache()
    cache.put(prefix("abcdefgh"))
    assert cache.take(list("abXYZ")) is None
    assert cache.take(list("abcdefghi")) is not None


def test_what_was_used_longest_ago_makes_room() -> None:
    cache = PrefixCache(kept_tokens=10)
    for tokens in ("aaaa", "bbbb", "cccc"):
        cache.put(prefix(tokens))
    assert cache.take(list("aaaaa")) is None
    assert cache.take(list("bbbbb")) is not None and cache.take(list("ccccc")) is not None
    pictures = PictureCache(kept=2)
    for key in (b"1", b"2", b"1", b"3"):
        if pictures.get(key) is None:
            pictures.put(key, torch.ones(1))
    assert pictures.get(b"2") is None and pictures.get(b"1") is not None


def test_pictures_are_told_apart_by_their_pixels() -> None:
    assert picture_key(RED) == picture_key(RED.copy())
    changed = RED.copy()
    changed.putpixel((3, 3), (255, 0, 1))
    assert len({picture_key(RED), picture_key(changed), picture_key(RED.resize((30, 40)))}) == 3
