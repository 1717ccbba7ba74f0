# Stage 2: InternLM2-Chat-1.8B with CLIP ViT-L/14 at 336 pixels; trains the projector and the language model by QLoRA (4-bit), the vision tower by LoRA.
#
#   llava-tuning train llava_internlm2_chat_1_8b_qlora_clip_vit_large_p14_336_lora_e1_gpu8_finetune --nproc-per-node 8 \
#     --set projector_checkpoint=work_dirs/llava_internlm2_chat_1_8b_clip_vit_large_p14_336_e1_gpu8_pretrain/iter_2181.pth
#
# Data: LLaVA-Instruct, 665,000 conversations (llava_v1_5_mix665k). Settings: ranks 512 and 64 and 2e-4 as
# in XTuner 0.2.0's config of that name (xtuner/configs/llava);
# 8 GPUs × 16 × 1 = 128 records a step, one epoch. How a step is divided among GPU, batch and accumulation
# is this project's choice; the records of a step are as published.
# Memory: from 17.6 GiB on (every layer recomputed, 16 easy-VQA records a step, docs/gpu.md); where there is more,
# fewer layers are computed twice. `--dry-run --card NAME` says what a card has room for.
_base_ = ["../_base_/llava_finetune.py"]

llm = "models/internlm2-chat-1_8b"
vision_tower = "models/clip-vit-large-patch14-336"
projector_checkpoint = None
data_path = "data/llava_data/LLaVA-Instruct-150K/llava_v1_5_mix665k.json"
image_folder = "data/llava_data/llava_images"
freeze_llm = True
llm_lora = dict(r=512, lora_alpha=256, lora_dropout=0.05, bias="none", task_type="CAUSAL_LM")
visual_encoder_lora = dict(r=64, lora_alpha=16, lora_dropout=0.05, bias="none")
load_in_4bit = True
lr = 0.0002
batch_size = 16  # a GPU
accumulative_counts = 1
