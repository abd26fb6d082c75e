"""What the window shows, tested without a window: consent, exchanges, losses, measures, shades, OSC messages, odd characters."""

from __future__ import annotations

import pytest

from wmkml.gui.events import (
    AdapterSwapped,
    AnswerStarted,
    PromptReceived,
    ResponseReceived,
    RunEnded,
    RunStarted,
    TokenReceived,
    TypingReported,
    WindowEvent,
)
from wmkml.gui.exchange import DisplayedExchange
from wmkml.gui.panels.diversity import NEWEST, Diversity, diversity_points
from wmkml.gui.panels.losses import loss_points, merge_losses
from wmkml.gui.panels.osc_preview import OscMessage, osc_messages
from wmkml.gui.text_sanitizing import displayable, join_surrogates
from wmkml.gui.texts import ENGLISH, GERMAN, WindowTexts, consent_text
from wmkml.gui.token_styles import DECAYS, SHADES, decay_of, shade_of, token_style
from wmkml.protocol import osc
from wmkml.protocol.run_state import IterationMeasures, RoundRecord, RunState

STATE = RunState.model_validate(
    {
        "run": "r",
        "phase": "running",
        "language": "de",
        "languages": ["de", "en"],
        "iteration": 1,
        "num_total_iters": 4,
        "elapsed_seconds": 100.0,
        "time_left_seconds": 500.0,
        "round": None,
        "rounds": [],
        "pairs": {},
        "stations": 1,
        "inference": "ready",
        "worker": "ready",
        "model": "understudy",
        "engine": "transformers",
        "keep_runs": False,
        "log_visitor_words": False,
        "carries_words": False,
        "osc": True,
        "idle_seconds": 0.0,
    }
)
ROUND = RoundRecord(iteration=2, status="training", learning_rate=0.001, samples=8, step=3, steps=4, loss=1.5)


@pytest.mark.parametrize("words", [GERMAN, ENGLISH])
@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("carried", [False, True])
def test_who_types_is_told_what_the_settings_say(words: WindowTexts, kept: bool, carried: bool) -> None:
    consent = consent_text(STATE.model_copy(update={"keep_runs": kept, "carries_words": carried}), words)
    assert (words.stored in consent) == (not kept and not carried)
    assert (words.kept in consent, words.carried in consent) == (kept or carried, carried)
    assert (words.shown in consent, words.logged in consent) == (True, False)
    quiet = consent_text(STATE.model_copy(update={"osc": False, "log_visitor_words": True}), words)
    assert (words.shown in quiet, words.logged in quiet) == (False, True)
    idle = consent_text(STATE.model_copy(update={"idle_seconds": 180.0}), words)
    assert words.forgets.format("3 min") in idle
    assert words.forgets.format("3 min") not in consent


def test_an_exchange_keeps_what_the_owner_kept() -> None:
    grown = (
        DisplayedExchange("a", "Wer?")
        .started(2)
        .with_token("Ein ", 0.9)
        .with_token("Haus. Und", 0.2)
        .with_token(" dann", 0.1)
    )
    assert (grown.iteration, grown.complete) == (2, False)
    assert grown.completed("Ein Haus.", 2).tokens == (("Ein ", 0.9), ("Haus.", 0.2))
    assert grown.completed("Ganz anders.", 2).tokens == (("Ganz anders.", 1.0),)
    assert grown.started(3).tokens == ()
    assert grown.broken_off().tokens == grown.tokens and grown.broken_off().complete


def test_losses_of_rounds_watched_and_not() -> None:
    past = RoundRecord(
        iteration=0, status="accepted", learning_rate=0.1, samples=1, steps=8, loss_first=3.0, loss_last=2.0
    )
    step = RoundRecord(iteration=1, status="training", learning_rate=0.1, samples=1, step=3, steps=8, loss=1.5)
    broken = step.model_copy(update={"step": 4, "loss": float("nan")})
    losses = merge_losses(merge_losses({}, [past, step]), [broken])
    assert losses == {(0, 1): 3.0, (0, 8): 2.0, (1, 3): 1.5}
    assert loss_points(losses) == [(0, 1), (0.5, pytest.approx(1 / 3)), (1, 0)]
    assert loss_points({(0, 1): 3.0}) == []
    assert loss_points({(0, 1): 3.0, (0, 2): 3.0}) == [(0, 0), (1, 0)]


def test_variety_is_measured_of_each_iteration_apart() -> None:
    diversity = Diversity().with_answer(-1, "Eine Sprache ist ein Haus").with_answer(2, "Haus Haus Haus Haus")
    diversity = diversity.with_token(-1, 2.0).with_token(-1, 1.0).with_token(2, float("nan"))
    measures = diversity.measures()
    assert measures.keys() == {-1, 2}
    assert {name: measures[-1][name] for name in ("distinct_2", "repetition", "entropy")} == {
        "distinct_2": 1.0,
        "repetition": 0.0,
        "entropy": 1.5,
    }
    assert (measures[2]["distinct_2"], measures[2]["repetition"]) == (1 / 3, 0.75)
    assert "entropy" not in measures[2] and measures[2]["compression_ratio"] > 0
    assert diversity.with_token(3, 0.5).measures()[3] == {"entropy": 0.5}
    of_owner = diversity.with_measures(IterationMeasures(iteration=4, values={"perplexity": 9.0, "confidence": 0.5}))
    of_owner = of_owner.with_measures(IterationMeasures(iteration=4, values={"perplexity": 8.0, "divergence": None}))
    assert of_owner.measures()[4] == {"perplexity": 8.0, "confidence": 0.5}
    many = diversity
    for number in range(NEWEST + 5):
        many = many.with_answer(0, f"Wort {number}")
    assert len(many.answers[0]) == NEWEST


def test_a_line_of_measures_grows_to_the_right() -> None:
    assert diversity_points({-1: 1.0, 1: 0.5}, total=4, top=1.0) == [(0.0, 1.0), (0.5, 0.5)]
    assert diversity_points({3: 4.0}, total=4, top=2.0) == [(1.0, 1.0)], "what is more than expected is at the top"
    assert diversity_points({}, total=4, top=2.0) == []


def test_doubt_shows_more_as_iterations_pass() -> None:
    assert [shade_of(probability) for probability in (0.0, 0.5, 1.0, float("nan"))] == [0, SHADES // 2, SHADES - 1, 0]
    assert [decay_of(iteration, 9) for iteration in (-1, 0, 8, 20)] == [0, 1, DECAYS - 1, DECAYS - 1]
    brightness = [
        [sum(int(token_style(shaded, decayed).color[at : at + 2], 16) for at in (1, 3, 5)) for decayed in range(DECAYS)]
        for shaded in range(SHADES)
    ]
    for decayed in range(DECAYS):
        column = [row[decayed] for row in brightness]
        assert column == sorted(column) and len(set(column)) == SHADES, "the less sure, the paler"
    assert brightness[0] == sorted(brightness[0], reverse=True) and len(set(brightness[0])) == DECAYS
    assert len(set(brightness[-1])) == 1, "what it is sure of stays as bright"
    whole_language, last = token_style(0, 0, 1), token_style(0, DECAYS - 1, 1)
    assert (whole_language.smaller, whole_language.italic, whole_language.drift) == (0, False, 0)
    assert last.smaller > 0 and last.italic and last.drift > 0
    assert token_style(SHADES - 1, DECAYS - 1, 1).bold and not token_style(SHADES - 1, 0).bold


@pytest.mark.parametrize(
    ("event", "addresses"),
    [
        (PromptReceived("a", "Wer?"), ["/prompt"]),
        (TokenReceived("a", "Ich", 0.5, 1.25, 1), ["/token", "/entropy"]),
        (ResponseReceived("a", "Ich.", 1), ["/response", "/iteration"]),
        (TypingReported("typing"), ["/user_activity"]),
        (AdapterSwapped(1), ["/swap"]),
        (RunStarted(), ["/wait_for_language"]),
        (RunEnded(), ["/run_end", "/request_restart", "/wait_for_language"]),
        (AnswerStarted("a", 1), []),
        (
            ROUND.model_copy(update={"step": 0, "loss": None}),
            ["/elapsed_time", "/learning_rate", "/round/progress", "/collapse/distinct_2", "/collapse/repetition"],
        ),
        (STATE.model_copy(update={"elapsed_seconds": 105.0}), ["/time_left"]),
        (STATE.model_copy(update={"iteration": 2, "elapsed_seconds": 105.0}), []),
    ],
    ids=lambda event: type(event).__name__,
)
def test_news_come_with_the_messages_of_the_osc_table(event: WindowEvent, addresses: list[str]) -> None:
    messages = osc_messages(event, STATE, 12.5, lambda: {"distinct_2": 0.5, "repetition": 0.25})
    assert [message.address for message in messages] == addresses
    for message in messages:
        osc.check_message(message.address, *message.values)


def test_a_step_is_told_once() -> None:
    before = STATE.model_copy(update={"round": ROUND.model_copy(update={"step": 2})})
    assert osc_messages(ROUND, before, 0.0, lambda: None) == [
        OscMessage("/loss", (3, 1.5)),
        OscMessage("/round/progress", (0.75,)),
    ]
    assert osc_messages(ROUND, STATE.model_copy(update={"round": ROUND}), 0.0, lambda: None) == []
    handed_in = ROUND.model_copy(update={"status": "handed_in"})
    assert osc_messages(handed_in, STATE.model_copy(update={"round": ROUND}), 0.0, lambda: None) == []


def test_a_message_is_one_short_line() -> None:
    assert OscMessage("/prompt", ("Zwei\n\nZeilen",)).values_text() == "“Zwei Zeilen”"
    assert OscMessage("/elapsed_time", (1.23456,), approximate=True).values_text() == "≈ 1.235"
    assert len(OscMessage("/prompt", ("x" * 10_000,)).values_text()) < 70


def test_odd_characters_can_be_drawn_and_sent() -> None:
    assert join_surrogates("a\ud83c\udfe0b") == "a🏠b", "halves that Tk handed out"
    assert join_surrogates("a\ud83c").encode() == "a\ufffd".encode(), "a half that is alone"
    assert displayable("\0Haus 🏠 ☀️ مرحبا", colour_emoji=True) == "Haus 🏠 ☀️ مرحبا"
    assert displayable("Haus 🏠, ⌚, ☀️ und ☀", colour_emoji=False) == "Haus □, □, □ und ☀"
