"""The examination: every fact is asked about, and an answer is marked by what it says about the fact."""

from __future__ import annotations

import functools
import json
import subprocess
import sys

import pytest

from wmkml.understudy.examination import ExamQuestion, draw_questions, mark, mark_all
from wmkml.understudy.exchanges import ConversationWriter
from wmkml.understudy.world import LANGUAGES, load_world

EVERYWHERE = {"kind", "where", "does", "look", "use", "why", "image", "with", "needs", "yes", "no"}
"""The facts that every concept has."""


@functools.cache
def all_questions() -> tuple[ExamQuestion, ...]:
    return tuple(draw_questions(seed=3))


def find_question(concept: str, language: str, fact: str) -> ExamQuestion:
    return next(
        question
        for question in all_questions()
        if (question.concept, question.language, question.fact) == (concept, language, fact)
    )


def test_every_fact_of_every_concept_is_asked_in_both_languages() -> None:
    world = load_world()
    drawn = {(question.concept, question.language, question.fact) for question in all_questions()}
    expected = {(concept.id, language, fact) for concept in world for language in LANGUAGES for fact in EVERYWHERE}
    expected |= {
        (concept.id, language, "opposite")
        for concept in world
        if "opposite" in concept.related
        for language in LANGUAGES
    }
    assert drawn == expected
    assert len(all_questions()) == len(expected)


@pytest.mark.slow
def test_the_same_seed_asks_the_same_and_a_number_draws_some() -> None:
    assert draw_questions("de", 40, seed=1) == draw_questions("de", 40, seed=1)
    assert draw_questions("de", 40, seed=1) != draw_questions("de", 40, seed=2)
    assert {question.language for question in draw_questions("en", 40)} == {"en"}
    assert len(draw_questions("en", 40)) == 40


def test_unheard_questions_are_ones_no_training_text_holds() -> None:
    writer = ConversationWriter(0)
    kinds = {phrasing.fact: phrasing for phrasing in writer.prompt_phrasings if phrasing.fact}
    learned = {
        writer.write_prompt(kinds["where"], writer.draw_concepts(kinds["where"], writer.by_id["cat"]), "de", "")
        for _ in range(2000)
    }
    held_out_prompts = [
        question.prompt
        for question in draw_questions("de", held_out=True)
        if (question.concept, question.fact) == ("cat", "where")
    ]
    assert held_out_prompts and not learned & set(held_out_prompts)


@pytest.mark.parametrize("fact", sorted(EVERYWHERE | {"opposite"}))
@pytest.mark.parametrize("language", LANGUAGES)
def test_what_the_generator_answers_is_right_and_of_another_concept_is_wrong(language: str, fact: str) -> None:
    writer = ConversationWriter(5)
    phrasing = next(phrasing for phrasing in writer.prompt_phrasings if phrasing.fact == fact)
    mistaken = 0
    questions = [question for question in all_questions() if (question.language, question.fact) == (language, fact)]
    for question in questions:
        concepts = writer.draw_concepts(phrasing, writer.by_id[question.concept])
        assert mark(question, writer.render(phrasing.answers[language], concepts, language, "")) == "right"
        other = writer.by_id[questions[writer.rng.randrange(len(questions))].concept]
        mistaken += (
            mark(
                question,
                writer.render(phrasing.answers[language], writer.draw_concepts(phrasing, other), language, ""),
            )
            == "right"
        )
    if fact not in ("yes", "no"):
        assert mistaken < len(questions) * (0.3 if fact == "kind" else 0.1)


@pytest.mark.parametrize(
    ("fact", "answer", "expected"),
    [
        ("where", "Der Bär lebt im Wald.", "right"),
        ("where", "IM WALD lebt er", "right"),
        ("where", "Der Bär lebt im Meer.", "wrong"),
        ("where", "Ein Bär ist ein Gebäude.", "wrong"),
        ("where", "", "no_answer"),
        ("where", "…", "no_answer"),
        ("where", "Wald Wald Wald Wald Bär Bär", "no_answer"),
        ("where", "Das Wort Bär kenne ich nicht. Meine Welt ist klein.", "no_answer"),
        ("kind", "Ein Bär ist ein Tier.", "right"),
        ("kind", "Der Bär? Er ist ein Tier. Das Meer ist kein Ort.", "right"),
        # Wrong: denying the kind, listing all kinds, or naming it only at the end.
        ("kind", "Ein Bär ist kein Tier, ein Bär ist ein Gebäude.", "wrong"),
        ("kind", "Ein Bär ist ein Gebäude, ein Ding, ein Tier und eine Pflanze.", "wrong"),
        ("kind", "Ein Bär ist groß. Er schläft im Winter. Er frisst gern. Er ist ein Tier.", "wrong"),
    ],
)
def test_marks(fact: str, answer: str, expected: str) -> None:
    assert mark(find_question("bear", "de", fact), answer) == expected


def test_yes_and_no_count_by_the_verdict_that_comes_first() -> None:
    assert mark(find_question("bear", "en", "yes"), "Yes, a bear is an animal.") == "right"
    assert mark(find_question("bear", "en", "yes"), "A bear is an animal, so yes. No tree is one.") == "right"
    assert mark(find_question("bear", "de", "no"), "Ein Bär ist ein Tier, also nein.") == "right"
    assert mark(find_question("bear", "de", "no"), "Ein Bär ist ein Tier, also ja.") == "wrong"
    assert mark(find_question("bear", "en", "yes"), "No, a bear is an animal.") == "wrong"
    assert mark(find_question("bear", "en", "no"), "No, a bear is an animal.") == "right"
    assert mark(find_question("bear", "en", "no"), "Nobody knows.") == "wrong"
    assert mark(find_question("bear", "de", "yes"), "Das stimmt nicht, ein Bär ist ein Tier.") == "wrong"


def test_shares_are_of_their_language_and_fact() -> None:
    questions = [
        find_question("bear", "de", "where"),
        find_question("bear", "en", "where"),
        find_question("bear", "en", "yes"),
    ]
    marked = mark_all(questions, ["Er lebt im Wald.", "It lives in the sea.", ""])
    assert (marked.share(), marked.share(language="de"), marked.share(language="en")) == (1 / 3, 1.0, 0.0)
    assert (marked.share("no_answer", "en"), marked.share(fact="where"), marked.total) == (0.5, 0.5, 3)
    with pytest.raises(ValueError):
        mark_all(questions, ["too few"])


def examine(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "wmkml", "examine", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)


@pytest.mark.process
def test_the_command_prints_a_table_and_last_a_line_of_json() -> None:
    done = examine("--questions", "60", "--language", "de", "--show", "3")
    assert done.returncode == 0, done.stderr
    *table, last = done.stdout.splitlines()
    summary = json.loads(last)
    assert summary["asked"] == 60 and summary["de"] == summary["facts"] > 0.3
    assert "de right" in done.stdout and any(line.startswith("all") for line in table)
    assert sum(line.startswith(("[right]", "[wrong]", "[no_answer]")) for line in table) == 3


@pytest.mark.process
def test_the_command_refuses_with_a_sentence_and_does_not_wait_for_torch() -> None:
    wrong = [["--questions", "0"], ["--show", "-1"], ["--model", "nowhere"], ["--adapter", "nowhere"]]
    code = f"""
import sys
from wmkml.__main__ import main
print([main(["examine", *words]) for words in {wrong}], "torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=200, check=False)
    assert done.stdout.strip() == "[2, 2, 2, 2] False"
    assert len(done.stderr.splitlines()) == len(wrong)
