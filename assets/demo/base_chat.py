"""Conversations that the language model makes up by itself, question and answer.

With nothing but the beginning of a question's turn before it, a language model that was taught to answer writes a
question first (Xu et al. 2024, arXiv:2406.08464). No such conversation is written by hand, so there can be many; they
are for a mix that learns them `--like-base`: what they say may be wrong, and answers may be cut.

    python assets/demo/base_chat.py --count 16000 --out bundled/base_chat.jsonl    # goes on where it was

It wants a GPU: on two busy CPU cores, six took two minutes.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from llava_tuning.data.identity.phrasebook import plain_wording
from llava_tuning.data.load import load_records
from llava_tuning.data.records import make_record
from llava_tuning.models.smollm2 import smollm2_directory
from llava_tuning.models.tokenizer import load_tokenizer

HELD_OUT = Path(__file__).with_name("general_held_out.jsonl")
QUESTION, ANSWER = 64, 128  # tokens at most
LEAST = 8  # characters of a question
PATIENCE = 20  # batches in turn that bring nothing new
BATCH = 1024
END = "<|im_end|>"
_SENTENCES = re.compile(r".*[.?!]", re.DOTALL)
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
        eos_token_id=tokenizer.convert_tokens_to_ids(END),
        pad_token_id=tokenizer.pad_token_id,
    )
    return [
        tokenizer.decode(row, skip_special_tokens=False) for row in found[:, batch["input_ids"].shape[1] :]
    ]


def conversations(model: Any, tokenizer: Any, batch: int, known: set[str]) -> list[tuple[str, str]]:
    """A batch of questions with their answers; none that is `known`.

    A question that found no end is cut behind its last whole sentence.
    """
    asked = written(model, tokenizer, ["<|im_start|>user\n"] * batch, QUESTION, DRAWN["question"])
    questions = set()
    for text in asked:
        question, end, _ = text.partition(END)
        whole = question if end else (_SENTENCES.match(question) or [""])[0]
        if len(whole.strip()) >= LEAST and "<|" not in whole and plain_wording(whole) not in known:
            questions.add(whole.strip())
    if not questions:
        return []
    some = sorted(questions)
    prompts = [f"<|im_start|>user\n{q}{END}\n<|im_start|>assistant\n" for q in some]
    replies = [
        reply.partition(END)[0].strip()
        for reply in written(model, tokenizer, prompts, ANSWER, DRAWN["answer"])
    ]
    return [(q, reply) for q, reply in zip(some, replies, strict=True) if reply and "<|" not in reply]


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
    directory = smollm2_directory()
    tokenizer = load_tokenizer(directory, name=directory, remedy="delete it")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.bfloat16 if device == "cuda" else torch.float32  # halves are slow on most CPUs
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=dtype).to(device).eval()
    begun = arguments.out.is_file() and arguments.out.stat().st_size > 0
    written_before = load_records(arguments.out) if begun else []
    known = {plain_wording(r.conversations[0].value) for r in (*load_records(HELD_OUT), *written_before)}
    count = len(written_before)
    torch.manual_seed(arguments.seed + count)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    idle = 0
    with arguments.out.open("a", encoding="utf-8") as file:
        while count < arguments.count:
            found = conversations(model, tokenizer, arguments.batch, known)[: arguments.count - count]
            idle = 0 if found else idle + 1
            if idle == PATIENCE:
                sys.exit(
                    f"{arguments.out}: {count:,} conversations, and {PATIENCE} batches brought no other; "
                    "give a larger --batch, or a --count that it has reached"
                )
            for pair in found:
                record = make_record(f"base-{count}", None, [pair])
                file.write(json.dumps(record.to_dict(), ensure_ascii=False) + "\n")
                known.add(plain_wording(pair[0]))
                count += 1
            file.flush()
            print(f"{arguments.out}: {count:,} of {arguments.count:,} conversations", flush=True)


if __name__ == "__main__":
    main()
