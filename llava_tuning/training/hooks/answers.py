"""Answers to fixed questions at intervals, by the model as it is trained."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from transformers.integrations import is_deepspeed_zero3_enabled
from xtuner.utils import IMAGE_TOKEN_INDEX

from llava_tuning.models.conversation import Message, render_conversation
from llava_tuning.models.pictures import open_picture
from llava_tuning.runs.files import SAMPLES_FILE, keep_rows
from llava_tuning.training.language_model import LanguageModelStep


class SampleAnswersHook(Hook):
    """Greedy answers to fixed questions before training, every N steps and at the end.

    They go to the log and to `samples.jsonl` (step, image, question, answer) in the work directory. Under
    ZeRO-3 on several processes there are none: the first process has but its share of the weights.
    """

    priority = "LOW"

    def __init__(
        self,
        every_n_iters: int,
        questions: Sequence[str],
        images: Sequence[str] = (),
        max_new_tokens: int = 48,
    ) -> None:
        self.every_n_iters = every_n_iters
        self.questions = list(questions)
        pictures: list[str | None] = list(images) or [None]
        self.images = pictures * len(self.questions) if len(pictures) == 1 else pictures
        self.max_new_tokens = max_new_tokens

    def before_train(self, runner: Runner) -> None:
        if is_main_process():
            keep_rows(Path(runner.work_dir) / SAMPLES_FILE, before=runner.iter)
            if self.questions and _spreads_weights():
                runner.logger.warning("ZeRO-3 on several processes: no sample answers while it trains")
        self._sample(runner, runner.iter)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        step = runner.iter + 1
        if step % self.every_n_iters == 0 or step == runner.max_iters:
            self._sample(runner, step)

    def _sample(self, runner: Runner, step: int) -> None:
        if not is_main_process() or _spreads_weights():
            return
        model = getattr(runner.model, "module", runner.model)
        dataset = runner.train_dataloader.dataset
        was_training = model.training
        model.eval()
        with (Path(runner.work_dir) / SAMPLES_FILE).open("a", encoding="utf-8") as file:
            for image, question in zip(self.images, self.questions, strict=False):
                answer = greedy_answer(model, dataset, question, image, self.max_new_tokens)
                row = {"step": step, "image": image, "question": question, "answer": answer}
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
                runner.logger.info(f"step {step} | {image or 'no picture'} | {question} | {answer}")
        model.train(was_training)


def _spreads_weights() -> bool:
    """Whether one process alone cannot answer, and would wait for the others for ever."""
    return get_world_size() > 1 and is_deepspeed_zero3_enabled()


@torch.no_grad()
def greedy_answer(
    model: LanguageModelStep, dataset: Any, question: str, image: str | None, max_new_tokens: int
) -> str:
    """The training model's own greedy answer; `dataset` supplies tokenizer, pictures and their processor."""
    rendered = render_conversation(
        dataset.tokenizer,
        [Message("user", question, images=int(image is not None))],
        image_token_id=IMAGE_TOKEN_INDEX,
        tokens_per_image=dataset.patches,
        generation_prompt=True,
    )
    device = next(model.llm.parameters()).device
    pixels = None
    if image is not None:
        picture = open_picture(Path(dataset.image_folder) / image)
        pixels = dataset.image_processor(picture, return_tensors="pt")["pixel_values"].to(device)
    with model.autocast():
        embeds = model.embed(torch.tensor([rendered.input_ids], device=device), pixels)
        ids = model.llm.generate(
            inputs_embeds=embeds,
            attention_mask=torch.ones(embeds.shape[:2], dtype=torch.long, device=device),
            max_new_tokens=max_new_tokens,
            do_sample=False,
            use_cache=True,
            pad_token_id=dataset.tokenizer.pad_token_id or 0,
        )
    return dataset.tokenizer.decode(ids[0], skip_special_tokens=True).strip()
