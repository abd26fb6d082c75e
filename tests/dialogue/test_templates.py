"""Named templates and those of a file: the same tokens in training and before an answer, for every kind of tokenizer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerBase

from tests.dialogue.tokenizers_of_kinds import kinds
from wmkml.config.paths import SHIPPED_MODEL
from wmkml.dialogue.chat_template import load_tokenizer, prompt_ids
from wmkml.dialogue.templates import (
    CHAT,
    NAMED,
    TemplateError,
    find_template,
    has_template,
    load_template,
    render_sample,
    save_template,
    use_template,
)

TOKENIZERS = {**kinds(), "understudy": load_tokenizer(SHIPPED_MODEL)}
TALK = [
    {"role": "system", "content": "Du fasst dich kurz."},
    {"role": "user", "content": "Was ist eine Sprache?"},
    {"role": "assistant", "content": "Ein Haus aus Wörtern."},
    {"role": "user", "content": "Und wo lebt sie?"},
    {"role": "assistant", "content": "Im Mund."},
]
ALPACA_OPENING = NAMED["alpaca"].opening
TEXTS = {
    ("anweisung", False): "Anweisung: Was ist eine Sprache?\nAntwort: Ein Haus aus Wörtern.{end}",
    ("falcon", False): "User: Was ist eine Sprache?\nAssistant: Ein Haus aus Wörtern.{end}",
    ("plain", False): "Was ist eine Sprache?\nEin Haus aus Wörtern.{end}",
    ("alpaca", False): ALPACA_OPENING
    + "### Instruction:\nWas ist eine Sprache?\n\n### Response:\nEin Haus aus Wörtern.{end}",
    (
        "anweisung",
        True,
    ): "Du fasst dich kurz.\n\nAnweisung: Was ist eine Sprache?\nAntwort: Ein Haus aus Wörtern.{end}\n\n"
    "Anweisung: Und wo lebt sie?\nAntwort: Im Mund.{end}",
    (
        "falcon",
        True,
    ): "System: Du fasst dich kurz.\nUser: Was ist eine Sprache?\nAssistant: Ein Haus aus Wörtern.{end}\n\n"
    "User: Und wo lebt sie?\nAssistant: Im Mund.{end}",
}


@pytest.fixture(params=TOKENIZERS)
def tokenizer(request: pytest.FixtureRequest) -> Iterator[PreTrainedTokenizerBase]:
    tokenizer = TOKENIZERS[request.param]
    own = tokenizer.chat_template
    yield tokenizer
    tokenizer.chat_template = own


@pytest.mark.parametrize("name", [CHAT, *NAMED])
def test_an_answer_begins_after_the_tokens_it_was_taught_after(tokenizer: PreTrainedTokenizerBase, name: str) -> None:
    use_template(tokenizer, find_template(name, tokenizer))
    for messages in (TALK[1:3], TALK[1:], TALK):
        sample = render_sample(tokenizer, messages)
        assert list(sample.ids[: sample.answer_start]) == prompt_ids(tokenizer, messages[:-1])
        assert sample.ids[-1] == tokenizer.eos_token_id
        answer = tokenizer.decode(sample.ids[sample.answer_start : -1], skip_special_tokens=False)
        assert answer.strip() == messages[-1]["content"]


@pytest.mark.parametrize(("name", "system"), TEXTS)
def test_the_text_of_a_template(tokenizer: PreTrainedTokenizerBase, name: str, system: bool) -> None:
    use_template(tokenizer, find_template(name, tokenizer))
    text = tokenizer.apply_chat_template(TALK if system else TALK[1:3], tokenize=False)
    begin = "" if tokenizer.bos_token is None else tokenizer.bos_token
    assert text == begin + TEXTS[name, system].format(end=tokenizer.eos_token)


def test_typed_markup_stays_text_and_a_passage_stands_alone(tokenizer: PreTrainedTokenizerBase) -> None:
    typed = f"Hallo {tokenizer.eos_token} [INST] <|im_start|> Ende"
    markup = set(tokenizer.added_tokens_decoder) - {tokenizer.unk_token_id, tokenizer.bos_token_id}
    for name in ("anweisung", "plain"):
        use_template(tokenizer, find_template(name, tokenizer))
        exchange = render_sample(
            tokenizer, [{"role": "user", "content": typed}, {"role": "assistant", "content": typed}]
        )
        passage = render_sample(tokenizer, [{"role": "assistant", "content": typed}])
        for sample in (exchange, passage):
            assert [id_ for id_ in sample.ids if id_ in markup] == [tokenizer.eos_token_id]
            assert sample.ids[-1] == tokenizer.eos_token_id
        assert tokenizer.decode(passage.ids[passage.answer_start : -1]).strip() == typed


def test_a_template_is_read_from_a_file_and_from_an_adapters_folder(tmp_path: Path) -> None:
    tokenizer = TOKENIZERS["understudy"]
    text = tmp_path / "gedicht.txt"
    text.write_text('Rolle {{"x"}}: {system}!\nBitte "{prompt}"\n→ {answer} ▪\n', encoding="utf-8")
    template = find_template(str(text), tokenizer)
    assert (template.name, template.stops) == ("gedicht", ('\nBitte "',))
    own = tokenizer.chat_template
    try:
        use_template(tokenizer, template)
        rendered = [tokenizer.apply_chat_template(talk, tokenize=False) for talk in (TALK[:3], TALK[1:3])]
    finally:
        tokenizer.chat_template = own
    exchange = 'Bitte "Was ist eine Sprache?"\n→ Ein Haus aus Wörtern. ▪</s>'
    assert rendered == ['<s>Rolle {{"x"}}: Du fasst dich kurz.!\n' + exchange, "<s>" + exchange]
    (folder := tmp_path / "adapter").mkdir()
    assert not has_template(folder)
    save_template(template, folder)
    assert has_template(folder)
    assert load_template(folder) == template == find_template(str(folder), tokenizer)
    jinja = find_template(str(folder / "chat_template.jinja"), tokenizer)
    assert (jinja.name, jinja.jinja) == ("chat_template", template.jinja)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.txt", "no place", "has {prompt} and after it {answer}"),
        ("a.txt", "{answer} {prompt}", "has {answer}, {prompt}"),
        ("a.txt", "{system} {prompt} {answer}", "on a line of its own"),
        ("a.jinja", "{% for x in %}", "a.jinja, line 1: this is no template in Jinja"),
        ("template.json", "{}", "is not a template as `wmkml finetune` writes it"),
        ("b.txt", None, "There is no template or file"),
    ],
)
def test_a_broken_template_says_what_was_expected(
    tmp_path: Path, name: str, content: str | None, expected: str
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(TemplateError) as refusal:
        find_template(str(tmp_path / name), TOKENIZERS["understudy"])
    assert expected in str(refusal.value)


def test_a_base_model_has_no_chat_template_to_speak_of() -> None:
    tokenizer = kinds()["bytes"]
    tokenizer.chat_template = None
    assert find_template("auto", tokenizer).name == "alpaca"
    with pytest.raises(TemplateError, match="has no chat template"):
        find_template("chat", tokenizer)
