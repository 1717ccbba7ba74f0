"""Run by LMDeploy's Python: what its PyTorch engine's LLaVA code makes of a model directory, on a CPU.

Its engine wants a GPU. Taken from LMDeploy are the configuration, the class, the weight loader, the picture
processor, the prompt, the model's forward pass and its operations in plain torch (its backend "default").
That backend has no attention, whose kernels are for GPUs: torch's stands in, over the whole prompt at every
step, without a cache.

Reads {"directory", "cases" (OpenAI's messages), "max_new_tokens", "others" (directories to load), "command"}
as JSON, and writes JSON after the line "found:".
"""

from __future__ import annotations

import asyncio
import json
import shlex
import sys
from pathlib import Path
from typing import Any

import torch
from lmdeploy.cli.cli import CLI
from lmdeploy.cli.serve import SubCliServe
from lmdeploy.messages import PytorchEngineConfig
from lmdeploy.model import get_chat_template
from lmdeploy.pytorch import config as lmdeploy_config
from lmdeploy.pytorch.backends import selector
from lmdeploy.pytorch.backends.attention import AttentionImpl, AttentionMetadata, PagedAttentionBuildSpec
from lmdeploy.pytorch.backends.default.op_backend import DefaultOpsBackend
from lmdeploy.pytorch.model_inputs import BuildModelContext
from lmdeploy.pytorch.models.patch import build_patched_model
from lmdeploy.pytorch.weight_loader.model_weight_loader import load_model_weights
from lmdeploy.serve.processors import MultimodalProcessor
from lmdeploy.tokenizer import Tokenizer
from lmdeploy.vl import engine
from torch.nn.functional import scaled_dot_product_attention


class PlainAttention(AttentionImpl):
    def forward(
        self, query: Any, key: Any, value: Any, k_cache: Any, v_cache: Any, *_: Any, **__: Any
    ) -> Any:
        q, k, v = (states.transpose(0, 1)[None] for states in (query, key, value))  # (1, heads, tokens, size)
        found = scaled_dot_product_attention(q, k, v, is_causal=True, scale=self.scale, enable_gqa=True)
        return found[0].transpose(0, 1)  # (tokens, heads, size)


class CpuBackend(DefaultOpsBackend):
    @classmethod
    def build_op(cls, spec: Any, *, enable_deterministic: bool = False) -> Any:
        if isinstance(spec, PagedAttentionBuildSpec):
            return PlainAttention(spec.num_heads, spec.head_dim, spec.scale, spec.num_kv_heads)
        return super().build_op(spec, enable_deterministic=enable_deterministic)


def take_the_cpu() -> None:
    selector._get_backend = lambda: CpuBackend
    for module in (lmdeploy_config, engine):  # it asks the GPU
        module.is_bf16_supported = lambda *_: True


@torch.inference_mode()
def load(directory: str) -> tuple[Any, dict[str, Any]]:
    """In float32; parameters are NaN before, since LMDeploy does not say what it found no weights for."""
    config = lmdeploy_config.ModelConfig.from_pretrained(directory, trust_remote_code=False)
    config.dtype = torch.float32
    cpu = torch.device("cpu")
    model = build_patched_model(config, device=cpu, build_model_ctx=BuildModelContext())
    for parameter in model.parameters():
        parameter.fill_(float("nan"))
    found: dict[str, Any] = {"class": f"{type(model).__module__}.{type(model).__name__}"}
    try:
        load_model_weights(model, directory, device=cpu)
    except KeyError as error:
        return model, found | {"error": str(error)}
    named = list(model.named_parameters())
    return model, found | {
        "numbers": sum(parameter.numel() for _, parameter in named),
        "left_empty": [name for name, parameter in named if parameter.isnan().any()],
    }


class Asked:
    def __init__(self, directory: str, model: Any) -> None:
        self.model = model
        self.tokenizer = Tokenizer(directory)
        vision = engine.ImageEncoder(directory, "pytorch", backend_config=PytorchEngineConfig())
        template = get_chat_template(directory)
        self.processor = MultimodalProcessor(self.tokenizer, template, vl_encoder=vision, backend="pytorch")
        self.ends = json.loads((Path(directory) / "generation_config.json").read_text())["eos_token_id"]
        self.layers = model.config.text_config.num_hidden_layers

    @torch.inference_mode()
    def answer(self, messages: list[dict[str, Any]], max_new_tokens: int) -> dict[str, Any]:
        prompt = asyncio.run(self.processor.get_prompt_input(messages, do_preprocess=True))
        ids = list(prompt["input_ids"])
        pictures: list[Any] = []
        if prompt.get("multimodal"):
            prepared = self.model.get_input_processor().preprocess_input(ids, prompt["multimodal"])
            pictures = prepared.input_multimodals["image"]
        logits = self.logits(ids, pictures)
        row = torch.tensor(ids)
        likely = logits[:-1].log_softmax(-1).gather(1, row[1:, None])[:, 0]
        new: list[int] = []
        while len(new) < max_new_tokens and (token := int(logits[-1].argmax())) not in self.ends:
            new.append(token)
            logits = self.logits(ids + new, pictures)
        return {
            "input_ids": ids,
            "log_probabilities": likely.tolist(),
            "answer": self.tokenizer.decode(new),
            "image_token": pictures[0].meta["image_token_id"] if pictures else None,
        }

    def logits(self, ids: list[int], pictures: list[Any]) -> Any:
        """(tokens, vocabulary); pictures as the model's `prepare_inputs_for_generation` passes them on."""
        row = torch.tensor([ids])
        seen: dict[str, Any] = {}
        if pictures:
            pixels = torch.cat([picture.data for picture in pictures]).float()
            seen = {"pixel_values": pixels, "image_mask": row == pictures[0].meta["image_token_id"]}
        hidden = self.model(
            input_ids=row,
            position_ids=torch.arange(len(ids))[None],
            past_key_values=[[None, None]] * self.layers,
            attn_metadata=AttentionMetadata(is_decoding=False, block_offsets=None),
            **seen,
        )
        return self.model.get_logits(hidden)[0]


def understood(command: str) -> str:
    """The model that LMDeploy's own parser reads out of a command."""
    CLI.add_parsers()
    SubCliServe.add_parsers()
    return str(CLI.parser.parse_args(shlex.split(command)[1:]).model_path)


def main() -> None:
    asked = json.load(sys.stdin)
    take_the_cpu()
    model, loaded = load(asked["directory"])
    server = Asked(asked["directory"], model)
    answers = [server.answer(messages, asked["max_new_tokens"]) for messages in asked["cases"]]
    others = [load(directory)[1] for directory in asked["others"]]
    command = understood(asked["command"])
    print("found:")
    print(json.dumps({"loaded": [loaded, *others], "answers": answers, "command": command}))


if __name__ == "__main__":
    main()
