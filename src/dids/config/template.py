"""The commented config that ``dids init`` writes."""

TEMPLATE = """\
# What `dids run` does is all in this file. Paths are relative to the folder you run it from;
# ${NAME} and ${NAME:-default} stand for environment variables.
run: runs/first                         # the run folder; the same config goes on in it after a stop
seed: 0                                 # of everything random

data:
  sources:                              # name: file, glob, folder, hf:NAME or a list of these
    web: data/web/*.jsonl.gz            # records with text, messages, or prompt and completion
    chat: {path: data/chat.parquet, max_repeats: 4, floor: 0.05, cap: 0.5}   # limits of its share
  sequence_length: 512                  # tokens
  prompt_format: chat                   # prompt/completion records: as a chat, or plain
  on_bad_record: stop                   # or skip: counted and listed in the report

tasks:                                  # what the model should get better at
  summaries:                            # name
    validation: data/summaries/validation.jsonl   # looked at during the run
    test: data/summaries/test.jsonl               # looked at once, at the end
    weight: 1.0                                   # of it among the tasks

check: {on_leak: stop, allowed_leaks: []}  # task items among the training records: stop, or warn

tokenizer: {train: {vocab_size: 8192}}  # or a hub name or a folder; without one, the model's own
model: {config: {model_type: llama, hidden_size: 256, intermediate_size: 688, num_hidden_layers: 6,
                 num_attention_heads: 4, num_key_value_heads: 2, tie_word_embeddings: true}}
                                        # or a hub name or a folder with weights
proxy: {warmup_steps: 200}              # same form as model; without one, the model itself

features: {dim: 1024}                   # gradient features of every sample
domains: {number: auto, within: source} # number: auto | N | sources (keep the sources as domains)
mixture: {policy: dids, rounds: 25}     # or uniform, proportional, …: docs/policies.md
budget: {tokens: 20_000_000}            # of training, repeats included
training: {per_device_train_batch_size: 16, learning_rate: 1.0e-3}   # TrainingArguments' own names
control: uniform                        # a second run on the same budget to compare with, or null
"""
