# Stage 2 with the bundled CLIP, frozen: projector and LoRA on SmolLM2-135M.
#
#   llava-tuning train llava_smollm2_135m_lora_clip_small_p14_112_e1_finetune \
#     --set projector_checkpoint=work_dirs/llava_smollm2_135m_clip_small_p14_112_e1_pretrain/iter_250.pth
#
# Needs 8 GB of memory (measured with an encoder of 96 px); no GPU. Rank 16 on all linear layers; a rate above
# XTuner's 2e-4, since the model is small.
_base_ = ["../_base_/llava_finetune.py"]

llm = "smollm2"
vision_tower = "default"
projector_checkpoint = None
data_path = "data/easy_vqa/finetune.json"
image_folder = "data/easy_vqa"
llm_lora = dict(r=16, lora_alpha=32, lora_dropout=0.0, bias="none", task_type="CAUSAL_LM")
lr = 1e-3
max_length = 512
batch_size = 8
dataloader_num_workers = 0
gradient_checkpointing = False
evaluation_freq = 100
evaluation_inputs = ["What shape is in the image?"]
