"""Where things are on disk: the data folder and what is in it, the models, the datasets, and the model in use.

Relative paths of the settings start from the folder of config.yaml.  Nothing is created here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wmkml.config import OVERLAY_NAME, UNDERSTUDY, Settings

PACKAGE = Path(__file__).resolve().parent.parent
"""The package `wmkml` itself, in a checkout or in `site-packages`."""

IN_CHECKOUT = (PACKAGE.parent / "pyproject.toml").is_file()
"""Whether this package lies in a checkout of the project, as it does after `pip install -e .`, or in `site-packages`."""

PROJECT = PACKAGE.parent if IN_CHECKOUT else Path.cwd()
"""The folder with `config.yaml`: a checkout's, with the door scripts; else the one that the command was called in.

Never `site-packages`: whatever a command writes by default starts from here.
"""

SHIPPED_OVERLAY = (PROJECT if IN_CHECKOUT else PACKAGE / "config") / OVERLAY_NAME
"""The settings that the understudy needs, for where no file of this name lies beside a config file: the checkout's own, of
which a wheel carries a copy (`setup.py`)."""

SHIPPED_MODEL = PACKAGE / "understudy" / "model"
"""The understudy's weights and tokenizer."""

SHIPPED_PANEL = PACKAGE / "measures" / "panel" / "panel.yaml"
"""The panel's prompts in German and English."""

PAGES = PROJECT / "frontend" / "dist"
"""The web pages, built at installation."""

SHIPPED_DATASETS = PROJECT / "Datasets" if IN_CHECKOUT else PACKAGE / "laboratory" / "datasets"
"""Prompts for the laboratory's visitors where the settings' folder is not there: a wheel carries two small sets, German and
English (`setup.py`)."""

SHIPPED_STAGE = PROJECT / "stage"
"""The shipped mapping and texts of the projection, for what the installation's own stage folder lacks."""


@dataclass(frozen=True)
class Paths:
    """The folders of one installation, absolute."""

    data: Path
    models: Path
    datasets: Path
    stage: Path
    """The projection's mapping, texts and fonts, edited by the artist.  It may not exist."""
    words: Path
    """The installation's own word lists.  It may not exist."""
    model: Path
    """The folder of the model in use, in Hugging Face's format.  It may not exist yet."""
    panel: Path
    """The panel's prompts."""
    tls_certificate: Path | None
    """The owner's certificate, with its chain; None: it speaks plain HTTP."""
    tls_key: Path | None
    """The certificate's key; None on a machine that has the certificate alone, to verify an owner elsewhere."""
    caches: Path
    """What vLLM, Triton, torch and FlashInfer compile for the GPUs of this machine: kept, so that the next start is quick."""

    @property
    def runs(self) -> Path:
        """Holds one folder for each run."""
        return self.data / "runs"

    @property
    def reports(self) -> Path:
        """Holds one folder for each run that has a report; they stay when the run is gone."""
        return self.data / "reports"

    @property
    def serving(self) -> Path:
        """Inference's own copies of the adapters that it has loaded."""
        return self.data / "serving"

    @property
    def keys(self) -> Path:
        """The keys of stage, worker and operator, readable by their owner alone."""
        return self.data / "keys.json"

    @property
    def node_key(self) -> Path:
        """The key between head and nodes, readable by its owner alone."""
        return self.data / "node_key.txt"

    @property
    def pin(self) -> Path:
        """The PIN of the operator's desk, readable by its owner alone."""
        return self.data / "desk_pin.txt"

    @property
    def login_link(self) -> Path:
        """The hash of the token of a link that opens the desk once; no file while there is no such link."""
        return self.data / "desk_login.json"

    @property
    def desk(self) -> Path:
        """What the operator set at the desk for every run: the stage's blankness and the overrides."""
        return self.data / "desk.json"

    @property
    def logs(self) -> Path:
        """Holds one log file for each process, rotated."""
        return self.data / "logs"

    @property
    def words_marker(self) -> Path:
        """Exists where the logs hold, or once held, visitors' words (`log_visitor_words`)."""
        return self.data / "logs_hold_words"

    @property
    def decency_answer(self) -> Path:
        """Exists where the question at the installation, which word lists to use, was answered."""
        return self.data / "decency_asked.txt"

    @property
    def kept_answers(self) -> Path:
        """The base model's answers to the datasets, which are kept across runs."""
        return self.data / "base_answers.sqlite"


def paths_of(settings: Settings, root: Path) -> Paths:
    """The absolute paths of these settings; relative ones start from `root`."""
    general, root = settings.general, root.resolve()
    models = root / general.models_folder
    return Paths(
        data=root / general.data_folder,
        models=models,
        datasets=root / general.datasets_folder,
        stage=root / general.stage_folder,
        words=root / general.words_folder,
        model=model_folder(general.model_name, models, root),
        panel=root / settings.inference.panel_prompts if settings.inference.panel_prompts else SHIPPED_PANEL,
        tls_certificate=root / general.tls_certificate if general.tls_certificate else None,
        tls_key=root / general.tls_key if general.tls_key else None,
        caches=root / general.data_folder / "caches",
    )


def laboratory_datasets(settings: Settings, paths: Paths) -> Path:
    """Where the laboratory's visitors find their prompts: in the settings' folder or, where none was named and the usual one is
    not there, among those of the package."""
    usual = type(settings.general).model_fields["datasets_folder"].default
    unnamed = settings.general.datasets_folder == usual
    return SHIPPED_DATASETS if unnamed and not paths.datasets.is_dir() else paths.datasets


def with_absolute_folders(settings: Settings, paths: Paths) -> Settings:
    """The same settings with absolute folders, so that they mean the same from any folder."""
    general = settings.general
    of_hub = paths.model.parent == paths.models
    update = {
        "data_folder": str(paths.data),
        "models_folder": str(paths.models),
        "datasets_folder": str(paths.datasets),
        "stage_folder": str(paths.stage),
        "words_folder": str(paths.words),
        "tls_certificate": str(paths.tls_certificate or ""),
        "tls_key": str(paths.tls_key or ""),
        "model_name": general.model_name if general.model_name == UNDERSTUDY or of_hub else str(paths.model),
    }
    inference = settings.inference
    if inference.panel_prompts:
        inference = inference.model_copy(update={"panel_prompts": str(paths.panel)})
    return settings.model_copy(update={"general": general.model_copy(update=update), "inference": inference})


def model_folder(name: str, models: Path, root: Path) -> Path:
    """The folder of a model: the understudy's, a local one (absolute or relative to `root`), or its download's."""
    if name == UNDERSTUDY:
        return SHIPPED_MODEL
    for candidate in (Path(name).expanduser(), root / name):
        if (candidate / "config.json").is_file():
            return candidate.resolve()
    if name.startswith(("/", ".", "~")):
        return (root / Path(name).expanduser()).resolve()
    return models / name.replace("/", "--")
