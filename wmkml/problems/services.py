"""Problems of the services: the language model, its training, the run and its rounds."""

from __future__ import annotations

from wmkml.problems.problem import named

RESTART = "`./master_script.sh stop`, {} `./master_script.sh start`"
RESTART_DE, RESTART_EN = RESTART.format("dann"), RESTART.format("then")

SERVICE_PROBLEMS = (
    named(
        "not_running",
        "trouble",
        "status",
        (
            "Die Installation läuft nicht.",
            "Sie wurde beendet, der Rechner wurde neu gestartet, oder sie ließ sich nicht starten.",
            "`./master_script.sh start` eingeben. Steht dort ein Fehler, ihm folgen; sonst `env/bin/python -m wmkml doctor`.",
        ),
        (
            "The installation is not running.",
            "It was ended, the computer was restarted, or it could not be started.",
            "Enter `./master_script.sh start`. If that names a fault, follow it; else `env/bin/python -m wmkml doctor`.",
        ),
    ),
    named(
        "owner_away",
        "trouble",
        "status",
        (
            "Die Leitung antwortet nicht: Besucher, Bühne und Pult sind ohne Verbindung.",
            "Der Dienst startet gerade neu, oder der Rechner ist überlastet.",
            f"Zwei Minuten warten. Bleibt es dabei: {RESTART_DE}.",
        ),
        (
            "The owner does not answer: visitors, stage and desk are cut off.",
            "The service is just being restarted, or the computer is overloaded.",
            f"Wait two minutes. If it stays so: {RESTART_EN}.",
        ),
    ),
    named(
        "process_failing",
        "trouble",
        "status",
        (
            "Ein Teil der Installation endet immer wieder gleich nach dem Start: {detail}.",
            "Er findet etwas nicht, was er braucht; der Grund steht am Ende seines Protokolls in `data/logs`.",
            "`env/bin/python -m wmkml doctor` eingeben und folgen. Hilft das nicht: die Diagnosedatei an die Künstler schicken.",
        ),
        (
            "A part of the installation ends again and again right after its start: {detail}.",
            "It lacks something that it needs; the end of its log in `data/logs` says what.",
            "Enter `env/bin/python -m wmkml doctor` and follow it. If that does not help, send the diagnostics to the artists.",
        ),
    ),
    named(
        "inference_absent",
        "trouble",
        "owner",
        (
            "Das Sprachmodell läuft nicht. Besucher warten auf Antworten.",
            "Sein Prozess ist beendet worden oder startet noch.",
            f"Es wird von selbst neu gestartet. Kommt es nach fünf Minuten nicht: {RESTART_DE}.",
        ),
        (
            "The language model is not running. Visitors wait for answers.",
            "Its process has ended, or is still starting.",
            f"It is restarted by itself. If it has not come after five minutes: {RESTART_EN}.",
        ),
    ),
    named(
        "inference_loading",
        "trouble",
        "owner",
        (
            "Das Sprachmodell lädt seit sehr langer Zeit.",
            "Die Platte liest langsam, oder der Speicher ist voll.",
            "Andere Programme auf diesem Rechner beenden. In `data/logs/inference.log` steht, woran es hängt.",
        ),
        (
            "The language model has been loading for very long.",
            "The disk reads slowly, or memory is full.",
            "End other programs on this computer. `data/logs/inference.log` says what it waits for.",
        ),
    ),
    named(
        "inference_silent",
        "trouble",
        "owner",
        (
            "Das Sprachmodell antwortet nicht. Besucher warten.",
            "Sein Prozess hängt. Nach einer Minute wird er von selbst ersetzt.",
            f"Zwei Minuten warten. Bleibt es dabei: {RESTART_DE}.",
        ),
        (
            "The language model does not answer. Visitors wait.",
            "Its process hangs. After a minute it is replaced by itself.",
            f"Wait two minutes. If it stays so: {RESTART_EN}.",
        ),
    ),
    named(
        "inference_refuses",
        "trouble",
        "owner",
        (
            "Das Sprachmodell gehört zu einer anderen Installation.",
            "Auf diesem Rechner läuft eine zweite Installation, oder die Schlüsseldatei wurde ausgetauscht.",
            f"Alles beenden und neu starten: {RESTART_DE}.",
        ),
        (
            "The language model belongs to another installation.",
            "A second installation runs on this computer, or the key file was replaced.",
            f"End everything and start again: {RESTART_EN}.",
        ),
    ),
    named(
        "inference_restoring",
        "trouble",
        "owner",
        (
            "Das Sprachmodell ist da, nimmt aber seine Iterationen nicht an.",
            "Eine gelernte Iteration lässt sich nicht laden.",
            "Zwei Minuten warten. Hilft das nicht: am Pult den Lauf beenden (Neugeburt), dann neu beginnen.",
        ),
        (
            "The language model is there but does not take its iterations.",
            "An iteration that was learned cannot be loaded.",
            "Wait two minutes. If that does not help: end the run at the desk (rebirth), then begin anew.",
        ),
    ),
    named(
        "inference_restarts",
        "warning",
        "owner",
        (
            "Das Sprachmodell ist in einer Viertelstunde {detail}-mal neu gestartet.",
            "Oft reicht der Speicher nicht, oder die Grafikkarte wird zu heiß oder ist defekt.",
            "Andere Programme beenden, Lüftung prüfen. Kehrt es wieder: den Rechner neu starten, die Diagnosedatei schicken.",
        ),
        (
            "The language model was restarted {detail} times within a quarter of an hour.",
            "Often memory is short, or the graphics card is too hot or broken.",
            "End other programs, look at the fans. If it comes again: restart the computer, and send the diagnostics.",
        ),
    ),
    named(
        "worker_away",
        "trouble",
        "owner",
        (
            "Das Training läuft nicht. Besucher können sprechen, aber die Sprache lernt nichts mehr.",
            "Sein Prozess ist beendet worden, oder der andere Rechner, auf dem es läuft, ist aus.",
            f"Es wird von selbst neu gestartet. Läuft es auf einem anderen Rechner, dort nachsehen. Sonst: {RESTART_DE}.",
        ),
        (
            "The training is not running. Visitors can talk, but the language learns nothing more.",
            "Its process has ended, or the other computer that it runs on is off.",
            f"It is restarted by itself. If it runs on another computer, look there. Else: {RESTART_EN}.",
        ),
    ),
    named(
        "worker_unable",
        "trouble",
        "owner",
        (
            "Das Training kann so nicht arbeiten: {detail}",
            "Eine Einstellung oder die Grafikkarte passt nicht zum Training.",
            f"`env/bin/python -m wmkml doctor` eingeben und folgen, dann neu starten: {RESTART_DE}.",
        ),
        (
            "The training cannot work like this: {detail}",
            "A setting or the graphics card does not suit the training.",
            f"Enter `env/bin/python -m wmkml doctor` and follow it, then start again: {RESTART_EN}.",
        ),
    ),
    named(
        "skipped",
        "warning",
        "owner",
        (
            "Mehrere Runden wurden übersprungen ({detail}).",
            "Das Training ist zweimal an ihnen gescheitert; unter „Meldungen“ am Pult steht, warum.",
            "Meist hilft eine Neugeburt. Kehrt es wieder, das Training ansehen (`data/logs/worker.log`).",
        ),
        (
            "Several rounds were skipped ({detail}).",
            "The training failed over them twice; “Notices” on the desk says why.",
            "A rebirth helps mostly. If it comes again, look at the training (`data/logs/worker.log`).",
        ),
    ),
    named(
        "round_overdue",
        "warning",
        "owner",
        (
            "Seit {detail} Minuten ist keine neue Iteration dazugekommen.",
            "Das Training ist sehr langsam, oder eine Runde wartet auf etwas.",
            "Am Pult nachsehen, wo die Runde steht. „Runde überspringen“ lässt die nächste beginnen.",
        ),
        (
            "No new iteration has come for {detail} minutes.",
            "The training is very slow, or a round waits for something.",
            "Look at the desk where the round stands. “Skip the round” lets the next one begin.",
        ),
    ),
    named(
        "adapters_gone",
        "warning",
        "owner",
        (
            "Dateien gelernter Iterationen sind von der Platte verschwunden ({detail}).",
            "Jemand hat im Ordner `data/runs` etwas gelöscht, während der Lauf unterwegs war.",
            "Der Lauf geht mit dem weiter, was da ist. Im Ordner `data` nichts von Hand löschen; eine Neugeburt räumt auf.",
        ),
        (
            "Files of learned iterations have gone from the disk ({detail}).",
            "Somebody deleted something in the folder `data/runs` while the run was under way.",
            "The run goes on with what is there. Delete nothing in `data` by hand; a rebirth tidies up.",
        ),
    ),
    named(
        "run_folder_gone",
        "warning",
        "owner",
        (
            "Der Ordner des Laufs wurde gelöscht; der Lauf ist beendet ({detail}).",
            "Jemand hat im Ordner `data/runs` einen Lauf gelöscht, der noch unterwegs war.",
            "Am Pult einen neuen Lauf beginnen; damit ist die Meldung erledigt. In `data` nichts von Hand löschen.",
        ),
        (
            "The run's folder was deleted; the run is over ({detail}).",
            "Somebody deleted a run in `data/runs` that was still under way.",
            "Begin a new run at the desk, which settles this. Delete nothing in `data` by hand.",
        ),
    ),
    named(
        "run_damaged",
        "warning",
        "owner",
        (
            "Ein Lauf von früher ist beschädigt und geht nicht weiter ({detail}).",
            "Die Platte hat einen Fehler, oder jemand hat die Dateien verändert.",
            "Am Pult einen neuen Lauf beginnen. Kommt es noch einmal vor, die Platte prüfen lassen.",
        ),
        (
            "An earlier run is damaged and does not go on ({detail}).",
            "The disk has a fault, or somebody has changed the files.",
            "Begin a new run at the desk. If it happens again, have the disk examined.",
        ),
    ),
    named(
        "node",
        "warning",
        "owner",
        (
            "Ein weiterer Rechner darf nicht mitantworten ({detail}).",
            "Er hat einen anderen Schlüssel, ein anderes Modell oder einen anderen Stand des Programms.",
            "Die anderen antworten. Wie er dazukommt, steht in `docs/machines.md`.",
        ),
        (
            "Another computer must not answer ({detail}).",
            "It has another key, another model, or another version of the program.",
            "The others answer. How it joins stands in `docs/machines.md`.",
        ),
    ),
)
"""In the order of the manual."""
