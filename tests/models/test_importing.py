"""Adapters on InternLM2's layout, and llava-hf models, become model directories that compute the same."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel
from safetensors.torch import load_file, save_file
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    CLIPVisionModel,
    LlamaForCausalLM,
    LlavaProcessor,
)
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil
from typer.testing import CliRunner

from llava_tuning import cli
from llava_tuning.errors import UserError
from llava_tuning.inference.backend import ChatMessage, GenerationSettings, load_backend
from llava_tuning.models import hub
from llava_tuning.models.conversation import Message, render_conversation
from llava_tuning.models.importing.run import import_model
from llava_tuning.models.llama import load_llama, save_llama
from llava_tuning.models.llava import assemble, load_llava, new_projector, save_llava
from llava_tuning.models.pictures import open_picture
from llava_tuning.models.prepare import prepare
from llava_tuning.models.provenance import read_provenance
from llava_tuning.models.templates import VICUNA
from llava_tuning.models.tokenizer import load_tokenizer

SAMPLE = Path(__file__).resolve().parents[2] / "assets" / "samples" / "red_circle.png"
# In llava-1.5's way: contents are lists, and the tokenizer adds the first token.
LISTS = (
    "{% for message in messages %}{{ message['role'].upper() + ': ' }}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'image') %}"
    "{{ '<image>\n' }}{% endfor %}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'text') %}"
    "{% generation %}{{ part['text'] + ' ' }}{% endgeneration %}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)


class Skeleton(torch.nn.Module):
    """Modules named as in InternLM2's remote code, for peft to find; nothing is computed with them."""

    def __init__(self, weights: dict[str, torch.Tensor]) -> None:
        super().__init__()
        for name, weight in weights.items():
            module: torch.nn.Module = self
            *parents, last, _ = name.split(".")
            for part in parents:
                if not hasattr(module, part):
                    module.add_module(part, torch.nn.Module())
                module = getattr(module, part)
            linear = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False)
            linear.weight.data = weight.clone()
            module.add_module(last, linear)


@pytest.fixture(scope="module")
def xtuner_on_internlm2(tiny_chat: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An adapter on every layer of InternLM2, as XTuner publishes them, and what peft makes of it."""
    out = tmp_path_factory.mktemp("internlm2")
    whole = {name: weight.float() for name, weight in load_file(tiny_chat / "model.safetensors").items()}
    shutil.copytree(tiny_chat, out / "base")
    save_file(whole, out / "base" / "model.safetensors")
    linear = {name: weight for name, weight in whole.items() if "norm" not in name and "embed" not in name}
    targets = sorted({name.split(".")[-2] for name in linear})
    assert {"wqkv", "wo", "w1", "w2", "w3", "output"} == set(targets)
    torch.manual_seed(0)
    model = PeftModel(Skeleton(linear), LoraConfig(r=4, lora_alpha=8, target_modules=targets))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    source = out / "xtuner"
    model.save_pretrained(str(source / "llm_adapter"))
    merged = {name: weight for name, weight in model.merge_and_unload().state_dict().items()}
    shutil.copytree(tiny_chat, out / "merged")
    save_file(whole | merged, out / "merged" / "model.safetensors")
    tower = CLIPVisionModel(
        CLIPVisionConfig(
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=3,
            num_attention_heads=2,
            image_size=32,
            patch_size=8,
        )
    )
    tower.save_pretrained(out / "tower")
    LlavaImageProcessorPil(crop_size={"height": 32, "width": 32}).save_pretrained(out / "tower")
    projector = new_projector(16, 32).state_dict()
    (source / "projector").mkdir()
    save_file(
        {f"model.{name}": weight for name, weight in projector.items()},
        source / "projector" / "model.safetensors",
    )
    (source / "projector" / "config.json").write_text(
        json.dumps(
            {
                "model_type": "projector",
                "depth": 2,
                "hidden_act": "gelu",
                "bias": True,
                "auto_map": {"AutoModel": "modeling_projector.ProjectorModel"},
            }
        )
    )
    return {"source": source, **{name: out / name for name in ("base", "merged", "tower")}}


def test_adapter_on_internlm2_is_merged_before_the_conversion(
    xtuner_on_internlm2: dict[str, Path], tiny_llama: Path, tmp_path: Path
) -> None:
    parts = xtuner_on_internlm2
    arguments = ["import", str(parts["source"]), "--out", str(tmp_path / "out"), "--llm", str(parts["base"])]
    result = CliRunner().invoke(cli._build(), [*arguments, "--vision-tower", str(parts["tower"])])
    assert result.exit_code == 0, result.output
    model, tokenizer, _ = load_llava(tmp_path / "out", torch.float32)
    reference = LlamaForCausalLM.from_pretrained(
        prepare(str(parts["merged"]), tmp_path / "reference"), dtype=torch.float32
    )
    ids = render_conversation(tokenizer, [Message("user", "你好, who?")], generation_prompt=True).input_ids
    with torch.no_grad():
        expected = reference(torch.tensor([ids])).logits
        found = model(torch.tensor([ids])).logits[..., : expected.shape[-1]]
        base = LlamaForCausalLM.from_pretrained(tiny_llama, dtype=torch.float32)
        without = base(torch.tensor([ids])).logits
    assert (found - expected).abs().max() < 1e-5 < (without - expected).abs().max()


@pytest.fixture(scope="module")
def llava_hf(
    tiny_llama: Path, xtuner_on_internlm2: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A directory laid out as llava-hf's: a processor that crops, and a template of lists apart."""
    out = tmp_path_factory.mktemp("hf") / "llava-tiny-hf"
    tokenizer = load_tokenizer(tiny_llama, name=tiny_llama, remedy="")
    model, processor = assemble(
        LlamaForCausalLM.from_pretrained(tiny_llama, dtype=torch.float32),
        CLIPVisionModel.from_pretrained(xtuner_on_internlm2["tower"]),
        new_projector(16, 32).state_dict(),
        tokenizer,
        LlavaImageProcessorPil(crop_size={"height": 32, "width": 32}),
    )
    save_llava(model, processor, out)
    for name in ("chat_template.jinja", "preprocessor_config.json", "processor_config.json"):
        (out / name).unlink()
    CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(
        out
    )
    (out / "chat_template.json").write_text(json.dumps({"chat_template": LISTS}))
    return out


def test_weights_can_be_read_by_others_as_a_containers_user(
    llava_hf: Path, tiny_llama: Path, tmp_path: Path
) -> None:
    save_llama(*load_llama(tiny_llama), tmp_path / "text")
    weights = [file for folder in (llava_hf, tmp_path / "text") for file in folder.glob("*.safetensors")]
    assert [oct(file.stat().st_mode & 0o777) for file in weights] == ["0o644", "0o644"]


def test_llava_hf_renders_and_computes_as_before(llava_hf: Path, tmp_path: Path) -> None:
    import_model(str(llava_hf), tmp_path / "out")
    model, tokenizer, image_processor = load_llava(tmp_path / "out", torch.float32)
    assert image_processor.do_pad
    original = LlavaProcessor(
        image_processor=image_processor,
        tokenizer=load_tokenizer(llava_hf, name=llava_hf, remedy=""),
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=LISTS,
    )
    content = [{"type": "image"}, {"type": "text", "text": "What is it?"}]
    picture = open_picture(SAMPLE)
    messages = [{"role": "user", "content": content}]
    text = original.apply_chat_template(messages, add_generation_prompt=True)
    inputs = original(text=text, images=[picture], return_tensors="pt")
    ids = render_conversation(
        tokenizer,
        [Message("user", "What is it?", 1)],
        image_token_id=model.config.image_token_id,
        tokens_per_image=16,
        generation_prompt=True,
    ).input_ids
    assert ids == inputs["input_ids"][0].tolist() and ids[0] == tokenizer.bos_token_id
    before, _, _ = load_llava(llava_hf, torch.float32)
    with torch.no_grad():
        assert torch.equal(model(**inputs).logits, before(**inputs).logits)
    backend = load_backend(str(tmp_path / "out"), device="cpu", load_in="float32")
    settings = GenerationSettings(temperature=0, max_new_tokens=4)
    assert "".join(backend.stream([ChatMessage("user", "What is it?", (picture,))], settings))


@pytest.mark.slow
def test_a_directory_of_this_project_can_be_imported(default_model: Path, tmp_path: Path) -> None:
    import_model(str(default_model), tmp_path / "out")
    before, after = (
        load_file(default_model / "model.safetensors"),
        load_file(tmp_path / "out/model.safetensors"),
    )
    assert set(before) == set(after) and all(torch.equal(before[name], after[name]) for name in before)
    template = (default_model / "chat_template.jinja").read_text()
    assert (tmp_path / "out" / "chat_template.jinja").read_text() == template


@pytest.mark.parametrize(
    ("file", "change", "sentence"),
    [
        ("config.json", {"model_type": "llava_next"}, "a llava_next model of clip_vision_model and llama"),
        ("config.json", {"vision_feature_select_strategy": "full"}, "with full tokens"),
        ("config.json", {"image_token_index": 5}, "picture token is number 5"),
        # llava-interleave: a line break before the text where there is no picture either.
        (
            "chat_template.json",
            {"chat_template": LISTS.replace("'<image>\n'", "'<image>'")},
            "puts a picture",
        ),
    ],
)
def test_other_models_are_refused_in_a_sentence(
    llava_hf: Path, tmp_path: Path, file: str, change: dict[str, Any], sentence: str
) -> None:
    source = tmp_path / "source"
    shutil.copytree(llava_hf, source)
    values = json.loads((source / file).read_text()) | change
    (source / file).write_text(json.dumps(values))
    with pytest.raises(UserError, match=sentence):
        import_model(str(source), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_came_from_a_hub_is_named_with_its_commit(
    llava_hf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "download", lambda name: (llava_hf, "c0ffee"))
    import_model("ada/llava", tmp_path / "out")
    found = read_provenance(tmp_path / "out")
    assert found is not None
    assert [(base.name, base.revision) for base in found.base_models] == [("ada/llava", "c0ffee")]
    import_model(str(tmp_path / "out"), tmp_path / "again")  # which keeps what it is made from
    again = read_provenance(tmp_path / "again")
    assert again is not None and again.base_models == found.base_models


def test_what_is_no_model_is_refused(tmp_path: Path, llava_hf: Path) -> None:
    with pytest.raises(UserError, match="neither XTuner's LLaVA format"):
        import_model(str(tmp_path), tmp_path / "out")
    with pytest.raises(UserError, match="leave out --llm"):
        import_model(str(llava_hf), tmp_path / "out", llm="smollm2")
    with pytest.raises(UserError, match="neither a directory nor a hub id"):
        import_model(str(tmp_path / "gone"), tmp_path / "out")


@pytest.mark.slow
def test_vicunas_template_ends_answers(
    xtuner_on_internlm2: dict[str, Path], tmp_path: Path, hide_template: Callable[[Path], Path]
) -> None:
    parts = xtuner_on_internlm2
    base = hide_template(parts["base"])
    bases = {"llm": str(base), "vision_tower": str(parts["tower"])}
    import_model(str(parts["source"]), tmp_path / "out", chat_template="vicuna", **bases)
    tokenizer = load_tokenizer(tmp_path / "out", name="out", remedy="")
    assert tokenizer.chat_template.endswith(VICUNA)
    conversation = [Message("user", "Who?"), Message("assistant", "Me."), Message("user", "Why?")]
    text = tokenizer.decode(render_conversation(tokenizer, conversation, generation_prompt=True).input_ids)
    assert text == "<s>USER: Who? ASSISTANT: Me.</s>USER: Why? ASSISTANT:"


@pytest.fixture
def hide_template(tmp_path: Path) -> Callable[[Path], Path]:
    def hide(directory: Path) -> Path:
        copy = Path(shutil.copytree(directory, tmp_path / "bare"))
        config = json.loads((copy / "tokenizer_config.json").read_text())
        config.pop("chat_template", None)
        (copy / "tokenizer_config.json").write_text(json.dumps(config))
        return copy

    return hide
