"""Every word the window says by itself, in German and English.  Knows no widget."""

from __future__ import annotations

from dataclasses import dataclass

from wmkml import wire


@dataclass(frozen=True)
class Words:
    """The window's words in one language."""

    waiting: str
    seeding: str
    running: str
    learning: str
    last_words: str
    inference_away: str
    iteration: str
    untouched: str
    learning_rate: str
    loss: str
    time_left: str
    no_loss: str
    no_exchange: str
    own_words_only: str
    send: str
    start: str
    join: str
    choose_first: str
    away: str
    refused: str
    broken: str
    machine: str
    stored: str
    kept: str
    carried: str
    logged: str
    shown: str


GERMAN = Words(
    waiting="Wartet auf eine Sprache",
    seeding="Ein Lauf beginnt …",
    running="Die Sprache hört zu",
    learning="Die Sprache lernt …",
    last_words="Letzte Worte",
    inference_away="Die Maschine wacht auf …",
    iteration="Iteration",
    untouched="unberührt",
    learning_rate="Lernrate",
    loss="Verlust",
    time_left="Noch",
    no_loss="Noch hat sie nichts gelernt.",
    no_exchange="Noch hat niemand etwas gesagt.",
    own_words_only="Zu sehen ist nur, was in diesem Fenster gesagt wird.",
    send="Senden",
    start="Auf Deutsch beginnen",
    join="Auf Deutsch sprechen",
    choose_first="Wähle zuerst eine Sprache.",
    away="Der Owner antwortet nicht; das Fenster versucht es weiter.",
    refused="Das ging nicht: {}",
    broken="Die Antwort ist abgerissen; deine Worte stehen wieder im Feld.",
    machine="Es antwortet eine Maschine. Was du schreibst, trainiert sie sofort.",
    stored="Deine Worte werden am Ende des Laufs gelöscht.",
    kept="Deine Worte bleiben nach dem Lauf gespeichert.",
    carried="Sie trainieren auch die Läufe danach.",
    logged="Sie können in Protokolldateien stehen.",
    shown="Musik und Bilder im Raum können sie zeigen.",
)

ENGLISH = Words(
    waiting="Waiting for a language",
    seeding="A run begins …",
    running="The language is listening",
    learning="The language is learning …",
    last_words="Last words",
    inference_away="The machine is waking up …",
    iteration="Iteration",
    untouched="untouched",
    learning_rate="Learning rate",
    loss="Loss",
    time_left="Left",
    no_loss="It has learned nothing yet.",
    no_exchange="Nobody has said anything yet.",
    own_words_only="Only what is said in this window is shown.",
    send="Send",
    start="Begin in {}",
    join="Speak {}",
    choose_first="Choose a language first.",
    away="The owner does not answer; the window keeps trying.",
    refused="That did not work: {}",
    broken="The answer broke off; your words are back in the field.",
    machine="A machine answers. What you write trains it at once.",
    stored="Your words are deleted at the end of the run.",
    kept="Your words stay stored after the run.",
    carried="They train the runs after it, too.",
    logged="They may stand in log files.",
    shown="Music and images in the room may show them.",
)


def words_of(language: str | None) -> Words:
    """The words in a language; English where the window has none of its own."""
    return GERMAN if language == "de" else ENGLISH


def choice(language: str, waiting: bool) -> str:
    """What the button of a language says, in that language where the window knows it."""
    words = words_of(language)
    return (words.start if waiting else words.join).format("English" if language == "en" else language)


def doing(state: wire.RunState, words: Words) -> str:
    """What the run is doing, in a few words."""
    if state.inference == "away" and state.phase != "waiting":
        return words.inference_away
    match state.phase:
        case "waiting":
            return words.waiting
        case "seeding":
            return words.seeding
        case "last_words":
            return words.last_words
    if state.round is None or state.round.status != "training":
        return words.running
    steps = f" {state.round.step}/{state.round.steps}" if state.round.steps else ""
    return words.learning + steps


def iteration(number: int, words: Words) -> str:
    """The iteration as people read it: with a true minus, and a word for the base model."""
    return f"{number}".replace("-", "−") + (f" ({words.untouched})" if number < 0 else "")


def clock(seconds: float) -> str:
    """Seconds as m:ss."""
    whole = max(0, round(seconds))
    return f"{whole // 60}:{whole % 60:02d}"


def consent(state: wire.RunState, words: Words) -> str:
    """What somebody who types into the window is told, from the settings in the run's state."""
    told = [words.machine, words.kept if state.keep_runs or state.carries_words else words.stored]
    if state.carries_words:
        told.append(words.carried)
    if state.log_visitor_words:
        told.append(words.logged)
    if state.osc:
        told.append(words.shown)
    return " ".join(told)
