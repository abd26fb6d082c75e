"""Problems of the exhibition: screens, music, opening hours, what the operator forgot, and who is told."""

from __future__ import annotations

from wmkml.problems.problem import named

EXHIBITION_PROBLEMS = (
    named(
        "stage_absent",
        "trouble",
        "owner",
        (
            "Keine Bühne ist verbunden, obwohl geöffnet ist (seit {detail} Minuten).",
            "Der Projektor oder sein Rechner ist aus, das Netz ist unterbrochen, oder der Browser ist zu.",
            "Rechner und Projektor einschalten; dort `./kiosk.sh` starten. Gibt es keine Bühne: `general.expected_pages`.",
        ),
        (
            "No stage is connected although it is open (for {detail} minutes).",
            "The projector or its computer is off, the network is cut, or the browser is closed.",
            "Switch computer and projector on; start `./kiosk.sh` there. If there is no stage: `general.expected_pages`.",
        ),
    ),
    named(
        "visitor_page_absent",
        "trouble",
        "owner",
        (
            "Keine Seite für Besucher ist verbunden, obwohl geöffnet ist (seit {detail} Minuten).",
            "Der Rechner der Station ist aus, das Netz ist unterbrochen, oder der Browser ist zu.",
            "Die Station einschalten; dort `./kiosk.sh` starten. Sind keine festen Stationen da: `general.expected_pages`.",
        ),
        (
            "No visitor's page is connected although it is open (for {detail} minutes).",
            "The station's computer is off, the network is cut, or the browser is closed.",
            "Switch the station on; start `./kiosk.sh` there. If there are no fixed stations: `general.expected_pages`.",
        ),
    ),
    named(
        "sound",
        "trouble",
        "owner",
        (
            "Die Bühne ist nicht zu hören, wie sie soll ({detail}).",
            "Der Lautsprecher ist nicht angeschlossen, stumm oder zu leise gestellt; „–“ heißt: Es gibt keine Tonausgabe.",
            "Am Rechner der Bühne: Kabel und Verstärker prüfen, Tonausgabe wählen, lauter stellen. Wie laut: `general.expected_volume`.",
        ),
        (
            "The stage cannot be heard as it should ({detail}).",
            "The loudspeaker is not connected, muted, or turned down; “–” means: there is no sound output.",
            "At the stage's computer: check cables and amplifier, choose the output, turn it up. How loud: `general.expected_volume`.",
        ),
    ),
    named(
        "stage_files",
        "warning",
        "owner",
        (
            "Eine Datei der Bühne hat einen Fehler: {detail}",
            "In `stage/mapping.yaml`, `stage/texts.yaml` oder `stage/fonts` wurde etwas geändert.",
            "Die Bühne zeigt den letzten gültigen Stand. Die genannte Zeile berichtigen oder die Änderung zurücknehmen.",
        ),
        (
            "A file of the stage has a mistake: {detail}",
            "Something was changed in `stage/mapping.yaml`, `stage/texts.yaml` or `stage/fonts`.",
            "The stage shows what was valid last. Correct the line that is named, or take the change back.",
        ),
    ),
    named(
        "osc",
        "warning",
        ("owner", "doctor"),
        (
            "Musik und Bilder unter {detail} sind nicht erreichbar.",
            "Der andere Rechner ist aus, in einem anderen Netz, oder seine Adresse hat sich geändert.",
            "Ist der Rechner an und im selben Netz? Stimmt die Adresse in `config.yaml` (osc_ip, osc_port)?",
        ),
        (
            "Music and visuals at {detail} cannot be reached.",
            "The other computer is off, in another network, or its address has changed.",
            "Is that computer on, and in the same network? Is the address in `config.yaml` right (osc_ip, osc_port)?",
        ),
    ),
    named(
        "panic",
        "warning",
        "owner",
        (
            "Alles ist angehalten, seit {detail} Minuten.",
            "Jemand hat am Pult „Alles anhalten“ gedrückt.",
            "Ist der Anlass vorbei: am Pult „Weiter“ drücken, oder `env/bin/python -m wmkml panic off`.",
        ),
        (
            "Everything has been stopped for {detail} minutes.",
            "Somebody has pressed “Stop everything” at the desk.",
            "When the reason is over: press “Go on” at the desk, or `env/bin/python -m wmkml panic off`.",
        ),
    ),
    named(
        "blank",
        "warning",
        "owner",
        (
            "Die Bühne ist seit {detail} Minuten dunkel geschaltet, obwohl geöffnet ist.",
            "Jemand hat am Pult „Bühne dunkel“ gedrückt und es vergessen.",
            "Am Pult „Bühne zeigen“ drücken.",
        ),
        (
            "The stage has been blanked for {detail} minutes although it is open.",
            "Somebody has pressed “Blank the stage” at the desk and forgotten it.",
            "Press “Show the stage” at the desk.",
        ),
    ),
    named(
        "held",
        "warning",
        "owner",
        (
            "Die Sprache wird seit {detail} Minuten festgehalten und lernt nichts dazu.",
            "Jemand hat am Pult „Festhalten“ gedrückt und es vergessen.",
            "Am Pult „Loslassen“ drücken.",
        ),
        (
            "The language has been held for {detail} minutes and learns nothing.",
            "Somebody has pressed “Hold” at the desk and forgotten it.",
            "Press “Release” at the desk.",
        ),
    ),
    named(
        "closed_by_hand",
        "warning",
        "owner",
        (
            "Von Hand geschlossen, obwohl nach den Öffnungszeiten geöffnet wäre.",
            "Jemand hat am Pult „Für heute schließen“ gedrückt.",
            "Soll geöffnet sein: am Pult „Nach den Öffnungszeiten“ drücken.",
        ),
        (
            "Closed by hand, although by the opening hours it would be open.",
            "Somebody has pressed “Close for tonight” at the desk.",
            "If it is to be open: press “By the opening hours” at the desk.",
        ),
    ),
    named(
        "open_by_hand",
        "warning",
        "owner",
        (
            "Von Hand geöffnet, obwohl nach den Öffnungszeiten geschlossen wäre.",
            "Jemand hat am Pult „Jetzt öffnen“ gedrückt, etwa für eine Führung.",
            "Ist die Führung vorbei: am Pult „Nach den Öffnungszeiten“ drücken.",
        ),
        (
            "Opened by hand, although by the opening hours it would be closed.",
            "Somebody has pressed “Open now” at the desk, for example for a guided tour.",
            "When the tour is over: press “By the opening hours” at the desk.",
        ),
    ),
    named(
        "hours_end",
        "warning",
        "owner",
        (
            "Nach den Öffnungszeiten wird nie wieder geöffnet.",
            "Die Öffnungszeiten in `config.yaml` enden mit einem Datum, das vorbei ist.",
            "In `config.yaml` `general.opening_hours` ergänzen, dann neu starten.",
        ),
        (
            "By the opening hours it never opens again.",
            "The opening hours in `config.yaml` end with a date that is over.",
            "Complete `general.opening_hours` in `config.yaml`, then start again.",
        ),
    ),
    named(
        "alert_unreachable",
        "warning",
        "owner",
        (
            "Meldungen an die Adresse für Störungen kommen nicht an ({detail}).",
            "Das Netz ist unterbrochen, oder die Adresse in `config.yaml` stimmt nicht mehr (alert_url).",
            "Netz und Adresse prüfen. Was ansteht, wird von selbst nachgereicht.",
        ),
        (
            "Alerts do not arrive at their address ({detail}).",
            "The network is cut, or the address in `config.yaml` is no longer right (alert_url).",
            "Look at network and address. What is waiting is sent later by itself.",
        ),
    ),
    named(
        "heartbeat_unreachable",
        "warning",
        "owner",
        (
            "Das Lebenszeichen kommt nicht an ({detail}).",
            "Das Netz ist unterbrochen, oder die Adresse in `config.yaml` stimmt nicht mehr (heartbeat_url).",
            "Netz und Adresse prüfen. Wer die Lebenszeichen empfängt, hält die Installation jetzt für tot.",
        ),
        (
            "The heartbeat does not arrive ({detail}).",
            "The network is cut, or the address in `config.yaml` is no longer right (heartbeat_url).",
            "Look at network and address. Whoever receives the heartbeats now takes the installation for dead.",
        ),
    ),
)
"""In the order of the manual."""
