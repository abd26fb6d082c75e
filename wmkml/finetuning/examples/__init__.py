"""Examples that bring their own words, each a finetune like any other, with a score: `finetune --example …`."""
