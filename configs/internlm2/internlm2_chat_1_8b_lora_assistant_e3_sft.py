# InternLM2-Chat-1.8B as a text assistant with a name of its own; trains the language model by LoRA.
#
#   llava-tuning data identity --name Momo --owner "Ada Jones" --language both --out data/assistant
#   llava-tuning data mix data/assistant/train.json:0.2 my/general.json:0.8 --size 12000 --out data/assistant/mix.json
#   llava-tuning prepare internlm/internlm2-chat-1_8b --out models/internlm2-chat-1_8b
#   llava-tuning train internlm2_chat_1_8b_lora_assistant_e3_sft
#
# Data: one's own identity among general conversations, 2,000 to 10,000. Rank 64, alpha 16, dropout 0.1 and 2e-4 as
# in XTuner 0.2.0's internlm2_chat_1_8b_qlora_alpaca_e3, where the same number of tokens makes a step:
# 4 × 8,192 tokens a step on one GPU; on several, lower accumulative_counts.
# On an H200, random weights of this size, layers not compiled: 0.31 s for 8,192 tokens, 33 GiB (docs/assistant.md).
# Hours of a whole run have not been measured; `--dry-run` estimates what a card with less memory needs.
_base_ = ["../_base_/sft.py"]

llm = "models/internlm2-chat-1_8b"
data_path = "data/assistant/mix.json"
llm_lora = dict(r=64, lora_alpha=16, lora_dropout=0.1, bias="none", task_type="CAUSAL_LM")
