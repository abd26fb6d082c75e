"""The checks of the installation: settings, model, folders, keys, ports, data sets, pages."""

from __future__ import annotations

from wmkml.doctor.check import CheckFinding, CheckOutcome, DoctorCheck, finding, good, unknown
from wmkml.doctor.facts import Facts, FileState
from wmkml.problems.wording import BothLanguages

LOW_DISK_GIB = 5.0
"""Less free space is short; the desk warns from the same figure on."""

LEAST_DISK_GIB = 1.0
"""Below this no run can be kept any more."""

NO_SETTINGS = unknown("Ohne lesbare Einstellungen nicht zu sagen.", "Not to be told while the settings cannot be read.")


def judge_settings(facts: Facts) -> list[CheckFinding]:
    """Whether the settings can be read, and supervision can read every name in them."""
    if facts.installation is None:
        return finding("unreadable", problem=facts.settings_problem)
    names = facts.installation.unwritable_names
    return [result for key, value in names for result in finding("names", key=key, value=value)] or finding("valid")


def judge_model(facts: Facts) -> list[CheckFinding]:
    """Whether the model's folder is complete."""
    installation = facts.installation
    if installation is None or installation.model_state is None:
        return finding("no_settings")
    return finding(
        installation.model_state,
        name=installation.model_name,
        folder=installation.model_folder,
        download=f"{installation.download_gib:.0f}",
    )


def judge_data(facts: Facts) -> list[CheckFinding]:
    """Whether the data folder can be written."""
    installation = facts.installation
    if installation is None:
        return finding("no_settings")
    if installation.data_problem:
        return finding("unwritable", folder=installation.data_folder, problem=installation.data_problem)
    return finding("writable", folder=installation.data_folder)


def judge_disk(facts: Facts) -> list[CheckFinding]:
    """Whether there is room for runs, and for a model that is still to be fetched."""
    installation = facts.installation
    if installation is None:
        return finding("no_settings")
    free, for_model = installation.disk_free_gib, installation.model_disk_free_gib
    if installation.download_gib and for_model is not None and for_model < installation.download_gib + LEAST_DISK_GIB:
        return finding("no_room", free=f"{for_model:.1f}", needed=f"{installation.download_gib + LEAST_DISK_GIB:.0f}")
    if free is None:
        return finding("unknown")
    outcome = "full" if free < LEAST_DISK_GIB else "low" if free < LOW_DISK_GIB else "room"
    return finding(outcome, free=f"{free:.1f}", folder=installation.data_folder)


def judge_keys(facts: Facts) -> list[CheckFinding]:
    """Whether keys and PIN can be read, by this user alone."""
    installation = facts.installation
    if installation is None:
        return finding("no_settings")
    states: list[tuple[FileState, str]] = [
        (installation.keys, installation.keys_path),
        (installation.pin, installation.pin_path),
    ]
    troubles = [(state, path) for state, path in states if state in ("broken", "forbidden", "open")]
    if troubles:
        return [result for state, path in troubles for result in finding(state, path=path)]
    return finding("absent" if installation.keys == "absent" else "readable")


def judge_ports(facts: Facts) -> list[CheckFinding]:
    """Whether both services can listen."""
    installation = facts.installation
    if installation is None or not installation.ports:
        return finding("no_settings")
    troubles = [port for port in installation.ports if port.state not in ("free", "own")]
    if troubles:
        return [
            result
            for port in troubles
            for result in finding(
                port.state, key=port.key, host=port.host, port=port.port, reason=port.reason, other=port.port + 10
            )
        ]
    ports = ", ".join(str(port.port) for port in installation.ports)
    return finding("own" if installation.ports[0].state == "own" else "free", ports=ports)


def judge_datasets(facts: Facts) -> list[CheckFinding]:
    """Whether every data set of the settings is there."""
    installation = facts.installation
    if installation is None:
        return finding("no_settings")
    return [
        result
        for dataset in installation.datasets
        for result in finding(
            dataset.problem, key=dataset.key, name=dataset.name, folder=dataset.folder, known=dataset.known
        )
    ] or finding("there")


def judge_pages(facts: Facts) -> list[CheckFinding]:
    """Whether the web pages are built."""
    if facts.installation is None:
        return finding("no_settings")
    return finding("built" if facts.installation.pages_built else "missing")


SETTINGS = DoctorCheck(
    "settings",
    BothLanguages("Einstellungen", "Settings"),
    BothLanguages("Mit einem falschen Wert startet nichts.", "With a wrong value nothing starts."),
    judge_settings,
    {
        "valid": good("Lesbar und in Ordnung.", "Readable and in order."),
        "unreadable": CheckOutcome(
            "bad",
            BothLanguages("{problem}", "{problem}"),
            BothLanguages("Den Wert in config.yaml berichtigen.", "Correct the value in config.yaml."),
            "nano config.yaml",
            blocks=True,
        ),
        "names": CheckOutcome(
            "bad",
            BothLanguages(
                "{key}: {value} enthält ein Anführungszeichen, einen Zeilenumbruch oder „ ;“, was die Überwachung nicht liest.",
                "{key}: {value} holds a quotation mark, a line break or ' ;', which supervision cannot read.",
            ),
            BothLanguages("Einen anderen Namen wählen.", "Choose another one."),
            blocks=True,
        ),
    },
)

MODEL = DoctorCheck(
    "model",
    BothLanguages("Modell", "Model"),
    BothLanguages(
        "Fehlt eine Datei oder ist sie abgeschnitten, lädt das Modell nicht. Von Mistrals Modellen wird `tokenizer.json` "
        "gelesen, und `tekken.json`, wo es allein ist; die Gewichte müssen die von transformers sein, nicht "
        "`consolidated.safetensors`.",
        "Where a file is missing or truncated the model does not load. Of Mistral's models `tokenizer.json` is read, and "
        "`tekken.json` where it is alone; the weights must be those of transformers, not `consolidated.safetensors`.",
    ),
    judge_model,
    {
        "complete": good("{name} ist vollständig in {folder}.", "{name} is complete in {folder}."),
        "no_settings": NO_SETTINGS,
        "to_fetch": CheckOutcome(
            "unknown",
            BothLanguages(
                "{name} ist noch nicht hier; beim Start wird es geholt (etwa {download} GiB).",
                "{name} is not here yet; it is fetched at start (some {download} GiB).",
            ),
            command="env/bin/python download_model.py {name}",
        ),
        "incomplete": CheckOutcome(
            "bad",
            BothLanguages(
                "general.model_name: {folder} ist kein vollständiger Modellordner (config.json, Tokenizer, safetensors).",
                "general.model_name: {folder} is no complete model folder (config.json, tokenizer, safetensors).",
            ),
            BothLanguages(
                "Den Ordner vervollständigen, oder das Modell neu holen.", "Complete the folder, or fetch the model."
            ),
            "env/bin/python download_model.py {name}",
            blocks=True,
        ),
        "shipped_incomplete": CheckOutcome(
            "bad",
            BothLanguages(
                "Die Zweitbesetzung (understudy) ist in {folder} nicht vollständig.",
                "The understudy is not complete in {folder}.",
            ),
            BothLanguages(
                "Das Projekt neu holen, oder sie bauen (siehe README).",
                "Fetch the project again, or build it (see README).",
            ),
            "git checkout -- wmkml/understudy/model",
            blocks=True,
        ),
        "own_format": CheckOutcome(
            "bad",
            BothLanguages(
                "{folder} hat nur Mistrals eigene Gewichte (consolidated.safetensors), nicht die von transformers.",
                "{folder} has Mistral's own weights only (consolidated.safetensors), not those of transformers.",
            ),
            BothLanguages("Das Modell holen: es bringt beide.", "Fetch the model, which brings both."),
            "env/bin/python download_model.py {name}",
            blocks=True,
        ),
        "no_tokenizer_library": CheckOutcome(
            "bad",
            BothLanguages(
                "{folder} hat nur tekken.json als Tokenizer und keine Chat-Vorlage; sie zu bilden braucht mistral-common.",
                "{folder} has tekken.json for a tokenizer and no chat template; making one needs mistral-common.",
            ),
            command="env/bin/python -m pip install mistral-common",
            blocks=True,
        ),
    },
)

DATA = DoctorCheck(
    "data",
    BothLanguages("Datenordner", "Data folder"),
    BothLanguages(
        "Hier stehen Läufe, Schlüssel, Protokolle und übersetzte Kernel; ohne ihn startet nichts.",
        "It holds runs, keys, logs and compiled kernels; nothing starts without it.",
    ),
    judge_data,
    {
        "writable": good("{folder} ist beschreibbar.", "{folder} can be written."),
        "no_settings": NO_SETTINGS,
        "unwritable": CheckOutcome(
            "bad",
            BothLanguages(
                "general.data_folder: {folder} ist nicht beschreibbar ({problem}).",
                "general.data_folder: {folder} cannot be written ({problem}).",
            ),
            BothLanguages(
                "Rechte geben, oder einen anderen Ordner nennen.", "Give permission, or name another folder."
            ),
            "sudo chown -R $USER {folder}",
            blocks=True,
        ),
    },
)

DISK = DoctorCheck(
    "disk",
    BothLanguages("Platz", "Disk space"),
    BothLanguages(
        "Ist die Platte voll, kann kein Paar und kein Adapter gespeichert werden, und der Lauf bleibt stehen.",
        "On a full disk no pair and no adapter can be kept, and the run stands still.",
    ),
    judge_disk,
    {
        "room": good("{free} GiB frei.", "{free} GiB free."),
        "unknown": unknown("Nicht bekannt.", "Not known."),
        "no_settings": NO_SETTINGS,
        "low": CheckOutcome(
            "warning",
            BothLanguages("Nur noch {free} GiB frei bei {folder}.", "Only {free} GiB are free at {folder}."),
            BothLanguages("Alte Dateien löschen.", "Delete old files."),
            "du -xh -d2 . | sort -h | tail",
        ),
        "full": CheckOutcome(
            "bad",
            BothLanguages("Nur noch {free} GiB frei bei {folder}.", "Only {free} GiB are free at {folder}."),
            BothLanguages("Alte Dateien löschen.", "Delete old files."),
            "du -xh -d2 . | sort -h | tail",
        ),
        "no_room": CheckOutcome(
            "bad",
            BothLanguages(
                "Für das Modell sind {needed} GiB nötig, frei sind {free}.",
                "The model needs {needed} GiB, and {free} are free.",
            ),
            BothLanguages("Platz schaffen, oder einen anderen Ordner nennen.", "Make room, or name another folder."),
            "./master_script.sh --set general.models_folder=/root/models",
        ),
    },
)

KEYS = DoctorCheck(
    "keys",
    BothLanguages("Schlüssel und PIN", "Keys and PIN"),
    BothLanguages(
        "Bühne, Training und Pult weisen sich damit aus; ohne sie startet die Leitung nicht.",
        "Stage, training and desk identify themselves with them; the owner does not start without.",
    ),
    judge_keys,
    {
        "readable": good("Lesbar, und nur für diesen Benutzer.", "Readable, and by this user alone."),
        "absent": good("Werden beim Start gemacht.", "Are made at start."),
        "no_settings": NO_SETTINGS,
        "broken": CheckOutcome(
            "bad",
            BothLanguages("{path} enthält nicht, was es soll.", "{path} does not hold what it should."),
            BothLanguages(
                "Löschen; beim Start wird eine neue Datei gemacht.", "Delete it, and a new one is made at start."
            ),
            "rm {path}",
            blocks=True,
        ),
        "forbidden": CheckOutcome(
            "bad",
            BothLanguages("{path} darf dieser Benutzer nicht lesen.", "{path} may not be read by this user."),
            BothLanguages("Dem Benutzer geben, der startet.", "Give it to the user who starts."),
            "sudo chown $USER {path}",
            blocks=True,
        ),
        "open": CheckOutcome(
            "warning",
            BothLanguages("{path} können auch andere lesen.", "{path} can be read by others too."),
            command="chmod 600 {path}",
        ),
    },
)

PORTS = DoctorCheck(
    "ports",
    BothLanguages("Ports", "Ports"),
    BothLanguages("Owner und Inference brauchen je einen freien Port.", "Owner and inference need a free port each."),
    judge_ports,
    {
        "free": good("{ports} sind frei.", "{ports} are free."),
        "own": good("{ports}: diese Installation läuft.", "{ports}: this installation runs."),
        "no_settings": NO_SETTINGS,
        "taken": CheckOutcome(
            "bad",
            BothLanguages("{key}: Port {port} ist belegt{reason}.", "{key}: port {port} is in use{reason}."),
            BothLanguages(
                "Das Programm beenden, oder einen anderen Port geben.", "End that program, or give another port."
            ),
            "./master_script.sh --set {key}={other}",
            blocks=True,
        ),
        "refused": CheckOutcome(
            "bad",
            BothLanguages(
                "{key}: an {host}:{port} kann niemand hören ({reason}).",
                "{key}: cannot listen on {host}:{port} ({reason}).",
            ),
            BothLanguages("Einen anderen Host oder Port geben.", "Give another host or port."),
            "./master_script.sh --set {key}={other}",
            blocks=True,
        ),
        "same": CheckOutcome(
            "bad",
            BothLanguages("{key}: {port} ist auch der Port des Owners.", "{key}: {port} is the owner's port too."),
            BothLanguages("Einen anderen geben.", "Give another one."),
            "./master_script.sh --set {key}={other}",
            blocks=True,
        ),
    },
)

DATASETS = DoctorCheck(
    "datasets",
    BothLanguages("Datensätze", "Data sets"),
    BothLanguages(
        "Runden füllen ihre Beispiele aus diesen Prompts auf.", "Rounds top up their samples from these prompts."
    ),
    judge_datasets,
    {
        "there": good("Alle sind da.", "All are there."),
        "no_settings": NO_SETTINGS,
        "absent": CheckOutcome(
            "bad",
            BothLanguages(
                "{key}: es gibt keinen Datensatz {name} in {folder}; es gibt: {known}.",
                "{key}: there is no data set {name} in {folder}; there are: {known}.",
            ),
            command="ls {folder}",
            blocks=True,
        ),
        "empty": CheckOutcome(
            "bad",
            BothLanguages(
                "{key}: der Datensatz {name} hat keinen brauchbaren Prompt; siehe {folder}.",
                "{key}: the data set {name} holds no prompt that can be used; see {folder}.",
            ),
            command="env/bin/python -m wmkml datasets",
            blocks=True,
        ),
        "not_available": CheckOutcome(
            "bad",
            BothLanguages(
                "{key}: {name} steht nicht in general.available_datasets.",
                "{key}: {name} is not among general.available_datasets.",
            ),
            BothLanguages("Dort eintragen, oder herausnehmen.", "Add it there, or take it out."),
            "nano config.yaml",
            blocks=True,
        ),
        "adult": CheckOutcome(
            "bad",
            BothLanguages(
                "{key}: {name} ist als nicht für alle gekennzeichnet (adult: true).",
                "{key}: {name} is marked as not for everybody (adult: true).",
            ),
            BothLanguages(
                "Herausnehmen, oder general.allow_adult_datasets auf true setzen.",
                "Take it out, or set general.allow_adult_datasets to true.",
            ),
            "nano config.yaml",
            blocks=True,
        ),
    },
)

PAGES = DoctorCheck(
    "pages",
    BothLanguages("Webseiten", "Web pages"),
    BothLanguages(
        "Ohne sie haben Besucher, Bühne und Pult keine Seite.", "Without them visitors, stage and desk have no page."
    ),
    judge_pages,
    {
        "built": good("Gebaut.", "Built."),
        "no_settings": NO_SETTINGS,
        "missing": CheckOutcome(
            "bad",
            BothLanguages("Sie sind nicht gebaut.", "They are not built."),
            command="./master_script.sh install",
        ),
    },
)
