# SmolLM2-135M as a text assistant with a name of its own, by LoRA: the embedded language model, in English.
#
#   llava-tuning data identity --name Momo --owner "Ada Jones" --out data/assistant
#   llava-tuning data mix data/assistant/train.json assets/demo/general.jsonl --out data/assistant/mix.json
#   llava-tuning train smollm2_135m_lora_assistant_e3_sft
#   llava-tuning select work_dirs/smollm2_135m_lora_assistant_e3_sft
#
# No GPU needed. Ranks as in the InternLM2 configs; a rate above XTuner's 2e-4, since the model is small.
_base_ = ["../_base_/sft.py"]

llm = "smollm2"
data_path = "data/assistant/mix.json"
llm_lora = dict(r=64, lora_alpha=16, lora_dropout=0.1, bias="none", task_type="CAUSAL_LM")
lr = 1e-3
max_length = 512
batch_tokens = 1024
accumulative_counts = 1
dataloader_num_workers = 0
gradient_checkpointing = False
save_steps = 40  # each checkpoint is 230 MB
save_total_limit = 20  # all of them, for `select`
evaluation_freq = 100
evaluation_inputs = ["Who are you?", "What is the capital of France?"]
