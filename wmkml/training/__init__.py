"""Training: one LoRA round, and any finetune, through one loop of our own.

Samples come in as prompts and answers; an adapter in PEFT's own format comes out, in a folder that appears whole or
not at all.
"""
