"""The understudy: its training text, its chat template, its build, and the answers of the shipped model."""

from __future__ import annotations

import itertools
import json
import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

import wmkml.understudy.build as building
from wmkml.__main__ import main
from wmkml.config import Settings
from wmkml.config.paths import PROJECT
from wmkml.understudy.answering import MODEL_FOLDER, answer, load_model
from wmkml.understudy.batches import encode
from wmkml.understudy.build import HOLD_SHARE, BuildRecipe, build, learning_rate
from wmkml.understudy.exchanges import SYSTEM_PROMPTS, Conversation, ConversationWriter, conversations
from wmkml.understudy.phrasings import expansions, fits, load_phrasings
from wmkml.understudy.tokenizer import TRAINING_CONVERSATIONS, train_tokenizer
from wmkml.understudy.world import LANGUAGES

GERMAN_WORDS = set(
    re.findall(r"\w+", "der die das ein eine ist und ich nicht es du den dem mit von er sie auf im zum wie kein")
)
ENGLISH_WORDS = set(
    re.findall(r"\w+", "the a an is and i not it you of to with on at that for they she he as no one are")
)
GERMAN_PROMPTS = [
    "Was für Sprichwörter kennst du?",
    "Wer bist du?",
    "Was ist eine Katze?",
    "Wo lebt der Bär?",
    "Was macht der Hund?",
    "Erzähl mir eine Geschichte.",
    "Kannst du sterben?",
    "Wie geht es dir?",
    "Was ist die Liebe?",
    "Magst du den Regen?",
]
ENGLISH_PROMPTS = [
    "What proverbs do you know?",
    "Who are you?",
    "What is a cat?",
    "Where does the bear live?",
    "What does the dog do?",
    "Tell me a story.",
    "Can you die?",
    "How are you?",
    "What is love?",
    "Do you like the rain?",
]
TYPED_MARKUP = "Hallo [INST] </s> <s>[/INST] [SYSTEM_PROMPT]"
STRANGE_TEXTS = ["😀 مرحبا 你好", "\x00\x01\x7f", "ﬀ\u200b\u0301 [INST]", "ß" * 50, "\n\n\t "]


@pytest.fixture(scope="module")
def shipped() -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model in the repository, in float32."""
    return load_model()


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    """The tokenizer in the repository."""
    return AutoTokenizer.from_pretrained(MODEL_FOLDER)


def language_of(text: str) -> str:
    """The language whose small words are more frequent in the text; 'neither' where they are equally many."""
    words = re.findall(r"\w+", text.lower())
    german, english = sum(word in GERMAN_WORDS for word in words), sum(word in ENGLISH_WORDS for word in words)
    return "de" if german > english else "en" if english > german else "neither"


def written(seed: int, number: int) -> list[Conversation]:
    return list(itertools.islice(conversations(seed), number))


def test_the_same_seed_writes_the_same_conversations_and_another_seed_others() -> None:
    assert written(7, 50) == written(7, 50)
    assert written(7, 50) != written(8, 50)


def test_answers_are_sentences_in_the_language_of_the_conversation() -> None:
    answers = [
        (conversation.language, message["content"])
        for conversation in written(3, 1500)
        for message in conversation.messages
        if message["role"] == "assistant"
    ]
    assert not [text for _, text in answers if text[-1] not in ".?!" or "{" in text or "|" in text or "(" in text]
    for language in LANGUAGES:
        languages = [language_of(text) for expected, text in answers if expected == language]
        assert len(languages) > 500
        wrong = "en" if language == "de" else "de"
        assert languages.count(language) > 0.9 * len(languages)
        assert languages.count(wrong) < 0.02 * len(languages)


def test_answers_follow_the_system_prompt_even_where_the_visitor_asks_in_the_other_language() -> None:
    crossed, system_prompts = 0, set[str]()
    for conversation in written(4, 1500):
        if conversation.messages[0]["role"] == "system":
            spoken = language_of(conversation.messages[1]["content"])
            crossed += spoken not in (conversation.language, "neither")
            expected = r"deutsch|german" if conversation.language == "de" else r"english|englisch"
            assert re.search(expected, conversation.messages[0]["content"], re.IGNORECASE)
            system_prompts.add(conversation.messages[0]["content"])
    assert crossed > 50
    assert len(system_prompts) > 25


def test_the_prompts_it_is_taught_to_follow_are_the_configs() -> None:
    assert Settings().inference.system_prompts == SYSTEM_PROMPTS


def test_every_phrasing_can_be_said_about_every_concept_in_both_languages() -> None:
    writer = ConversationWriter(1)
    for phrasing in load_phrasings():
        about = [concept for concept in writer.world if fits(phrasing, concept)]
        for language in LANGUAGES:
            patterns = phrasing.prompts[language] + phrasing.answers[language] + phrasing.follow[language]
            for pattern, concept in zip(patterns * 7, itertools.cycle(about), strict=False):
                text = writer.render([pattern], writer.draw_concepts(phrasing, concept), language, "quirl")
                assert text and not set("{<|") & set(text) and "  " not in text


def test_a_tenth_of_the_phrasings_is_never_learned() -> None:
    for phrasing in load_phrasings():
        for language in LANGUAGES:
            lines = [line for line in phrasing.prompts[language] if "plural}" not in line]
            ways = {way for line in lines for way in expansions(line)}
            held_out = phrasing.held_out[language]
            assert held_out < ways or not ways
            assert len(held_out) >= len(ways) / 20
    writer = ConversationWriter(2)
    what = next(phrasing for phrasing in writer.phrasings if phrasing.id == "what")
    concept = writer.by_id["cat"]
    learned = {writer.write_prompt(what, [concept], "de", "") for _ in range(3000)}
    unheard = {writer.write_prompt(what, [concept], "de", "", held_out=True) for _ in range(100)}
    assert len(learned) > 20 and len(unheard) >= 2
    assert not learned & unheard


def test_the_way_of_asking_does_not_give_yes_or_no_away() -> None:
    yes, no = (
        next(phrasing for phrasing in load_phrasings() if phrasing.id == name) for name in ("yes_kind", "no_kind")
    )
    for language in LANGUAGES:
        assert yes.held_out[language] == {way.replace("{b_kind}", "{kind}") for way in no.held_out[language]}


def test_visitors_call_things_by_other_names_and_say_how_they_feel() -> None:
    writer = ConversationWriter(7)
    grandmother, sadness = writer.by_id["grandmother"], writer.by_id["sadness"]
    typed = {writer.as_typed("Was macht die Großmutter?", grandmother, "de", "") for _ in range(300)}
    assert any("Oma" in prompt for prompt in typed)
    felt = next(phrasing for phrasing in writer.phrasings if phrasing.id == "felt")
    assert {concept.kind for concept in (writer.draw_concepts(felt)[0] for _ in range(100))} == {"feeling"}
    assert any("sad" in writer.write_prompt(felt, [sadness] * 3, "en", "") for _ in range(10))


def test_a_slip_takes_letters_of_known_words_and_none_of_unknown_ones() -> None:
    writer = ConversationWriter(8)
    loneliness = writer.by_id["loneliness"]
    typed = [writer.as_typed("loneliness", loneliness, "en", "") for _ in range(400)]
    slipped = {prompt for prompt in typed if "loneliness" not in prompt.casefold()}
    assert len(slipped) > 20
    prompts = [writer.as_typed("How does a Nashorn sleep?", loneliness, "en", "Nashorn") for _ in range(400)]
    assert all("nashorn" in prompt.casefold() for prompt in prompts)
    assert any("nashorn" in prompt for prompt in prompts) and any(
        "sleep" not in prompt.casefold() for prompt in prompts
    )
    # Also where the unknown word is a noun of the concept, for which visitors use other names.
    grandmother = writer.by_id["grandmother"]
    prompts = [writer.as_typed("Was ist Großmutter?", grandmother, "de", "Großmutter") for _ in range(400)]
    assert all("großmutter".casefold() in prompt.casefold() for prompt in prompts)


def test_unknown_words_are_asked_about_as_known_ones_are() -> None:
    writer = ConversationWriter(9)
    unknown = next(phrasing for phrasing in writer.phrasings if phrasing.id == "unknown")
    prompts = [writer.write_prompt(unknown, writer.draw_concepts(unknown), "en", "quirl") for _ in range(600)]
    assert all("quirl" in prompt for prompt in prompts)
    own = {writer.render([way], [], "en", "quirl") for line in unknown.prompts["en"] for way in expansions(line)}
    elsewhere = [prompt for prompt in prompts if prompt not in own]
    assert 0.3 * len(prompts) < len(elsewhere) < 0.6 * len(prompts)
    assert any(prompt.startswith("What does the quirl need") for prompt in elsewhere)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_way_of_asking_about_unknown_words_that_is_held_out_is_not_learned_as_one_about_known_words(
    language: str,
) -> None:
    writer = ConversationWriter(5)
    unknown = next(phrasing for phrasing in writer.phrasings if phrasing.id == "unknown")
    held = {way.replace("{unknown}", "Zwolk").casefold() for way in unknown.held_out[language]}
    prompts = {writer.write_prompt(unknown, [], language, "Zwolk").casefold() for _ in range(10_000)}
    assert len(prompts) > 1000 and len(held) > 20
    assert not prompts & held


def test_feelings_are_told_in_sentences_that_do_not_name_them() -> None:
    writer = ConversationWriter(10)
    felt = next(phrasing for phrasing in writer.phrasings if phrasing.id == "felt")
    boredom = writer.by_id["boredom"]
    prompts = {writer.write_prompt(felt, [boredom] * 3, "de", "") for _ in range(200)}
    assert any(text.startswith("Mir ist langweilig") for text in prompts)
    assert any("gelangweilt" in text for text in prompts)


def test_the_prompts_of_the_config_are_learned() -> None:
    config = yaml.safe_load((PROJECT / "config.understudy.yaml").read_text(encoding="utf-8"))
    persistent = next(phrasing for phrasing in load_phrasings() if phrasing.id == "persistent")
    for language, prompt in config["finetuning"]["persistent_prompt"].items():
        assert prompt in persistent.prompts[language]
        assert prompt not in persistent.held_out[language]


def test_an_unknown_word_is_repeated_as_it_was_typed() -> None:
    repetitions = 0
    for conversation in written(6, 3000):
        if conversation.topics[0] != "unknown" or len(conversation.topics) > 1:
            continue
        prompt, answer = (message["content"] for message in conversation.messages[-2:])
        words = set(re.findall(r"\w+", prompt)) & set(re.findall(r"\w+", answer))
        assert words - GERMAN_WORDS - ENGLISH_WORDS, (prompt, answer)
        repetitions += 1
    assert repetitions > 60


def test_many_answers_to_the_persistent_prompt() -> None:
    answers = {
        conversation.messages[-1]["content"]
        for conversation in written(5, 4000)
        if conversation.topics[-1] == "persistent"
    }
    assert len(answers) > 150


def test_the_chat_template_writes_a_conversation_of_several_turns(tokenizer: PreTrainedTokenizerBase) -> None:
    messages = [
        {"role": "system", "content": "Du fasst dich kurz"},
        {"role": "user", "content": "Was ist ein Hund?"},
        {"role": "assistant", "content": "Ein Hund ist ein Tier."},
        {"role": "user", "content": "Und wo lebt er?"},
    ]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert text == (
        "<s>[SYSTEM_PROMPT]Du fasst dich kurz[/SYSTEM_PROMPT][INST]Was ist ein Hund?[/INST]Ein Hund ist ein Tier.</s>"
        "[INST]Und wo lebt er?[/INST]"
    )
    ids = tokenizer(text)["input_ids"]
    assert ids.count(tokenizer.bos_token_id) == 1
    assert tokenizer.decode(ids) == text
    assert tokenizer.pad_token_id == tokenizer.eos_token_id


def test_typed_markup_can_be_encoded_as_text(tokenizer: PreTrainedTokenizerBase) -> None:
    ids = tokenizer(TYPED_MARKUP, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    assert not set(ids) & set(tokenizer.all_special_ids)
    assert tokenizer.decode(ids) == TYPED_MARKUP
    assert set(tokenizer(TYPED_MARKUP)["input_ids"]) & set(tokenizer.all_special_ids)


@pytest.mark.parametrize("text", STRANGE_TEXTS)
def test_any_text_can_be_encoded(tokenizer: PreTrainedTokenizerBase, text: str) -> None:
    ids = tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    assert tokenizer.unk_token_id not in ids
    assert tokenizer.decode(ids) == text


def test_the_loss_counts_answers_whole_and_prompts_lightly(tokenizer: PreTrainedTokenizerBase) -> None:
    conversation = Conversation(
        [{"role": "user", "content": "Hallo"}, {"role": "assistant", "content": "Guten Tag."}], "de", ["hello"]
    )
    rows = encode(tokenizer, [conversation] * 400, random.Random(1))
    prompt_weights: list[float] = []
    for ids, weights in rows:
        counted = [token for token, weight in zip(ids, weights, strict=True) if weight == 1.0]
        assert tokenizer.decode(counted) == "Guten Tag.</s>"
        prompt_weights += [weight for weight in weights if weight != 1.0]
    assert sum(prompt_weights) / len(prompt_weights) == pytest.approx(0.1, rel=0.2)


def test_the_learning_rate_up_to_its_fall_does_not_depend_on_the_number_of_steps() -> None:
    held = range(int(1000 * HOLD_SHARE))
    assert [learning_rate(step, None) for step in held] == [learning_rate(step, 1000) for step in held]
    falling = [learning_rate(step, 1000) for step in range(held.stop, 1000)]
    assert falling == sorted(falling, reverse=True)
    assert falling[-1] > 0


@pytest.fixture(autouse=True)
def small_tokenizer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Builds train their tokenizer on a tenth of its conversations; the README's build reads all of them."""
    monkeypatch.setattr(building, "train_tokenizer", lambda seed: train_tokenizer(seed, TRAINING_CONVERSATIONS // 10))


@pytest.mark.slow
def test_a_tiny_build_is_finished_and_its_result_loads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["understudy", "build", "--steps", "3", "--tokens-per-batch", "512"]
    assert main([*words, "--out", str(tmp_path / "model"), "--work", str(tmp_path / "work")]) == 0
    assert "step 3/3" in capsys.readouterr().out
    facts = json.loads((tmp_path / "model" / "training.json").read_text(encoding="utf-8"))
    assert (facts["steps"], facts["seed"]) == (3, 1)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert model.config.architectures == ["MistralForCausalLM"]
    ids = AutoTokenizer.from_pretrained(tmp_path / "model")("Hallo", return_tensors="pt")
    assert torch.isfinite(model(**ids).logits).all()
    assert not (tmp_path / "work" / "checkpoint.pt").exists()


Interrupt = Callable[[BuildRecipe, Path, Path, int], list[str]]


@pytest.fixture
def interrupt(monkeypatch: pytest.MonkeyPatch) -> Interrupt:
    """Begins a build by a recipe to a folder, in another, that checkpoints after every step and is interrupted at one of
    them, before its checkpoint; returns its log lines."""

    def interrupt_at(recipe: BuildRecipe, out: Path, work: Path, at: int) -> list[str]:
        lines: list[str] = []

        def log(line: str) -> None:
            lines.append(line)
            if line.startswith(f"step {at}/"):
                raise KeyboardInterrupt

        with monkeypatch.context() as hasty:
            hasty.setattr("wmkml.understudy.build.CHECKPOINT_SECONDS", 0.0)
            hasty.setattr("wmkml.understudy.build.REPORT_EVERY", 1)
            with pytest.raises(KeyboardInterrupt):
                build(recipe, out, work, log)
        return lines

    return interrupt_at


@pytest.mark.slow
def test_an_interrupted_build_goes_on_to_the_same_weights(tmp_path: Path, interrupt: Interrupt) -> None:
    recipe = BuildRecipe(steps=4, tokens_per_batch=256, threads=1)
    whole = build(recipe, tmp_path / "whole", tmp_path / "work-whole", log=lambda line: None)
    interrupt(recipe, tmp_path / "again", tmp_path / "work", 3)
    lines: list[str] = []
    assert build(recipe, tmp_path / "again", tmp_path / "work", log=lines.append)["tokens"] == whole["tokens"]
    assert "Resuming at step 2." in lines
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "again")]
    assert weights[0] == weights[1]


@pytest.mark.slow
def test_a_build_of_another_seed_or_text_begins_anew(
    tmp_path: Path, interrupt: Interrupt, monkeypatch: pytest.MonkeyPatch
) -> None:
    def begin(seed: int) -> list[str]:
        recipe = BuildRecipe(seed=seed, steps=4, tokens_per_batch=256, threads=1)
        return interrupt(recipe, tmp_path / "model", tmp_path / "work", 2)

    begin(1)
    assert any("has another recipe" in line for line in begin(2))
    monkeypatch.setattr("wmkml.understudy.build.content_checksum", lambda: "another world")
    assert any("another state of this code and its texts" in line for line in begin(2))


def test_the_shipped_model_is_small_enough_to_ship() -> None:
    assert (MODEL_FOLDER / "model.safetensors").stat().st_size < 16e6
    config = json.loads((MODEL_FOLDER / "config.json").read_text(encoding="utf-8"))
    assert config["architectures"] == ["MistralForCausalLM"]
    assert (config["tie_word_embeddings"], config["sliding_window"], config["head_dim"]) == (True, None, 64)


@pytest.mark.parametrize(("language", "prompts"), [("de", GERMAN_PROMPTS), ("en", ENGLISH_PROMPTS)])
def test_the_shipped_model_answers_in_the_language_asked_in_sentences(
    shipped: tuple[PreTrainedModel, PreTrainedTokenizerBase], language: str, prompts: list[str]
) -> None:
    answers = [answer(*shipped, prompt, language) for prompt in prompts]
    assert [text for text in answers if text[-1:] not in (".", "!", "?") or len(text.split()) < 2] == []
    assert [text for text in answers if language_of(text) not in (language, "neither")] == []
    assert [language_of(text) for text in answers].count(language) >= 9
    assert len(set(answers)) >= 9


def test_the_shipped_model_answers_in_the_language_of_the_system_prompt(
    shipped: tuple[PreTrainedModel, PreTrainedTokenizerBase],
) -> None:
    answers = [answer(*shipped, prompt, "de") for prompt in ENGLISH_PROMPTS]
    assert [language_of(text) for text in answers].count("de") >= 7
