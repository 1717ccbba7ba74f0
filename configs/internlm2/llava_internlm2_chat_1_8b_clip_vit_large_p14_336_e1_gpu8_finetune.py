# Stage 2: InternLM2-Chat-1.8B with CLIP ViT-L/14 at 336 pixels; trains the projector and the language model in full.
#
#   llava-tuning train llava_internlm2_chat_1_8b_clip_vit_large_p14_336_e1_gpu8_finetune --nproc-per-node 8 --deepspeed zero2 \
#     --set projector_checkpoint=work_dirs/llava_internlm2_chat_1_8b_clip_vit_large_p14_336_e1_gpu8_pretrain/iter_2181.pth
#
# Data: LLaVA-Instruct, 665,000 conversations (llava_v1_5_mix665k). Settings: 2e-5 as in LLaVA-1.5
# (arXiv:2310.03744, table 9);
# 8 GPUs × 16 × 1 = 128 records a step, one epoch. How a step is divided among GPU, batch and accumulation
# is this project's choice; the records of a step are as published.
# Needs DeepSpeed (`pip install deepspeed`).
# Memory: from 36.0 GiB on (every layer recomputed, 16 easy-VQA records a step, docs/gpu.md); where there is more,
# fewer layers are computed twice. `--dry-run --card NAME` says what a card has room for.
_base_ = ["../_base_/llava_finetune.py"]

llm = "models/internlm2-chat-1_8b"
vision_tower = "models/clip-vit-large-patch14-336"
projector_checkpoint = None
data_path = "data/llava_data/LLaVA-Instruct-150K/llava_v1_5_mix665k.json"
image_folder = "data/llava_data/llava_images"
freeze_llm = False
load_in_4bit = False
lr = 2e-05
batch_size = 16  # a GPU
accumulative_counts = 1
