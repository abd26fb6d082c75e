"""Training: one LoRA round, and any finetune, through one loop of our own.

Knows torch, PEFT and files.  It deliberately knows no HTTP, no owner and no visitor: samples come in as prompts and
answers, and an adapter in PEFT's own format comes out, in a folder that appears whole or not at all.
"""
