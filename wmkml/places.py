"""Where things are on disk: the data folder and what is in it, the models, the datasets, and the model in use.

Knows only the settings and the folder that their relative paths start from (that of config.yaml); makes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wmkml.config import UNDERSTUDY, Settings

SHIPPED_MODEL = Path(__file__).parent / "understudy" / "model"
"""The understudy's weights and tokenizer."""

PAGES = Path(__file__).parent.parent / "frontend" / "dist"
"""The web pages, built at installation."""


SHIPPED_STAGE = Path(__file__).parent.parent / "stage"
"""The projection's mapping and texts as they ship, for what an installation's own folder does not hold."""


@dataclass(frozen=True)
class Places:
    """The folders of one installation, absolute."""

    data: Path
    models: Path
    datasets: Path
    stage: Path
    """What an artist edits of the projection.  It may not exist."""
    model: Path
    """The model in use: a folder in Hugging Face's form.  It may not exist yet."""

    @property
    def runs(self) -> Path:
        """One folder for each run."""
        return self.data / "runs"

    @property
    def serving(self) -> Path:
        """Inference's own copies of the adapters it has loaded."""
        return self.data / "serving"

    @property
    def keys(self) -> Path:
        """The keys of stage, worker and operator, readable by their owner alone."""
        return self.data / "keys.json"

    @property
    def pin(self) -> Path:
        """The PIN of the operator's desk, readable by its owner alone."""
        return self.data / "desk_pin.txt"

    @property
    def logs(self) -> Path:
        """One log file for each process, rotated."""
        return self.data / "logs"

    @property
    def kept_answers(self) -> Path:
        """What outlives a run: the base model's answers to the datasets."""
        return self.data / "base_answers.sqlite"


def places(settings: Settings, root: Path) -> Places:
    """The folders these settings name, relative ones starting from `root`."""
    general, root = settings.general, root.resolve()
    models = root / general.models_folder
    return Places(
        data=root / general.data_folder,
        models=models,
        datasets=root / general.datasets_folder,
        stage=root / general.stage_folder,
        model=model_folder(general.model_name, models, root),
    )


def model_folder(name: str, models: Path, root: Path) -> Path:
    """The folder of a model: the understudy's own, an existing path (absolute, or relative to `root`), or a download's."""
    if name == UNDERSTUDY:
        return SHIPPED_MODEL
    for candidate in (Path(name).expanduser(), root / name):
        if (candidate / "config.json").is_file():
            return candidate.resolve()
    if name.startswith(("/", ".", "~")):
        return (root / Path(name).expanduser()).resolve()
    return models / name.replace("/", "--")
