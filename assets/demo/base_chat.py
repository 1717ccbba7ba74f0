"""Conversations that the language model makes up by itself, question and answer.

With nothing but the beginning of a question's turn before it, a language model that was taught to answer writes a
question first (Xu et al. 2024, arXiv:2406.08464). No such conversation is written by hand, so there can be many; they
are for a mix that learns them `--like-base`: what they say may be wrong, and answers may be cut.

    python assets/demo/base_chat.py --count 16000 --out bundled/base_chat.jsonl

It wants a GPU: on two CPU cores, forty took four minutes.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from llava_tuning.data.identity.phrasebook import plain_wording
from llava_tuning.data.load import load_records
from llava_tuning.data.records import Record, make_record, write_json
from llava_tuning.models.precision import fast_dtype
from llava_tuning.models.smollm2 import smollm2_directory
from llava_tuning.models.tokenizer import load_tokenizer

HELD_OUT = Path(__file__).with_name("general_held_out.jsonl")
QUESTION, ANSWER = 64, 128  # tokens at most
LEAST = 8  # characters of a question
BATCH = 512
DRAWN = {"question": 0.8, "answer": 0.7}  # temperatures


@torch.inference_mode()
def written(model: Any, tokenizer: Any, prompts: list[str], most: int, temperature: float) -> list[str]:
    """What the model goes on with after each prompt, with the end of the turn where it found one."""
    tokenizer.padding_side = "left"
    batch = tokenizer(prompts, return_tensors="pt", padding=True, add_special_tokens=False).to(model.device)
    found = model.generate(
        **batch,
        do_sample=True,
        temperature=temperature,
        top_k=0,
        max_new_tokens=most,
        eos_token_id=tokenizer.convert_tokens_to_ids("<|im_end|>"),
        pad_token_id=tokenizer.pad_token_id,
    )
    return [
        tokenizer.decode(row, skip_special_tokens=False) for row in found[:, batch["input_ids"].shape[1] :]
    ]


def conversations(model: Any, tokenizer: Any, count: int, batch: int) -> list[tuple[str, str]]:
    """So many different questions with their answers; none that is held out."""
    end, left_out = "<|im_end|>", {plain_wording(r.conversations[0].value) for r in load_records(HELD_OUT)}
    found: dict[str, str] = {}
    while len(found) < count:
        asked = written(model, tokenizer, ["<|im_start|>user\n"] * batch, QUESTION, DRAWN["question"])
        questions = {text.split(end)[0].strip() for text in asked if end in text}
        questions = {q for q in questions if len(q) >= LEAST and "<|" not in q and q not in found}
        questions = sorted(q for q in questions if plain_wording(q) not in left_out)
        if not questions:  # none of a small batch came to an end
            continue
        prompts = [f"<|im_start|>user\n{q}{end}\n<|im_start|>assistant\n" for q in questions]
        replies = written(model, tokenizer, prompts, ANSWER, DRAWN["answer"])
        for question, reply in zip(questions, replies, strict=True):
            answer = reply.split(end)[0].strip()
            if answer and "<|" not in answer:
                found[question] = answer
        print(f"{min(len(found), count):,} of {count:,} conversations", flush=True)
    return list(found.items())[:count]


def main() -> None:
    """Have the embedded language model talk to itself, and write the file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=16_000)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, default=BATCH)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    directory = smollm2_directory()
    tokenizer = load_tokenizer(directory, name=directory, remedy="delete it")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=fast_dtype(device)).to(device).eval()
    pairs = conversations(model, tokenizer, arguments.count, arguments.batch)
    records: list[Record] = [make_record(f"base-{n}", None, [pair]) for n, pair in enumerate(pairs)]
    print(f"{arguments.out}: {write_json(arguments.out, records):,} conversations")


if __name__ == "__main__":
    main()
