"""Small tokenizers of the kinds that chat models use, trained on a few sentences, with their chat templates."""

from __future__ import annotations

import json

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

SENTENCES = [
    "Eine Sprache ist ein Haus aus Wörtern. Sie lebt im Mund und in der Hand.",
    "A language is a house of words. It lives in the mouth and in the hand.",
    "Du fasst dich kurz und antwortest auf deutsch. You provide concise answers in english.",
    "user assistant system INST SYS im_start im_end",
] * 4

MISTRAL = (
    "{%- if messages[0]['role'] == 'system' %}{%- set system = messages[0]['content'] %}{%- set talk = messages[1:] %}"
    "{%- else %}{%- set talk = messages %}{%- endif %}{{- bos_token }}"
    "{%- for message in talk %}{%- if message['role'] == 'user' %}"
    "{%- if loop.last and system is defined %}{{- '[INST] ' + system + '\\n\\n' + message['content'] + '[/INST]' }}"
    "{%- else %}{{- '[INST] ' + message['content'] + '[/INST]' }}{%- endif %}"
    "{%- else %}{{- ' ' + message['content']|trim + eos_token }}{%- endif %}{%- endfor %}"
)
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
# No system role, contents stripped, the markup of turns is ordinary text.
LLAMA = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}"
    "{{ '[INST] ' + message['content'].strip() + ' [/INST]' }}"
    "{% else %}{{ ' ' + message['content'].strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
)


def _wrapped(tokenizer: Tokenizer, template: str, **special: str) -> PreTrainedTokenizerFast:
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)
    wrapped.chat_template = template
    return wrapped


def byte_level(template: str, markup: list[str], *, special: bool = True, **roles: str) -> PreTrainedTokenizerFast:
    """Byte-level BPE, as GPT, Qwen and the understudy use it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), special_tokens=list(roles.values())
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    tokenizer.add_tokens([AddedToken(text, special=special, normalized=False) for text in markup])
    return _wrapped(tokenizer, template, **roles)


def sentencepiece(template: str, markup: list[str], *, prepend: str) -> PreTrainedTokenizerFast:
    """SentencePiece-like BPE with byte fallback; words begin with ▁. `prepend` is `first` as in Mistral or `normalizer` as in Llama 2."""
    unk, bos, eos = "<unk>", "<s>", "</s>"
    tokenizer = Tokenizer(models.BPE(unk_token=unk, byte_fallback=True, fuse_unk=True))
    if prepend == "first":
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    else:
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    letters = "▁abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZäöüß.,!?[]/<>|_0123456789"
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        initial_alphabet=list(letters),
        special_tokens=[unk, bos, eos, *markup, *(f"<0x{byte:02X}>" for byte in range(256))],
        max_token_length=12,
    )
    split = Tokenizer(models.BPE())  # trains the vocabulary, on single words
    split.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=True)
    split.train_from_iterator(SENTENCES, trainer)
    learned = json.loads(split.to_str())["model"]
    tokenizer.model = models.BPE(
        vocab=learned["vocab"],
        merges=[tuple(pair) for pair in learned["merges"]],
        unk_token=unk,
        byte_fallback=True,
        fuse_unk=True,
    )
    tokenizer.add_special_tokens(
        [AddedToken(text, special=True, normalized=False) for text in [unk, bos, eos, *markup]]
    )
    return _wrapped(tokenizer, template, unk_token=unk, bos_token=bos, eos_token=eos)


def kinds() -> dict[str, PreTrainedTokenizerFast]:
    """One of each kind, by name."""
    instruct = ["[INST]", "[/INST]"]
    chat = ["<|im_start|>", "<|im_end|>"]
    return {
        "mistral": sentencepiece(MISTRAL, instruct, prepend="first"),
        "llama": sentencepiece(LLAMA, [], prepend="normalizer"),
        "chatml": byte_level(CHATML, chat[:1], eos_token="<|im_end|>", pad_token="<|endoftext|>"),
        "bytes": byte_level(MISTRAL, instruct, bos_token="<s>", eos_token="</s>"),
        "ordinary": byte_level(CHATML, ["<|im_start|>", "<tool>"], special=False, eos_token="<|im_end|>"),
    }
