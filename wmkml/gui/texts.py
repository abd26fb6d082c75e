"""The window's own texts in German and English, and how it writes states, numbers and durations with them."""

from __future__ import annotations

from dataclasses import dataclass

from wmkml.protocol.run_state import RunState


@dataclass(frozen=True)
class WindowTexts:
    """The window's texts in one language; `{}` is filled in."""

    language: str
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
    invitation: str
    reborn: str
    ask_me: str
    elsewhere: str
    language_name: str
    osc_sent: str
    osc_absent: str
    leave: str
    idle: str
    forgets: str
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


GERMAN = WindowTexts(
    language="de",
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
    invitation="Sprich mit einer Sprache, bis sie zerfällt.",
    reborn="Sie ist verstummt. Jetzt weiß sie nichts mehr von dir und beginnt von vorn.",
    ask_me="Sie hört dir zu. Sag etwas.",
    elsewhere="von einer anderen Station",
    language_name="Deutsch",
    osc_sent="OSC · was Musik und Bilder hören",
    osc_absent="OSC · was Musik und Bilder hören würden",
    leave="Gehen",
    idle="Noch da? In {} s vergisst dieses Fenster das Gespräch.",
    forgets="Dieses Fenster vergisst das Gespräch, wenn {} niemand da ist.",
    own_words_only="Zu sehen ist nur, was in diesem Fenster gesagt wird.",
    send="Senden",
    start="Auf Deutsch beginnen",
    join="Auf Deutsch sprechen",
    choose_first="Wähle zuerst eine Sprache.",
    away="Die Sprache ist gerade nicht zu erreichen; das Fenster versucht es weiter.",
    refused="Das ging nicht: {}",
    broken="Die Antwort ist abgerissen; deine Worte stehen wieder im Feld.",
    machine="Es antwortet eine Maschine. Was du schreibst, trainiert sie sofort.",
    stored="Deine Worte werden am Ende des Laufs gelöscht.",
    kept="Deine Worte bleiben nach dem Lauf gespeichert.",
    carried="Sie trainieren auch die Läufe danach.",
    logged="Sie können in Protokolldateien stehen.",
    shown="Musik und Bilder im Raum können sie zeigen.",
)

ENGLISH = WindowTexts(
    language="en",
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
    invitation="Talk with a language until it falls apart.",
    reborn="It has fallen silent. Now it knows nothing of you, and begins anew.",
    ask_me="It is listening. Say something.",
    elsewhere="from another station",
    language_name="English",
    osc_sent="OSC · what music and images hear",
    osc_absent="OSC · what music and images would hear",
    leave="Leave",
    idle="Still there? In {} s this window forgets the conversation.",
    forgets="This window forgets the conversation when nobody is there for {}.",
    own_words_only="Only what is said in this window is shown.",
    send="Send",
    start="Begin in {}",
    join="Speak {}",
    choose_first="Choose a language first.",
    away="The language cannot be reached just now; the window keeps trying.",
    refused="That did not work: {}",
    broken="The answer broke off; your words are back in the field.",
    machine="A machine answers. What you write trains it at once.",
    stored="Your words are deleted at the end of the run.",
    kept="Your words stay stored after the run.",
    carried="They train the runs after it, too.",
    logged="They may stand in log files.",
    shown="Music and images in the room may show them.",
)


def texts_for(language: str | None) -> WindowTexts:
    """The texts in a language; English where the window has none in that language."""
    return GERMAN if language == "de" else ENGLISH


def language_name(language: str) -> str:
    """A language's own name, or its code where the window has no texts in it."""
    return texts_for(language).language_name if language in ("de", "en") else language


def choice_label(language: str, waiting: bool) -> str:
    """The label of a language's button, in that language: it starts a run while one is awaited, else joins it."""
    texts = texts_for(language)
    return (texts.start if waiting else texts.join).format(language_name(language))


def activity_text(state: RunState, texts: WindowTexts) -> str:
    """What the run is doing, in a few words."""
    if state.inference == "away" and state.phase != "waiting":
        return texts.inference_away
    match state.phase:
        case "waiting":
            return texts.waiting
        case "seeding":
            return texts.seeding
        case "last_words":
            return texts.last_words
    if state.round is None or state.round.status != "training":
        return texts.running
    steps = f" {state.round.step}/{state.round.steps}" if state.round.steps else ""
    return texts.learning + steps


def iteration_text(number: int, texts: WindowTexts) -> str:
    """The iteration's number with a typographic minus; the base model's is explained by a word."""
    return f"{number}".replace("-", "−") + (f" ({texts.untouched})" if number < 0 else "")


def clock_text(seconds: float) -> str:
    """Seconds as m:ss."""
    whole = max(0, round(seconds))
    return f"{whole // 60}:{whole % 60:02d}"


def duration_text(seconds: float) -> str:
    """Seconds below two minutes, else minutes, with the unit."""
    return f"{seconds:g} s" if seconds < 120 else f"{round(seconds / 60)} min"


def consent_text(state: RunState, texts: WindowTexts) -> str:
    """What happens to the words typed into the window, by the settings that the run's state reports."""
    sentences = [texts.machine, texts.kept if state.keep_runs or state.carries_words else texts.stored]
    if state.carries_words:
        sentences.append(texts.carried)
    if state.log_visitor_words:
        sentences.append(texts.logged)
    if state.osc:
        sentences.append(texts.shown)
    if state.idle_seconds > 0:
        sentences.append(texts.forgets.format(duration_text(state.idle_seconds)))
    return " ".join(sentences)
