"""The panel: fixed prompts that every iteration answers in the background, and the measures of its answers."""
