"""The pages `/privacy` and `/imprint`, in German and English, from the settings: who is responsible, and what happens to words.

What is said of keeping and deleting is made from the very settings that decide it.
"""

from __future__ import annotations

import html
from typing import Annotated, Literal

from fastapi import FastAPI, Query
from fastapi.responses import HTMLResponse

from wmkml.config import Settings
from wmkml.owner.http.page_routes import SECURITY_HEADERS
from wmkml.protocol.base import RequestRefusedError

Language = Literal["de", "en"]
LegalPage = Literal["privacy", "imprint"]

TITLES: dict[LegalPage, dict[Language, str]] = {
    "privacy": {"de": "Datenschutz", "en": "Privacy"},
    "imprint": {"de": "Impressum", "en": "Imprint"},
}

HEADINGS: dict[str, dict[Language, str]] = {
    "controller": {"de": "Verantwortlich", "en": "Controller"},
    "contact": {"de": "Kontakt", "en": "Contact"},
    "purpose": {"de": "Zweck", "en": "Purpose"},
    "legal_basis": {"de": "Rechtsgrundlage", "en": "Legal basis"},
    "words": {"de": "Was mit deinen Worten geschieht", "en": "What happens to your words"},
    "retention": {"de": "Wie lange", "en": "How long"},
    "traces": {"de": "Was sonst entsteht", "en": "What else there is"},
    "hosting": {"de": "Wo es läuft", "en": "Where it runs"},
    "rights": {"de": "Deine Rechte", "en": "Your rights"},
}

STYLE = (
    "body{max-width:38rem;margin:0 auto;padding:2rem 1.25rem 4rem;background:#16130f;color:#ece7db;"
    "font:1.05rem/1.6 Georgia,serif}h1{font-weight:400}h2{font:600 1rem system-ui;margin:1.8rem 0 .3rem}"
    "p{margin:.3rem 0;white-space:pre-line;overflow-wrap:anywhere}a{color:#e0ad5c}nav{font:1rem system-ui}"
)


def legal_pages(settings: Settings) -> list[LegalPage]:
    """The pages that the settings have words for."""
    privacy = settings.privacy
    pages: list[LegalPage] = ["privacy"] if privacy.controller else []
    return [*pages, "imprint"] if privacy.imprint else pages


def add_privacy_pages(app: FastAPI, settings: Settings) -> None:
    """Add `GET /privacy` and `GET /imprint`; 404 for one that the settings have no words for."""

    def page(name: LegalPage, language: str) -> HTMLResponse:
        if name not in legal_pages(settings):
            raise RequestRefusedError(404, "The settings have no words for this page: see privacy in config.yaml.")
        read: Language = "de" if language == "de" else "en"
        text = privacy_page(settings, read) if name == "privacy" else imprint_page(settings, read)
        return HTMLResponse(text, headers=SECURITY_HEADERS)

    @app.get("/privacy", include_in_schema=False)
    async def privacy(language: Annotated[str, Query(max_length=16)] = "de") -> HTMLResponse:
        return page("privacy", language)

    @app.get("/imprint", include_in_schema=False)
    async def imprint(language: Annotated[str, Query(max_length=16)] = "de") -> HTMLResponse:
        return page("imprint", language)


def privacy_page(settings: Settings, language: Language) -> str:
    """The page on privacy as HTML."""
    privacy = settings.privacy
    parts = {
        "controller": _own_text(privacy.controller, language),
        "contact": _own_text(privacy.contact, language),
        "purpose": _own_text(privacy.purpose, language),
        "legal_basis": _own_text(privacy.legal_basis, language),
        "words": _words(settings)[language],
        "retention": retention(settings)[language],
        "traces": _TRACES[language],
        "hosting": _own_text(privacy.hosting, language),
        "rights": _RIGHTS[language],
    }
    body = "".join(
        f"<h2>{HEADINGS[name][language]}</h2><p>{html.escape(text)}</p>" for name, text in parts.items() if text
    )
    return _page("privacy", language, body)


def imprint_page(settings: Settings, language: Language) -> str:
    """The imprint as HTML."""
    return _page("imprint", language, f"<p>{html.escape(_own_text(settings.privacy.imprint, language))}</p>")


def retention(settings: Settings) -> dict[Language, str]:
    """How long words are kept, by language."""
    general, tuning = settings.general, settings.finetuning
    minutes = -(-int(tuning.duration_of_a_run + tuning.last_iteration_time) // 60)
    if general.keep_runs:
        return {
            "de": "Deine Worte und was das Modell aus ihnen gelernt hat, bleiben gespeichert, bis die Verantwortlichen sie löschen.",
            "en": "Your words, and what the model learned from them, stay stored until the controller deletes them.",
        }
    if not tuning.delete_live_questions_at_start:
        return {
            "de": "Deine Worte bleiben gespeichert, und auch spätere Läufe werden mit ihnen trainiert.",
            "en": "Your words stay stored, and later runs are trained on them, too.",
        }
    return {
        "de": f"Bis der Lauf zu Ende ist, höchstens {minutes} Minuten, in denen die Installation läuft: Wird sie vorher abgeschaltet, "
        "geht der Lauf weiter, sobald sie wieder an ist. Dann werden deine Worte gelöscht und mit ihnen alles, was "
        "das Modell aus ihnen gelernt hat.",
        "en": f"Until the run is over, at most {minutes} minutes in which the installation is on: switched off before, it goes on with "
        "the run when it is on again. Then your words are deleted, and with them everything the model "
        "learned from them.",
    }


def _words(settings: Settings) -> dict[Language, str]:
    logged, osc = settings.general.log_visitor_words, bool(settings.osc_targets)
    german = [
        "Was du schreibst, beantwortet ein Sprachmodell, das damit sofort trainiert wird. Es ist freiwillig und geht ohne Namen.",
        "Im Raum können andere es lesen und hören." if osc else "Bildschirme im Raum können es zeigen.",
        "Es kann auch in Protokolldateien stehen, die nach dem Lauf bleiben."
        if logged
        else "In Protokolldateien steht es nicht.",
        "Bitte schreib nichts über dich oder andere, was niemand lesen soll.",
    ]
    english = [
        "What you write is answered by a language model, which is trained on it at once. It is voluntary, and needs no name.",
        "Others in the room may read and hear it." if osc else "Screens in the room may show it.",
        "It may also stand in log files, which stay after the run." if logged else "It is not in log files.",
        "Please write nothing about yourself or others that nobody should read.",
    ]
    return {"de": " ".join(german), "en": " ".join(english)}


_TRACES: dict[Language, str] = {
    "de": "Keine Cookies. Der Browser merkt sich eine zufällige Nummer, bis der Tab geschlossen wird. Adressen werden nicht "
    "aufgeschrieben.",
    "en": "No cookies. The browser remembers a random number until the tab is closed. Addresses are not written down.",
}

_RIGHTS: dict[Language, str] = {
    "de": "Mit „Meine Worte jetzt löschen“ löschst du sie selbst, sofort. Du hast das Recht auf Auskunft, Berichtigung, Löschung, "
    "Einschränkung und Widerspruch, und du kannst dich bei einer Aufsichtsbehörde beschweren. Weil niemand nach deinem Namen fragt, "
    "lassen sich Worte nur finden, solange die Seite offen ist, auf der sie stehen.",
    "en": "With “Delete my words now” you delete them yourself, at once. You have the right of access, rectification, erasure, "
    "restriction and objection, and may complain to a supervisory authority. As nobody asks your name, words can be found only while "
    "the page is open on which they stand.",
}


def _own_text(text: str | dict[str, str], language: Language) -> str:
    """A text of the settings in a language, or in the first that it has."""
    if isinstance(text, str):
        return text
    return text.get(language) or next(iter(text.values()), "")


def _page(name: LegalPage, language: Language, body: str) -> str:
    title, other = TITLES[name][language], "en" if language == "de" else "de"
    back = "Zurück" if language == "de" else "Back"
    # Relative, so that it also works behind a proxy that serves the pages under another path.
    links = f'<nav><a href="./">{back}</a> · <a href="{name}?language={other}" hreflang="{other}">{other}</a></nav>'
    return (
        f'<!doctype html><html lang="{language}"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{title}</title><link rel=icon href=icon.svg><style>{STYLE}</style><body>{links}<main><h1>{title}</h1>{body}</main>"
    )
