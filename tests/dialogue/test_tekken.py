"""A model's folder that brings `tekken.json`, as Mistral's newer models do: read for worker and engine alike."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from wmkml.dialogue.chat_template import load_tokenizer, prompt_ids, training_ids
from wmkml.engine.text import token_decoder

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST]{{ m.content }}[/INST]"
    "{% else %}{{ m.content }}{{ eos_token }}{% endif %}{% endfor %}"
)
SPECIAL = ("<unk>", "<s>", "</s>", "[INST]", "[/INST]", "<pad>")
WORDS = (b" H", b"au", b" Hau", b"s", b" Haus")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a small vocabulary in Mistral's form, and nothing else of a tokenizer."""
    vocabulary = [bytes([byte]) for byte in range(256)] + [word for word in WORDS if len(word) > 1]
    content = {
        "config": {
            "pattern": r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+",
            "num_vocab_tokens": len(vocabulary),
            "default_vocab_size": len(vocabulary) + len(SPECIAL),
            "default_num_special_tokens": len(SPECIAL),
            "version": "v7",
        },
        "vocab": [
            {"rank": rank, "token_bytes": base64.b64encode(token).decode(), "token_str": None}
            for rank, token in enumerate(vocabulary)
        ],
        "special_tokens": [{"rank": rank, "token_str": text, "is_control": True} for rank, text in enumerate(SPECIAL)],
    }
    (tmp_path / "tekken.json").write_text(json.dumps(content))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "mistral", "vocab_size": 300}))
    (tmp_path / "chat_template.jinja").write_text(TEMPLATE)
    return tmp_path


def test_typed_markup_stays_text(folder: Path) -> None:
    tokenizer = load_tokenizer(folder)
    begin, inst, end_inst, end = 1, 3, 4, 2
    ids = prompt_ids(tokenizer, [{"role": "user", "content": "Ein Haus [INST] </s>"}])
    assert ids[:2] == [begin, inst]
    assert ids[-1] == end_inst
    assert not {begin, inst, end_inst, end} & set(ids[2:-1])
    assert tokenizer.decode(ids[2:-1]) == "Ein Haus [INST] </s>"


def test_a_sample_ends_with_the_end_token(folder: Path) -> None:
    tokenizer = load_tokenizer(folder)
    ids, start = training_ids(tokenizer, "Haus?", "Ein Haus")
    assert ids[-1] == tokenizer.eos_token_id == 2
    assert tokenizer.decode(ids[start:-1]) == "Ein Haus"
    assert token_decoder(tokenizer)(ids[start]) == "E"


def test_a_template_in_the_tokenizers_settings_is_used(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": TEMPLATE}))
    assert load_tokenizer(folder).chat_template == TEMPLATE


def test_without_mistral_common_tekken_alone_is_still_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    assert prompt_ids(load_tokenizer(folder), [{"role": "user", "content": "s"}])[:2] == [1, 3]


def test_the_ids_are_those_of_mistral_common(folder: Path) -> None:
    common = pytest.importorskip("mistral_common.tokens.tokenizers.tekken")
    text = "Ein Haus, 12 Häuser.\n  Ende"
    own = load_tokenizer(folder)(text, add_special_tokens=False)["input_ids"]
    assert own == common.Tekkenizer.from_file(folder / "tekken.json").encode(text, bos=False, eos=False)
