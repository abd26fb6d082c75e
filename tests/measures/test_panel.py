"""The panel's measures: at a fixed length, against other implementations and values by hand."""

from __future__ import annotations

import itertools
import json
import math
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from nltk.translate.bleu_score import SmoothingFunction, corpus_bleu
from nltk.util import ngrams

from wmkml.config.paths import PROJECT, SHIPPED_PANEL
from wmkml.measures.panel.measuring import GROUP, PromptAnswers, beginning, measure_panel, measure_words
from wmkml.measures.panel.process import PanelJob
from wmkml.measures.panel.prompts import PanelFileError, panel_prompts

WORDS = 8
STORIES = (
    "Der Hund traf eines Tages den Regenschirm. Der Hund bellt im Garten.",
    "Es war einmal ein Hund, treu und wachsam. Da kam der Bäcker.",
    "Der Hund traf eines Tages den Bäcker. Da kam der Regen.",
    "Heute dachte ich an das Meer. Es ist weit und tief.",
)


def different(number: int, start: int = 0) -> list[str]:
    """Answers of which no two share a word, each twice as long as what is compared."""
    return [" ".join(f"w{answer}x{word}" for word in range(2 * WORDS)) for answer in range(start, start + number)]


def measured(*answers: list[str], wanted: int = GROUP) -> dict[str, float]:
    return measure_panel([PromptAnswers(tuple(of_prompt)) for of_prompt in answers], "xx", WORDS, wanted)


def test_answers_that_are_all_different_and_answers_that_are_all_the_same() -> None:
    alive = measured(*(different(GROUP, 10 * prompt) for prompt in range(4)))
    assert alive["panel_vendi"] == pytest.approx(GROUP)
    assert alive["panel_kinds"] == GROUP
    assert (alive["panel_jaccard"], alive["panel_self_repetition"]) == (0, 0)
    assert alive["panel_self_bleu"] < 0.01
    assert [alive[f"panel_distinct_{n}"] for n in range(1, 5)] == [1, 1, 1, 1]
    assert alive["panel_vocabulary"] == 4 * GROUP * WORDS / 4
    dead = measured(*([different(1)[0]] * GROUP for _ in range(4)))
    assert dead["panel_vendi"] == pytest.approx(1)
    assert (dead["panel_kinds"], dead["panel_jaccard"], dead["panel_self_repetition"]) == (1, 1, 1)
    assert dead["panel_self_bleu"] == pytest.approx(1)
    assert dead["panel_distinct_1"] == pytest.approx(1 / 2)  # a row is two answers: to half the prompts
    assert dead["panel_vocabulary"] == WORDS
    assert dead["panel_ncd"] < 0.3 < alive["panel_ncd"]
    assert dead["panel_compression_ratio"] > alive["panel_compression_ratio"]


def test_every_measure_is_as_other_implementations_have_it() -> None:
    values = measured(*(list(STORIES) for _ in range(2)))
    cut = [text.split()[:WORDS] for text in STORIES]
    bleu = [
        corpus_bleu([[*cut[:index], *cut[index + 1 :]]], [words], smoothing_function=SmoothingFunction().method1)
        for index, words in enumerate(cut)
    ]
    assert values["panel_self_bleu"] == pytest.approx(np.mean(bleu))
    # The Vendi score by its definition: exp of the von Neumann entropy of K / n, K the mean cosine of 1- to 4-grams.
    similarity = np.zeros((GROUP, GROUP))
    for n in range(1, 5):
        counts = [Counter(ngrams([word.lower() for word in words], n)) for words in cut]
        grams = sorted({gram for of_text in counts for gram in of_text})
        vectors = np.array([[of_text[gram] for gram in grams] for of_text in counts], dtype=float)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        similarity += vectors @ vectors.T / 4
    spectrum = np.linalg.svd(similarity / GROUP, compute_uv=False)
    assert values["panel_vendi"] == pytest.approx(math.exp(-sum(p * math.log(p) for p in spectrum if p > 1e-12)))
    pairs = [set(ngrams([word.lower() for word in words], 2)) for words in cut]
    shared = [len(a & b) / len(a | b) for a, b in itertools.combinations(pairs, 2)]
    assert values["panel_jaccard"] == pytest.approx(np.mean(shared))
    # Rows: an answer to one of two prompts.  By hand: of eight words each, none is said twice but "Hund" in the first.
    lowered = [[word.strip(".,").lower() for word in words] for words in cut]
    for n in range(1, 5):
        shares = [len(set(ngrams(words, n))) / (WORDS - n + 1) for words in lowered]
        assert values.get(f"panel_distinct_{n}", np.mean(shares)) == pytest.approx(np.mean(shares))


def test_the_length_of_an_answer_changes_no_measure_but_that_of_lengths() -> None:
    short = [[beginning(text, WORDS) or "" for text in STORIES] for _ in range(4)]
    long = [[f"{text} {' '.join(different(1))}" for text in texts] for texts in short]
    of_short, of_long = measured(*short), measured(*long)
    assert of_long.pop("panel_length") > of_short.pop("panel_length")
    assert of_long == of_short
    assert "panel_vendi" in of_long and "panel_distinct_4" in of_long and "panel_vocabulary" in of_long


def test_a_part_of_a_panel_is_measured_over_what_is_complete_or_not_at_all() -> None:
    whole = measured(*(list(STORIES) for _ in range(6)))
    half = measured(*(list(STORIES) for _ in range(3)), [], [], [])
    assert half["panel_answered"] == 1 / 2
    for name in ("panel_vendi", "panel_self_bleu", "panel_ncd", "panel_distinct_2", "panel_compression_ratio"):
        assert half[name] == pytest.approx(whole[name]), name
    less = measured(*(list(STORIES) for _ in range(2)), list(STORIES[:3]), [], [], [])
    assert set(less) == {"panel_answered", "panel_compared", "panel_length", "panel_vocabulary"} | {
        name for name in less if name.startswith(("panel_distinct", "panel_compression", "panel_self_rep"))
    }
    assert "panel_vendi" not in less
    assert measured([], []) == {}


def test_a_language_that_says_a_word_only_is_not_compared() -> None:
    values = measured(*(["ja", "", "nein", "ja ja ja"] for _ in range(4)))
    assert values == {"panel_answered": 1, "panel_compared": 0, "panel_length": (1 + 0 + 1 + 3) / 4}


def test_facts_are_right_answers_to_prompts_that_have_some() -> None:
    prompts = [
        PromptAnswers(("Der Wal lebt im Meer.", "Der Wal lebt im Wald.", "Meerschaum"), ("Meer",)),
        PromptAnswers(("Sie lebt im Bienenstock.",), ("Bienenstock",)),
        PromptAnswers(STORIES),
    ]
    assert measure_panel(prompts, "xx", WORDS, GROUP)["panel_facts"] == pytest.approx((1 / 3 + 1) / 2)


def test_words_that_exist_are_counted_where_there_is_a_dictionary(monkeypatch: pytest.MonkeyPatch) -> None:
    from wmkml.measures import dictionaries

    class Known:
        def has(self, word: str) -> bool:
            return word != "Regenschirm"

    monkeypatch.setattr(dictionaries, "load_dictionary", lambda _: Known())
    prompts = [PromptAnswers(STORIES) for _ in range(2)]
    assert measure_words(prompts, "de", WORDS) == {"panel_real_words": pytest.approx(1 - 1 / 32)}
    assert measure_words(prompts, "xx", WORDS) == {}
    monkeypatch.setattr(dictionaries, "dictionaries_installed", lambda: False)
    assert measure_words(prompts, "de", WORDS) == {}


@pytest.mark.process
def test_the_process_measures_the_same_again_and_again_and_ends_with_its_input() -> None:
    prompts = [PromptAnswers(STORIES, ("Hund",)) for _ in range(3)]
    job = PanelJob(prompts, "xx", WORDS, GROUP)
    process = subprocess.run(
        [sys.executable, "-m", "wmkml.measures.panel.process"],
        input=job.to_line() * 2 + replace(job, of_words=True).to_line(),
        capture_output=True,
        cwd=PROJECT,
        check=True,
        timeout=60,
    )
    values = measure_panel(prompts, "xx", WORDS, GROUP)
    assert [json.loads(line) for line in process.stdout.splitlines()] == [values, values, {}]


def test_the_panel_that_ships_is_half_creative_and_half_factual() -> None:
    for language in ("de", "en"):
        prompts = panel_prompts(SHIPPED_PANEL, language)
        assert len({prompt.text for prompt in prompts}) == 16
        assert sum(bool(prompt.expected) for prompt in prompts) == 8
    assert panel_prompts(SHIPPED_PANEL, "fr") == []


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("- a", "a section for each language"),
        ("de: [Hallo]", "creative and factual"),
        ("de: {creativ: [Hallo]}", "not creativ"),
        ("de: {creative: ['']}", "none of them empty"),
        ('de: {factual: {"Wo?": Meer}}', "a list of texts"),
        ("de: {", "no YAML"),
    ],
)
def test_a_file_that_is_no_panel_is_refused_with_the_place(tmp_path: Path, content: str, problem: str) -> None:
    file = tmp_path / "panel.yaml"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(PanelFileError, match=problem) as refusal:
        panel_prompts(file, "de")
    assert str(file) in str(refusal.value)
    with pytest.raises(PanelFileError, match=r"inference\.panel_prompts"):
        panel_prompts(tmp_path / "none.yaml", "de")
