"""Problems of the computer: disk, memory, graphics cards, clock; and of what the installation was set up with."""

from __future__ import annotations

from wmkml.problems.problem import named

MACHINE_PROBLEMS = (
    named(
        "unstored",
        "trouble",
        "owner",
        (
            "Was Besucher sagen, wird beantwortet und kann nicht gespeichert werden ({detail}).",
            "Die Platte des Datenordners ist voll oder nimmt nichts mehr an.",
            "Platz schaffen auf der Platte des Datenordners; dann geht es von selbst weiter.",
        ),
        (
            "What visitors say is answered and cannot be kept ({detail}).",
            "The disk of the data folder is full, or takes nothing more.",
            "Make room on the disk of the data folder; it then goes on by itself.",
        ),
    ),
    named(
        "disk_full",
        "trouble",
        ("owner", "doctor"),
        (
            "Die Festplatte ist voll: nur noch {detail} GiB frei.",
            "Unter 1 GiB kann kein Lauf mehr gespeichert werden.",
            "Alte Dateien löschen, etwa in `data/laboratory` oder `models`. Die größten zeigt `du -xh -d2 . | sort -h | tail`.",
        ),
        (
            "The disk is full: only {detail} GiB are free.",
            "Below 1 GiB no run can be kept any more.",
            "Delete old files, for example in `data/laboratory` or `models`. `du -xh -d2 . | sort -h | tail` shows the largest.",
        ),
    ),
    named(
        "disk",
        "warning",
        ("owner", "doctor"),
        (
            "Nur noch {detail} GiB frei auf der Festplatte.",
            "Läufe, Protokolle oder Modelle haben sie gefüllt.",
            "Alte Dateien löschen, etwa in `data/laboratory` oder `models`; unter 1 GiB kann kein Lauf mehr gespeichert werden.",
        ),
        (
            "Only {detail} GiB are free on the disk.",
            "Runs, logs or models have filled it.",
            "Delete old files, for example in `data/laboratory` or `models`; below 1 GiB no run can be kept.",
        ),
    ),
    named(
        "certificate_unusable",
        "warning",
        "owner",
        (
            "Das erneuerte Zertifikat kann nicht verwendet werden: {detail}",
            "Zertifikat und Schlüssel passen nicht zusammen, oder eine der Dateien fehlt oder ist keine PEM-Datei.",
            "Beide Dateien berichtigen; sie gelten ohne Neustart. Bis dahin gilt das vorige (`docs/tls.md`).",
        ),
        (
            "The renewed certificate cannot be used: {detail}",
            "Certificate and key do not belong together, or a file is missing or no PEM.",
            "Put both files right; they count without a restart. Until then the former one is used (`docs/tls.md`).",
        ),
    ),
    named(
        "certificate_ends",
        "warning",
        ("owner", "doctor"),
        (
            "Das Zertifikat läuft am {detail} ab.",
            "Es hätte erneuert werden sollen; wer es ausstellt, tut das meist einen Monat vorher.",
            "Erneuern und die Dateien ersetzen; die neuen gelten ohne Neustart (`docs/tls.md`).",
        ),
        (
            "The certificate runs out on {detail}.",
            "It should have been renewed; issuers mostly do so a month before.",
            "Renew it and replace the files; the new ones count without a restart (`docs/tls.md`).",
        ),
    ),
    named(
        "certificate_over",
        "trouble",
        ("owner", "doctor"),
        (
            "Das Zertifikat ist am {detail} abgelaufen: Browser warnen Besucher, statt die Seite zu zeigen.",
            "Es wurde nicht erneuert.",
            "Erneuern und die Dateien ersetzen; die neuen gelten ohne Neustart (`docs/tls.md`).",
        ),
        (
            "The certificate ran out on {detail}: browsers warn visitors instead of showing the page.",
            "It was not renewed.",
            "Renew it and replace the files; the new ones count without a restart (`docs/tls.md`).",
        ),
    ),
    named(
        "quota",
        "warning",
        "owner",
        (
            "Läufe und Protokolle brauchen mehr als erlaubt: {detail} GiB.",
            "Was gelöscht werden darf, ist gelöscht; der Rest gehört zum Lauf, der unterwegs ist.",
            "In `config.yaml` `general.disk_quota_gib` höher setzen, oder den Lauf beenden (Neugeburt).",
        ),
        (
            "Runs and logs take more than is allowed: {detail} GiB.",
            "What may be deleted is deleted; the rest belongs to the run under way.",
            "Set `general.disk_quota_gib` in `config.yaml` higher, or end the run (rebirth).",
        ),
    ),
    named(
        "data_readonly",
        "trouble",
        ("owner", "doctor"),
        (
            "In den Datenordner kann nicht geschrieben werden ({detail}).",
            "Die Platte ist nach einem Fehler nur noch lesbar, oder der Ordner gehört einem anderen Benutzer.",
            "Den Rechner neu starten. Bleibt es dabei: `sudo chown -R $USER data`, oder die Platte ersetzen.",
        ),
        (
            "The data folder cannot be written ({detail}).",
            "After a fault the disk can only be read, or the folder belongs to another user.",
            "Restart the computer. If it stays so: `sudo chown -R $USER data`, or replace the disk.",
        ),
    ),
    named(
        "memory",
        "warning",
        "owner",
        (
            "Nur noch {detail} GiB Arbeitsspeicher frei.",
            "Auf diesem Rechner laufen noch andere Programme, oder das Modell ist zu groß für ihn.",
            "Andere Programme auf diesem Rechner beenden.",
        ),
        (
            "Only {detail} GiB of memory are free.",
            "Other programs run on this computer, or the model is too large for it.",
            "End other programs on this computer.",
        ),
    ),
    named(
        "memory_kills",
        "warning",
        "owner",
        (
            "Der Arbeitsspeicher war voll: Das Betriebssystem hat {detail} Prozess(e) beendet.",
            "Auf diesem Rechner laufen noch andere Programme, oder das Modell ist zu groß für ihn.",
            "Was zur Installation gehört, startet von selbst neu. Andere Programme beenden; kehrt es wieder, ein kleineres Modell.",
        ),
        (
            "Memory was full: the operating system has killed {detail} process(es).",
            "Other programs run on this computer, or the model is too large for it.",
            "What belongs to the installation is started again by itself. End other programs; if it comes again, a smaller model.",
        ),
    ),
    named(
        "gpu_gone",
        "trouble",
        "owner",
        (
            "Eine Grafikkarte ist verschwunden ({detail}).",
            "Der Treiber ist abgestürzt, die Karte ist zu heiß geworden, oder sie sitzt nicht fest.",
            "Den Rechner neu starten (`sudo reboot`). Kehrt es wieder: Lüftung, Stromkabel und Sitz der Karte prüfen lassen.",
        ),
        (
            "A graphics card has gone ({detail}).",
            "The driver has crashed, the card was too hot, or it does not sit well.",
            "Restart the computer (`sudo reboot`). If it comes again, have fans, power cable and seat of the card looked at.",
        ),
    ),
    named(
        "gpu_driver",
        "trouble",
        "doctor",
        (
            "Mit den Grafikkarten kann so nicht gerechnet werden ({detail}).",
            "Treiber, Programme und Karten passen nicht zusammen, meist nach einer Aktualisierung.",
            "`env/bin/python -m wmkml doctor` nennt den Befehl, der hilft.",
        ),
        (
            "The graphics cards cannot compute like this ({detail}).",
            "Driver, programs and cards do not fit each other, mostly after an update.",
            "`env/bin/python -m wmkml doctor` names the command that helps.",
        ),
    ),
    named(
        "gpu_taken",
        "trouble",
        "doctor",
        (
            "Ein anderes Programm belegt die Grafikkarte ({detail}).",
            "Ein Programm von früher läuft noch, oder jemand rechnet auf diesem Rechner.",
            "`nvidia-smi` zeigt, welches. Es beenden, oder den Rechner neu starten.",
        ),
        (
            "Another program holds the graphics card ({detail}).",
            "A program from before still runs, or somebody computes on this computer.",
            "`nvidia-smi` shows which. End it, or restart the computer.",
        ),
    ),
    named(
        "model_too_large",
        "trouble",
        "doctor",
        (
            "Das Sprachmodell passt nicht in den Speicher ({detail}).",
            "In `config.yaml` steht ein Modell, das größer ist als die Grafikkarte oder der Arbeitsspeicher.",
            "In `config.yaml` ein kleineres Modell nennen. `./master_script.sh --plan` rechnet vor, was passt.",
        ),
        (
            "The language model does not fit into memory ({detail}).",
            "`config.yaml` names a model that is larger than the graphics card or the memory.",
            "Name a smaller model in `config.yaml`. `./master_script.sh --plan` reckons what fits.",
        ),
    ),
    named(
        "model",
        "trouble",
        "doctor",
        (
            "Das Sprachmodell ist nicht vollständig auf der Platte ({detail}).",
            "Es wurde nie ganz geholt, oder Dateien wurden gelöscht.",
            "Mit Netz `env/bin/python download_model.py` eingeben; der Doktor nennt den ganzen Befehl.",
        ),
        (
            "The language model is not complete on the disk ({detail}).",
            "It was never fetched whole, or files were deleted.",
            "With a network, enter `env/bin/python download_model.py`; the doctor names the whole command.",
        ),
    ),
    named(
        "settings",
        "trouble",
        "doctor",
        (
            "Die Einstellungen können nicht gelesen werden ({detail}).",
            "In `config.yaml` steht ein falscher Wert oder ein Tippfehler.",
            "`nano config.yaml` öffnen und die genannte Zeile berichtigen.",
        ),
        (
            "The settings cannot be read ({detail}).",
            "`config.yaml` holds a wrong value or a typing error.",
            "Open `nano config.yaml` and correct the line that is named.",
        ),
    ),
    named(
        "keys",
        "trouble",
        ("doctor", "status"),
        (
            "Schlüssel oder PIN können nicht gelesen werden ({detail}).",
            "Die Datei ist beschädigt, oder sie gehört einem anderen Benutzer.",
            "Ist sie beschädigt: die Datei löschen, beim Start wird eine neue gemacht. Sonst `sudo chown $USER` und ihr Name.",
        ),
        (
            "Keys or PIN cannot be read ({detail}).",
            "The file is damaged, or belongs to another user.",
            "If it is damaged: delete the file, and a new one is made at start. Else `sudo chown $USER` and its name.",
        ),
    ),
    named(
        "keys_open",
        "warning",
        "doctor",
        (
            "Schlüssel oder PIN können auch andere Benutzer dieses Rechners lesen ({detail}).",
            "Die Datei wurde kopiert, oder ihre Rechte wurden geändert.",
            "`chmod 600 data/keys.json data/desk_pin.txt`",
        ),
        (
            "Keys or PIN can be read by other users of this computer ({detail}).",
            "The file was copied, or its permissions were changed.",
            "`chmod 600 data/keys.json data/desk_pin.txt`",
        ),
    ),
    named(
        "port",
        "trouble",
        "doctor",
        (
            "Ein anderes Programm belegt den Anschluss (Port) der Installation ({detail}).",
            "Die Installation läuft schon, oder ein fremdes Programm benutzt denselben Port.",
            "`./master_script.sh status`, dann `./master_script.sh stop`. Sonst das fremde Programm beenden.",
        ),
        (
            "Another program holds the installation's port ({detail}).",
            "The installation runs already, or a foreign program uses the same port.",
            "`./master_script.sh status`, then `./master_script.sh stop`. Else end the foreign program.",
        ),
    ),
    named(
        "dataset",
        "trouble",
        "doctor",
        (
            "Ein Datensatz fehlt oder ist leer ({detail}).",
            "Ein Ordner in `Datasets` wurde umbenannt, oder `config.yaml` nennt ihn falsch.",
            "`env/bin/python -m wmkml datasets` zeigt, welche da sind; den Namen in `config.yaml` berichtigen.",
        ),
        (
            "A data set is missing or empty ({detail}).",
            "A folder in `Datasets` was renamed, or `config.yaml` names it wrongly.",
            "`env/bin/python -m wmkml datasets` shows which are there; correct the name in `config.yaml`.",
        ),
    ),
    named(
        "pages",
        "trouble",
        "doctor",
        (
            "Die Webseiten für Besucher, Bühne und Pult fehlen.",
            "Die Installation wurde nicht zu Ende eingerichtet.",
            "Mit Netz `./master_script.sh install` eingeben.",
        ),
        (
            "The web pages for visitors, stage and desk are missing.",
            "The installation was not set up to the end.",
            "With a network, enter `./master_script.sh install`.",
        ),
    ),
    named(
        "clock_jumped",
        "warning",
        "owner",
        (
            "Die Uhr des Rechners ist gesprungen ({detail} Sekunden).",
            "Jemand hat sie gestellt, oder sie ging falsch und wurde über das Netz berichtigt.",
            "Uhrzeit prüfen: `date`. Stimmt sie, ist nichts zu tun; sonst `sudo timedatectl set-ntp true`.",
        ),
        (
            "The computer's clock has jumped ({detail} seconds).",
            "Somebody has set it, or it was wrong and was corrected over the network.",
            "Look at the time: `date`. If it is right, nothing is to be done; else `sudo timedatectl set-ntp true`.",
        ),
    ),
    named(
        "clock_unsynchronised",
        "warning",
        "owner",
        (
            "Die Uhr des Rechners wird nicht über das Netz gestellt.",
            "Ohne Netz geht sie mit der Zeit falsch; die Öffnungszeiten richten sich nach ihr.",
            "Netz prüfen, dann `sudo timedatectl set-ntp true`. Ohne Netz die Uhrzeit jede Woche prüfen.",
        ),
        (
            "The computer's clock is not set over the network.",
            "Without a network it goes wrong with time, and the opening hours follow it.",
            "Look at the network, then `sudo timedatectl set-ntp true`. Without one, look at the time every week.",
        ),
    ),
)
"""In the order of the manual."""
