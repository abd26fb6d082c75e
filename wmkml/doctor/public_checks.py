"""The checks of what the public meets: the owner's certificate, and what is not repeated to a room."""

from __future__ import annotations

from wmkml.access.tls import RENEWAL_DAYS
from wmkml.doctor.check import CheckFinding, CheckOutcome, DoctorCheck, finding, good, unknown
from wmkml.doctor.facts import Facts
from wmkml.doctor.installation_checks import NO_SETTINGS
from wmkml.problems.wording import BothLanguages


def judge_certificate(facts: Facts) -> list[CheckFinding]:
    """Whether the owner's certificate can be used, and for how long."""
    installation = facts.installation
    if installation is None:
        return finding("no_settings")
    if installation.certificate_problem:
        return finding("unusable", problem=installation.certificate_problem)
    days = installation.certificate_days
    if days is None:
        return finding("none")
    return finding("over" if days < 0 else "soon" if days < RENEWAL_DAYS else "valid", days=days)


def judge_decency(facts: Facts) -> list[CheckFinding]:
    """What was chosen of the word lists."""
    installation = facts.installation
    if installation is None:
        return finding("no_settings")
    if installation.held_back:
        return finding("on", switches=", ".join(f"decency.{name}" for name in installation.held_back))
    return finding("off" if installation.decency_asked else "not_asked")


CERTIFICATE = DoctorCheck(
    "certificate",
    BothLanguages("Zertifikat (https)", "Certificate (https)"),
    BothLanguages(
        "Ohne https liest mit, wer im selben Netz ist; mit einem abgelaufenen Zertifikat warnen Browser.",
        "Without https whoever is in the same network can read along; with a certificate that has run out browsers warn.",
    ),
    judge_certificate,
    {
        "valid": good("Gültig, noch {days} Tage.", "Valid for {days} more days."),
        "none": unknown(
            "Der Owner hat kein eigenes Zertifikat: einfaches http, oder ein Proxy davor (docs/tls.md).",
            "The owner has no certificate of its own: plain http, or a proxy in front (docs/tls.md).",
        ),
        "no_settings": NO_SETTINGS,
        "soon": CheckOutcome(
            "warning",
            BothLanguages("Läuft in {days} Tagen ab.", "Runs out in {days} days."),
            BothLanguages(
                "Erneuern; eine neue Datei gilt ohne Neustart.", "Renew it; a new file counts without a restart."
            ),
        ),
        "over": CheckOutcome(
            "bad",
            BothLanguages("Abgelaufen: Browser warnen davor.", "It has run out: browsers warn of it."),
            BothLanguages(
                "Erneuern; eine neue Datei gilt ohne Neustart.", "Renew it; a new file counts without a restart."
            ),
        ),
        "unusable": CheckOutcome(
            "bad",
            BothLanguages("{problem}", "{problem}"),
            BothLanguages(
                "Dateien und Rechte berichtigen (docs/tls.md).",
                "Correct the files and their permissions (docs/tls.md).",
            ),
            "nano config.yaml",
            blocks=True,
        ),
    },
)

DECENCY = DoctorCheck(
    "decency",
    BothLanguages("Wortlisten", "Word lists"),
    BothLanguages(
        "Was Besucher schreiben, wiederholt das Modell in einen Raum; die Listen halten das Gröbste zurück.",
        "What visitors write, the model repeats to a room; the lists hold back the coarsest of it.",
    ),
    judge_decency,
    {
        "on": good("Eingeschaltet: {switches}.", "On: {switches}."),
        "off": good("Aus, wie gewählt.", "Off, as was chosen."),
        "no_settings": NO_SETTINGS,
        "not_asked": CheckOutcome(
            "unknown",
            BothLanguages(
                "Aus, und niemand hat es entschieden (docs/decency.md).",
                "Off, and nobody has decided so (docs/decency.md).",
            ),
            command="./master_script.sh install",
        ),
    },
)
