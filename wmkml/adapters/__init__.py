"""LoRA adapters in PEFT's on-disk format: files, the checks before one is served, and the archive for the wire."""
