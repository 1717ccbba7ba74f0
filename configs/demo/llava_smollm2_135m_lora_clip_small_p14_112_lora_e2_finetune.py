# Stage 2 of a model of everyday things: projector, LoRA on SmolLM2-135M, and LoRA on the vision tower, as in XTuner's
# configs whose names have "lora" behind the tower.
#
#   llava-tuning train llava_smollm2_135m_lora_clip_small_p14_112_lora_e2_finetune \
#     --set vision_tower=bundled/encoder \
#     --set projector_checkpoint=bundled/pretrain/iter_600.pth
#
# Stage 2 of `make -f assets/demo/Makefile`, which takes 131,072 tokens a step. Measured on one H100 at the 65,536 below: 0.27 s a
# step (median 0.24), 39 GiB of memory, about one and a half minutes of compiling first; smaller GPUs compute layers twice.
# Rank 16 keeps the adapter below 10 MB.
_base_ = ["../_base_/llava_finetune.py"]

llm = "smollm2"
vision_tower = None  # what `llava-tuning train-clip` wrote
projector_checkpoint = None
data_path = "bundled/finetune.json"
image_folder = "bundled"
llm_lora = dict(r=16, lora_alpha=32, lora_dropout=0.0, bias="none", task_type="CAUSAL_LM")
visual_encoder_lora = dict(r=64, lora_alpha=64, lora_dropout=0.0, bias="none")
lr = 1e-3
max_epochs = 2
max_length = 512
batch_size = 128  # where batch_tokens is None
batch_tokens = 65536
dataloader_num_workers = 12
save_steps = 500
evaluation_freq = 500
evaluation_inputs = ["What is it?", "Is there a dog in the picture?", "这是什么？"]
