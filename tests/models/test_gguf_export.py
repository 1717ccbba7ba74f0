"""GGUF files hold the model: every tensor, the tokenizer, the template; and nothing is written by halves."""

from __future__ import annotations

import itertools
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGUFReader
from gguf.quants import dequantize
from jinja2.sandbox import ImmutableSandboxedEnvironment
from typer.testing import CliRunner

from llava_tuning import cli
from llava_tuning.errors import UserError
from llava_tuning.models.conversation import Message, render_conversation
from llava_tuning.models.gguf_export import export as writing
from llava_tuning.models.gguf_export.export import GgufFiles, export_gguf
from llava_tuning.models.llava import load_llava
from llava_tuning.models.tokenizer import load_tokenizer

MARK = "<__media_x1__>"  # as llama.cpp's server writes it
LAYER = {
    "layer_norm1": "ln1",
    "layer_norm2": "ln2",
    "mlp.fc1": "ffn_up",
    "mlp.fc2": "ffn_down",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.out_proj": "attn_out",
}


@pytest.fixture(scope="module")
def files(default_model: Path, tmp_path_factory: pytest.TempPathFactory) -> GgufFiles:
    return export_gguf(default_model, tmp_path_factory.mktemp("gguf") / "out", "demo", "float32")


@pytest.fixture(scope="module")
def fields(files: GgufFiles) -> dict[str, Any]:
    """Of the language model's file; reading its arrays takes seconds, so once."""
    return {name: field.contents() for name, field in GGUFReader(files.model).fields.items()}


@pytest.fixture(scope="module")
def llava(default_model: Path) -> Any:
    return load_llava(default_model, torch.float32)


@pytest.fixture(scope="module")
def text_file(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    written = export_gguf(tiny_llama, tmp_path_factory.mktemp("gguf") / "text", "tiny", "float16")
    assert written.mmproj is None
    return written.model


@pytest.fixture
def changed(default_model: Path, tmp_path: Path) -> Callable[..., Path]:
    """The model directory with other values in one of its JSON files."""

    def change(file: str, **values: Any) -> Path:
        directory = tmp_path / "changed"
        shutil.copytree(default_model, directory, copy_function=os.link)
        content = json.loads((directory / file).read_text())
        (directory / file).unlink()
        (directory / file).write_text(json.dumps(content | values))
        return directory

    return change


def tensors(file: Path) -> dict[str, np.ndarray]:
    """Row-major, as in PyTorch."""
    return {
        tensor.name: dequantize(tensor.data, tensor.tensor_type).reshape(
            tuple(reversed(tensor.shape.tolist()))
        )
        for tensor in GGUFReader(file).tensors
    }


def test_language_model_read_back_by_transformers_is_the_models_own(files: GgufFiles, llava: Any) -> None:
    from transformers import AutoModelForCausalLM

    read = AutoModelForCausalLM.from_pretrained(
        files.model.parent, gguf_file=files.model.name, dtype=torch.float32
    )
    own = llava[0].model.language_model.state_dict()
    assert set(own) == set(read.model.state_dict())
    for name, weight in read.model.state_dict().items():
        assert torch.equal(weight, own[name]), name
    for name in ("rope_parameters", "rms_norm_eps", "max_position_embeddings", "num_key_value_heads"):
        assert getattr(read.config, name) == getattr(llava[0].config.text_config, name)


def test_vision_tower_and_projector_are_the_models_own(files: GgufFiles, llava: Any) -> None:
    model = llava[0].model
    tower, projector = model.vision_tower.state_dict(), model.multi_modal_projector.state_dict()
    expected = {
        "v.class_embd": tower["embeddings.class_embedding"],
        "v.patch_embd.weight": tower["embeddings.patch_embedding.weight"],
        "v.position_embd.weight": tower["embeddings.position_embedding.weight"],
    }
    for kind in ("weight", "bias"):
        expected[f"v.pre_ln.{kind}"] = tower[f"pre_layrnorm.{kind}"]
        expected[f"mm.0.{kind}"] = projector[f"linear_1.{kind}"]
        expected[f"mm.2.{kind}"] = projector[f"linear_2.{kind}"]
        for layer in range(7):  # of 8: features come from the last but one
            for old, new in LAYER.items():
                expected[f"v.blk.{layer}.{new}.{kind}"] = tower[f"encoder.layers.{layer}.{old}.{kind}"]
    found = tensors(files.mmproj)
    assert set(found) == set(expected)
    for name, weight in expected.items():
        assert np.array_equal(found[name], weight.numpy()), name


def test_mmproj_says_how_pictures_are_read(files: GgufFiles) -> None:
    expected = {
        "general.architecture": "clip",
        "clip.projector_type": "mlp",
        "clip.has_vision_encoder": True,
        "clip.use_gelu": False,
        "clip.vision.image_size": 112,
        "clip.vision.patch_size": 14,
        "clip.vision.block_count": 7,
        "clip.vision.feature_layer": [7],
        "clip.vision.projection_dim": 576,
    }
    found = GGUFReader(files.mmproj).fields
    assert {name: found[name].contents() for name in expected} == expected
    assert found["clip.vision.image_mean"].contents() == pytest.approx([0.48145466, 0.4578275, 0.40821073])


@pytest.mark.parametrize(
    "content",
    [
        MARK + "What is it?",  # what the server makes of picture and text
        "What is it?" + MARK,
        [{"type": "text", "text": MARK}, {"type": "text", "text": "What is it?"}],  # llama-cpp-python
        [{"type": "text", "text": "What is it?"}, {"type": "media_marker", "text": MARK}],
    ],
)
def test_template_in_the_file_writes_the_prompt_that_was_trained_on(
    fields: dict[str, Any], llava: Any, content: Any
) -> None:
    tokenizer = llava[1]
    ids = render_conversation(
        tokenizer,
        [Message("system", "Be brief."), Message("user", "What is it?", 1)],
        image_token_id=llava[0].config.image_token_id,
        tokens_per_image=1,
        generation_prompt=True,
    ).input_ids
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    text = environment.from_string(fields["tokenizer.chat_template"]).render(
        messages=[{"role": "system", "content": "Be brief."}, {"role": "user", "content": content}],
        add_generation_prompt=True,
        bos_token="<|im_start|>",
    )
    assert text.replace(MARK, "<image>") == tokenizer.decode(ids)


def test_template_leaves_what_people_type_alone(fields: dict[str, Any]) -> None:
    typed = "a __> b <__media c <__media d__> e"
    text = (
        ImmutableSandboxedEnvironment()
        .from_string(fields["tokenizer.chat_template"])
        .render(messages=[{"role": "user", "content": typed}])
    )
    assert typed in text


def test_byte_level_tokenizer_is_named_for_llama_cpp(fields: dict[str, Any], llava: Any) -> None:
    assert fields["tokenizer.ggml.model"] == "gpt2"
    assert fields["tokenizer.ggml.pre"] == "smollm"
    assert fields["tokenizer.ggml.add_bos_token"] is False  # the template writes it
    tokens = fields["tokenizer.ggml.tokens"]
    kinds = fields["tokenizer.ggml.token_type"]
    assert (tokens[49152], kinds[49152]) == ("<image>", 3)
    assert tokens[2] == "<|im_end|>" and fields["tokenizer.ggml.eot_token_id"] == 2
    assert len(tokens) == llava[0].config.text_config.vocab_size


def test_sentencepiece_like_tokenizer_read_back_gives_the_same_ids(
    text_file: Path, tiny_llama: Path, token_golden: list[dict]
) -> None:
    """By merging whatever scores highest, as llama.cpp does."""
    fields = GGUFReader(text_file).fields
    tokens, scores, kinds = (
        fields[f"tokenizer.ggml.{name}"].contents() for name in ("tokens", "scores", "token_type")
    )
    known = {token: number for number, token in enumerate(tokens) if kinds[number] == 1}
    raw = {token: number for number, token in enumerate(tokens) if kinds[number] == 6}

    def encode(text: str) -> list[int]:
        parts = list(text.replace(" ", "▁"))
        while True:
            pairs = [
                (-scores[known[left + right]], at)
                for at, (left, right) in enumerate(itertools.pairwise(parts))
                if left + right in known
            ]
            if not pairs:
                break
            at = min(pairs)[1]
            parts[at : at + 2] = [parts[at] + parts[at + 1]]
        return [
            number
            for part in parts
            for number in ([known[part]] if part in known else [raw[f"<0x{b:02X}>"] for b in part.encode()])
        ]

    assert fields["tokenizer.ggml.add_space_prefix"].contents() is False
    tokenizer = load_tokenizer(tiny_llama, name=tiny_llama, remedy="")
    texts = [row["text"] for row in token_golden if "[UNUSED_TOKEN" not in row["text"]]
    assert len(texts) > 100
    for text in texts:
        expected = tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
        assert encode(text) == expected, text


def test_8_bits_come_close(default_model: Path, files: GgufFiles, tmp_path: Path) -> None:
    quantised = tensors(export_gguf(default_model, tmp_path / "q8", "demo", "q8_0").mmproj)
    exact = tensors(files.mmproj)
    name = "v.blk.3.ffn_down.weight"
    assert not np.array_equal(quantised[name], exact[name])
    assert np.abs(quantised[name] - exact[name]).max() < np.abs(exact[name]).max() / 127
    assert np.array_equal(quantised["v.pre_ln.weight"], exact["v.pre_ln.weight"])


def test_failure_midway_leaves_nothing(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = []

    def fail(*arguments: Any) -> Any:
        done.append(arguments)
        if len(done) == 5:
            raise OSError(28, "No space left on device")
        return quantize(*arguments)

    quantize = writing.quantize
    monkeypatch.setattr(writing, "quantize", fail)
    with pytest.raises(OSError, match="No space"):
        export_gguf(tiny_llama, tmp_path / "out", "tiny", "float32")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("file", "values", "sentence"),
    [
        ("config.json", {"vision_feature_select_strategy": "full"}, "full tokens; GGUF export knows"),
        ("config.json", {"vision_feature_layer": [-2, -3]}, "knows one layer"),
        ("config.json", {"projector_hidden_act": "relu"}, "gelu in the projector"),
        ("processor_config.json", {"image_processor": {}}, "picture processor cannot be read"),
    ],
)
def test_what_llama_cpp_would_compute_otherwise_is_refused(
    changed: Callable[..., Path], tmp_path: Path, file: str, values: dict[str, Any], sentence: str
) -> None:
    directory = changed(file, **values)
    if file == "processor_config.json":
        (directory / "preprocessor_config.json").unlink()
    with pytest.raises(UserError, match=sentence):
        export_gguf(directory, tmp_path / "out", "demo")
    assert not (tmp_path / "out").exists()


def test_other_padding_colour_is_refused(changed: Callable[..., Path], tmp_path: Path) -> None:
    directory = changed("preprocessor_config.json", image_mean=[0.5, 0.5, 0.5])
    (directory / "processor_config.json").unlink()
    with pytest.raises(UserError, match=r"\(127, 127, 127\)"):
        export_gguf(directory, tmp_path / "out", "demo")


def test_missing_weight_is_named(default_model: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    directory = tmp_path / "model"
    shutil.copytree(default_model, directory)
    weights = load_file(directory / "model.safetensors")
    del weights["vision_tower.vision_model.encoder.layers.1.mlp.fc1.weight"]
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"v\.blk\.1\.ffn_up\.weight"):
        export_gguf(directory, tmp_path / "out", "demo")


def test_command_says_what_llama_cpp_needs_for_pictures(default_model: Path, tmp_path: Path) -> None:
    arguments = ["export", str(default_model), "--format", "gguf", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(cli._build(), arguments)
    assert result.exit_code == 0 and "docs/serving.md" in result.output


def test_command_writes_a_text_model_as_one_file(tiny_llama: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ["export", str(tiny_llama), "--format", "gguf", "--out", str(out)]
    result = CliRunner().invoke(cli._build(), arguments)
    assert result.exit_code == 0, result.output
    assert "docs/serving.md" not in result.output
    assert sorted(file.name for file in out.iterdir()) == ["provenance.json", "tiny-BF16.gguf"]
    assert CliRunner().invoke(cli._build(), [*arguments, "--dtype", "q4_k"]).exit_code == 2
