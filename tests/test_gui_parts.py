"""What the window shows, without a window: consent, exchanges, losses, measures, shades, OSC messages, odd characters."""

from __future__ import annotations

import pytest

from wmkml import osc
from wmkml.gui.diversity import NEWEST, Diversity, Measures, line
from wmkml.gui.drawable import drawable, whole
from wmkml.gui.exchange import Exchange
from wmkml.gui.losses import gathered
from wmkml.gui.losses import line as loss_line
from wmkml.gui.news import News, Prompt, Response, RunOver, RunStarted, Start, Swap, Token, Typing
from wmkml.gui.osc_preview import Message, messages
from wmkml.gui.shading import DECAYS, SHADES, decay, drawn, shade
from wmkml.gui.words import ENGLISH, GERMAN, Words, consent
from wmkml.wire import RoundRecord, RunState

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
def test_who_types_is_told_what_the_settings_say(words: Words, kept: bool, carried: bool) -> None:
    told = consent(STATE.model_copy(update={"keep_runs": kept, "carries_words": carried}), words)
    assert (words.stored in told) == (not kept and not carried)
    assert (words.kept in told, words.carried in told) == (kept or carried, carried)
    assert (words.shown in told, words.logged in told) == (True, False)
    quiet = consent(STATE.model_copy(update={"osc": False, "log_visitor_words": True}), words)
    assert (words.shown in quiet, words.logged in quiet) == (False, True)
    idle = consent(STATE.model_copy(update={"idle_seconds": 180.0}), words)
    assert words.forgets.format("3 min") in idle
    assert words.forgets.format("3 min") not in told


def test_an_exchange_keeps_what_the_owner_kept() -> None:
    grown = Exchange("a", "Wer?").begun(2).grown("Ein ", 0.9).grown("Haus. Und", 0.2).grown(" dann", 0.1)
    assert (grown.iteration, grown.complete) == (2, False)
    assert grown.ended("Ein Haus.", 2).tokens == (("Ein ", 0.9), ("Haus.", 0.2))
    assert grown.ended("Ganz anders.", 2).tokens == (("Ganz anders.", 1.0),)
    assert grown.begun(3).tokens == ()
    assert grown.broken().tokens == grown.tokens and grown.broken().complete


def test_losses_of_rounds_watched_and_not() -> None:
    past = RoundRecord(
        iteration=0, status="accepted", learning_rate=0.1, samples=1, steps=8, loss_first=3.0, loss_last=2.0
    )
    step = RoundRecord(iteration=1, status="training", learning_rate=0.1, samples=1, step=3, steps=8, loss=1.5)
    broken = step.model_copy(update={"step": 4, "loss": float("nan")})
    losses = gathered(gathered({}, [past, step]), [broken])
    assert losses == {(0, 1): 3.0, (0, 8): 2.0, (1, 3): 1.5}
    assert loss_line(losses) == [(0, 1), (0.5, pytest.approx(1 / 3)), (1, 0)]
    assert loss_line({(0, 1): 3.0}) == []
    assert loss_line({(0, 1): 3.0, (0, 2): 3.0}) == [(0, 0), (1, 0)]


def test_variety_is_measured_of_each_iteration_apart() -> None:
    found = Diversity().with_answer(-1, "Eine Sprache ist ein Haus").with_answer(2, "Haus Haus Haus Haus")
    found = found.with_token(-1, 2.0).with_token(-1, 1.0).with_token(2, float("nan"))
    assert found.measures() == {
        -1: Measures(distinct_2=1.0, repetition=0.0, entropy=1.5),
        2: Measures(distinct_2=1 / 3, repetition=0.75, entropy=None),
    }
    assert found.with_token(3, 0.5).measures()[3] == Measures(None, None, 0.5)
    many = found
    for number in range(NEWEST + 5):
        many = many.with_answer(0, f"Wort {number}")
    assert len(many.answers[0]) == NEWEST


def test_a_line_of_measures_grows_to_the_right() -> None:
    assert line({-1: 1.0, 1: 0.5, 3: None}, total=4, top=1.0) == [(0.0, 1.0), (0.5, 0.5)]
    assert line({3: 4.0}, total=4, top=2.0) == [(1.0, 1.0)], "what is more than expected is at the top"
    assert line({}, total=4, top=2.0) == []


def test_doubt_shows_more_as_iterations_pass() -> None:
    assert [shade(one) for one in (0.0, 0.5, 1.0, float("nan"))] == [0, SHADES // 2, SHADES - 1, 0]
    assert [decay(one, 9) for one in (-1, 0, 8, 20)] == [0, 1, DECAYS - 1, DECAYS - 1]
    brightness = [
        [sum(int(drawn(shaded, decayed).color[at : at + 2], 16) for at in (1, 3, 5)) for decayed in range(DECAYS)]
        for shaded in range(SHADES)
    ]
    for decayed in range(DECAYS):
        column = [row[decayed] for row in brightness]
        assert column == sorted(column) and len(set(column)) == SHADES, "the less sure, the paler"
    assert brightness[0] == sorted(brightness[0], reverse=True) and len(set(brightness[0])) == DECAYS
    assert len(set(brightness[-1])) == 1, "what it is sure of stays as bright"
    whole_language, last = drawn(0, 0, 1), drawn(0, DECAYS - 1, 1)
    assert (whole_language.smaller, whole_language.italic, whole_language.drift) == (0, False, 0)
    assert last.smaller > 0 and last.italic and last.drift > 0
    assert drawn(SHADES - 1, DECAYS - 1, 1).bold and not drawn(SHADES - 1, 0).bold


@pytest.mark.parametrize(
    ("news", "told"),
    [
        (Prompt("a", "Wer?"), ["/prompt"]),
        (Token("a", "Ich", 0.5, 1.25, 1), ["/token", "/entropy"]),
        (Response("a", "Ich.", 1), ["/response", "/iteration"]),
        (Typing("typing"), ["/user_activity"]),
        (Swap(1), ["/swap"]),
        (RunStarted(), ["/wait_for_language"]),
        (RunOver(), ["/run_end", "/request_restart", "/wait_for_language"]),
        (Start("a", 1), []),
        (
            ROUND.model_copy(update={"step": 0, "loss": None}),
            ["/elapsed_time", "/learning_rate", "/round/progress", "/collapse/distinct_2", "/collapse/repetition"],
        ),
        (STATE.model_copy(update={"elapsed_seconds": 105.0}), ["/time_left"]),
        (STATE.model_copy(update={"iteration": 2, "elapsed_seconds": 105.0}), []),
    ],
    ids=lambda one: type(one).__name__,
)
def test_news_come_with_the_messages_of_the_osc_table(news: News, told: list[str]) -> None:
    found = messages(news, STATE, 12.5, lambda: Measures(0.5, 0.25, None))
    assert [one.address for one in found] == told
    for one in found:
        osc.check(one.address, *one.values)


def test_a_step_is_told_once() -> None:
    before = STATE.model_copy(update={"round": ROUND.model_copy(update={"step": 2})})
    assert messages(ROUND, before, 0.0, lambda: None) == [
        Message("/loss", (3, 1.5)),
        Message("/round/progress", (0.75,)),
    ]
    assert messages(ROUND, STATE.model_copy(update={"round": ROUND}), 0.0, lambda: None) == []
    handed_in = ROUND.model_copy(update={"status": "handed_in"})
    assert messages(handed_in, STATE.model_copy(update={"round": ROUND}), 0.0, lambda: None) == []


def test_a_message_is_one_short_line() -> None:
    assert Message("/prompt", ("Zwei\n\nZeilen",)).shown() == "“Zwei Zeilen”"
    assert Message("/elapsed_time", (1.23456,), nearly=True).shown() == "≈ 1.235"
    assert len(Message("/prompt", ("x" * 10_000,)).shown()) < 70


def test_odd_characters_can_be_drawn_and_sent() -> None:
    assert whole("a\ud83c\udfe0b") == "a🏠b", "halves that Tk handed out"
    assert whole("a\ud83c").encode() == "a\ufffd".encode(), "a half that is alone"
    assert drawable("\0Haus 🏠 ☀️ مرحبا", colours=True) == "Haus 🏠 ☀️ مرحبا"
    assert drawable("Haus 🏠, ⌚, ☀️ und ☀", colours=False) == "Haus □, □, □ und ☀"
