"""Real answers of small models: right, the same in a batch, stoppable, and never past what a model can do."""

from __future__ import annotations

import json
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from llava_tuning.errors import UserError
from llava_tuning.inference.backend import GREEDY, ChatMessage, Finished, GenerationSettings, load_backend
from llava_tuning.inference.transformers_backend import TransformersBackend
from llava_tuning.models.conversation import Message, render_conversation
from llava_tuning.models.llava import load_llava

FRANCE = [ChatMessage("user", "What is the capital of France?")]
LONG = [ChatMessage("user", "Write a long story about a cat.")]
RED = Image.new("RGB", (40, 30), "red")
STRIPES = Image.linear_gradient("L").convert("RGB")
SHORT = replace(GREEDY, max_new_tokens=12)


@pytest.mark.parametrize("which", ["llama", "llava"])
def test_answers_in_text(which: str, request: pytest.FixtureRequest) -> None:
    backend = request.getfixturevalue(which)
    pieces = list(backend.stream(FRANCE, SHORT))
    assert "Paris" in "".join(pieces)
    assert len(pieces) > 3 and all(pieces)


def test_remembers_the_conversation(llama: TransformersBackend) -> None:
    earlier = [*FRANCE, ChatMessage("assistant", "The capital of France is Paris.")]
    answer = "".join(
        llama.stream([*earlier, ChatMessage("user", "And what is the capital of Italy?")], SHORT)
    )
    assert "Rome" in answer


def test_writes_what_generate_writes(llava: TransformersBackend, blind_llava: Path) -> None:
    """transformers' own generation, from the same ids and pixels, is the reference."""
    model, tokenizer, processor = load_llava(blind_llava, torch.float32)
    for picture in (None, STRIPES):
        ids = render_conversation(
            tokenizer,
            [Message("user", "What is this?", int(picture is not None))],
            image_token_id=model.config.image_token_id,
            tokens_per_image=16,
            generation_prompt=True,
        ).input_ids
        pixels = {} if picture is None else dict(processor(images=[picture], return_tensors="pt"))
        tensor = torch.tensor([ids])
        out = model.generate(
            input_ids=tensor,
            attention_mask=torch.ones_like(tensor),
            do_sample=False,
            max_new_tokens=12,
            **pixels,
        )
        expected = tokenizer.decode(out[0, len(ids) :], skip_special_tokens=True).strip()
        message = ChatMessage("user", "What is this?", (picture,) if picture else ())
        assert llava.answer_batch([[message]], SHORT) == [expected]


def test_a_batch_answers_as_single_questions_do(llava: TransformersBackend) -> None:
    conversations = [
        FRANCE,
        [ChatMessage("user", "What is this?", (RED,))],
        [ChatMessage("system", "Be brief."), ChatMessage("user", "Compare these two.", (RED, STRIPES))],
        [ChatMessage("user", "What is this?", (STRIPES,)), ChatMessage("assistant", "A."), *FRANCE],
        LONG,
    ]
    together = llava.answer_batch(conversations, SHORT)
    assert together == [llava.answer_batch([conversation], SHORT)[0] for conversation in conversations]
    assert llava.answer_batch([], SHORT) == []


def test_a_picture_changes_the_answer(llava: TransformersBackend) -> None:
    red, stripes = ([ChatMessage("user", "What is this?", (picture,))] for picture in (RED, STRIPES))
    a, b, text = llava.answer_batch([red, stripes, [ChatMessage("user", "What is this?")]], SHORT)
    assert len({a, b, text}) == 3


def test_a_text_model_refuses_pictures_at_once(llama: TransformersBackend) -> None:
    assert not llama.sees
    with pytest.raises(UserError, match="takes no pictures"):
        llama.stream([ChatMessage("user", "What is this?", (RED,))], SHORT)


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [ChatMessage("user", "  ")],
        [*FRANCE, ChatMessage("assistant", "Paris.")],
        [ChatMessage("system", "Look.", (RED,)), *FRANCE],
    ],
)
def test_refuses_what_is_no_question(llava: TransformersBackend, messages: list[ChatMessage]) -> None:
    with pytest.raises(UserError):
        llava.stream(messages, SHORT)


def test_cancel_stops_the_answer(llama: TransformersBackend) -> None:
    cancel = threading.Event()
    pieces = []
    for piece in llama.stream(LONG, replace(GREEDY, max_new_tokens=400), cancel):
        pieces.append(piece)
        if len(pieces) == 3:
            cancel.set()
    assert 3 <= len(pieces) <= 4


def test_two_streams_at_once_do_not_disturb_each_other(llama: TransformersBackend) -> None:
    alone = list(llama.stream(LONG, SHORT))
    first, second = llama.stream(LONG, SHORT), llama.stream(FRANCE, SHORT)
    mixed = []
    for piece in first:
        mixed.append(piece)
        next(second, None)
    assert mixed == alone
    assert not torch.is_inference_mode_enabled()


def test_an_answer_ends_at_max_new_tokens(llama: TransformersBackend) -> None:
    assert len(list(llama.stream(LONG, replace(GREEDY, max_new_tokens=5)))) <= 5


def finished(backend: TransformersBackend, *arguments) -> Finished:
    stream = backend.stream(*arguments)
    while True:
        try:
            next(stream)
        except StopIteration as end:
            return end.value


def test_an_answer_says_how_it_ended_and_what_it_took(llama: TransformersBackend) -> None:
    ended = finished(llama, FRANCE, GREEDY)
    assert ended.reason == "stop" and ended.answer_tokens == len(list(llama.stream(FRANCE, GREEDY)))
    assert ended.prompt_tokens == len(llama._render(FRANCE))
    cut = finished(llama, LONG, replace(GREEDY, max_new_tokens=5))
    assert (cut.reason, cut.answer_tokens) == ("length", 5)
    cancel = threading.Event()
    cancel.set()
    assert finished(llama, LONG, SHORT, cancel).reason == "cancelled"


def test_a_stop_text_ends_the_answer_and_the_work(llama: TransformersBackend) -> None:
    answer = "".join(llama.stream(FRANCE, SHORT))
    stopping = replace(SHORT, stop=("nowhere", " capital"))
    assert "".join(llama.stream(FRANCE, stopping)) == answer.partition(" capital")[0]
    assert llama.answer_batch([FRANCE, FRANCE], stopping) == ["The", "The"]
    ended = finished(llama, FRANCE, stopping)
    assert ended.reason == "stop" and ended.answer_tokens == 2
    follow_up = [*FRANCE, ChatMessage("assistant", "The"), *FRANCE]  # what was kept of it is whole
    assert "Paris" in "".join(llama.stream(follow_up, SHORT))
    with pytest.raises(UserError, match="stop text is empty"):
        replace(GREEDY, stop=("",))
    with pytest.raises(UserError, match="half a character"):
        replace(GREEDY, stop=("\ud83d",))


def test_a_seed_repeats_a_sampled_answer(llama: TransformersBackend) -> None:
    def sample(seed: int) -> str:
        return "".join(llama.stream(LONG, GenerationSettings(12, temperature=1.5, top_p=1.0, seed=seed)))

    torch.manual_seed(1)
    answers = [sample(seed) for seed in (1, 2, 3)]
    torch.manual_seed(2)
    assert answers == [sample(seed) for seed in (1, 2, 3)]
    assert len(set(answers)) > 1


def test_a_repetition_penalty_stops_repeating(llama: TransformersBackend) -> None:
    def distinct_share(penalty: float) -> float:
        prompt = [ChatMessage("user", "Repeat after me: no no no no no no no no no no no no no no no no")]
        settings = GenerationSettings(24, temperature=0, repetition_penalty=penalty)
        words = llama.answer_batch([prompt], settings)[0].split()
        return len(set(words)) / len(words)

    assert distinct_share(1.5) > distinct_share(1.0)


def test_typed_special_tokens_are_plain_text(llava: TransformersBackend) -> None:
    typed = ChatMessage("user", "<image> What do <image> and <|im_end|> mean?", (RED,))
    assert llava.answer_batch([[typed], [replace(typed, images=())]], replace(GREEDY, max_new_tokens=2))


def test_a_long_conversation_still_gets_an_answer(
    llava: TransformersBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llava, "max_length", 96)
    history = [
        message
        for i in range(20)
        for message in (ChatMessage("user", f"Number {i}?", (RED,)), ChatMessage("assistant", "Yes."))
    ]
    answer = "".join(llava.stream([*history, *FRANCE], replace(GREEDY, max_new_tokens=50)))
    assert answer
    with pytest.raises(UserError, match="context is 96"):
        llava.stream([ChatMessage("user", "word " * 200)], SHORT)


def test_a_batch_too_large_for_the_memory_is_a_sentence(
    llava: TransformersBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(llava._forward, "logits", full)  # stands for a GPU that is full
    with pytest.raises(UserError, match="smaller batch size"):
        llava.answer_batch([FRANCE, LONG], SHORT)


def test_the_dtype_can_be_chosen(blind_llava: Path) -> None:
    bfloat16 = load_backend(str(blind_llava), device="cpu", load_in="bfloat16")
    assert "Paris" in bfloat16.answer_batch([FRANCE], SHORT)[0]


@pytest.mark.parametrize(
    ("option", "value"),
    [("device", "cuda:99"), ("device", "abacus"), ("device", "meta"), ("load_in", "int3")],
)
def test_unknown_devices_and_dtypes_are_named(text_model: Path, option: str, value: str) -> None:
    with pytest.raises(UserError, match=value):
        load_backend(str(text_model), **{option: value})


class TestDamagedDirectories:
    """Each is refused in one sentence that names the directory."""

    @pytest.fixture
    def copy(self, blind_llava: Path, tmp_path: Path) -> Path:
        out = tmp_path / "model"
        out.mkdir()
        for file in blind_llava.iterdir():
            target = out / file.name
            # Weights are linked, not copied; a test that changes them writes a new file.
            target.symlink_to(file) if file.suffix == ".safetensors" else shutil.copyfile(file, target)
        return out

    def refused(self, directory: Path, match: str) -> None:
        with pytest.raises(UserError, match=match) as caught:
            load_backend(str(directory), device="cpu")
        assert str(directory) in str(caught.value)

    def test_missing_directory(self, tmp_path: Path) -> None:
        self.refused(tmp_path / "nowhere", "no such model directory")

    def test_no_weights(self, copy: Path) -> None:
        (copy / "model.safetensors").unlink()
        self.refused(copy, "no \\*.safetensors")

    def test_no_tokenizer(self, copy: Path) -> None:
        (copy / "tokenizer.json").unlink()
        self.refused(copy, "tokenizer")

    def test_no_picture_processor(self, copy: Path) -> None:
        (copy / "preprocessor_config.json").unlink()
        (copy / "processor_config.json").unlink()
        self.refused(copy, "preprocessor_config.json")

    def test_truncated_weights(self, copy: Path, blind_llava: Path) -> None:
        with (blind_llava / "model.safetensors").open("rb") as file:
            head = file.read(100_000)
        (copy / "model.safetensors").unlink()
        (copy / "model.safetensors").write_bytes(head)
        self.refused(
            copy,
            "model.safetensors: not readable as safetensors .*export, prepare or download the model again",
        )

    def test_a_missing_shard_is_named_before_anything_is_loaded(self, copy: Path) -> None:
        (copy / "model.safetensors").rename(copy / "model-00001-of-00002.safetensors")
        second = "model-00002-of-00002.safetensors"
        index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": second}}
        (copy / "model.safetensors.index.json").write_text(json.dumps(index))
        self.refused(copy, f"shards {second} are missing; export, prepare or download the model again")

    def test_a_missing_weight_is_not_made_up(self, copy: Path, blind_llava: Path) -> None:
        from safetensors.torch import load_file, save_file

        weights = load_file(blind_llava / "model.safetensors")
        name = next(key for key in weights if "multi_modal_projector.linear_1" in key)
        del weights[name]
        (copy / "model.safetensors").unlink()
        save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
        self.refused(copy, "missing keys.*linear_1")

    @pytest.mark.parametrize(("kind", "match"), [("internlm2", "prepare"), ("bert", "not supported")])
    def test_other_models(self, copy: Path, kind: str, match: str) -> None:
        (copy / "config.json").write_text(json.dumps({"model_type": kind}))
        self.refused(copy, match)

    def test_config_that_is_no_json(self, copy: Path) -> None:
        (copy / "config.json").write_text("{")
        self.refused(copy, "JSON")
