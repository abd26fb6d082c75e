"""How pytest-xdist hands the files of tests to its workers: a file whole, files that share a service together, slow ones first.

A pytest plugin, loaded by conftest.py.  It has no effect where the tests run one after another.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling, Scheduling

SLOW_FIRST = (
    "tests/launcher/test_pretended_pod.py",
    "tests/project/test_exhibition.py",
    "tests/inference/test_adapters.py",
    "tests/laboratory/test_collapse_command.py",
    "tests/siege/test_siege.py",
    "tests/project/test_packaging.py",
    "tests/launcher/test_cluster_services.py",
    "tests/rehearsal/test_rehearsal.py",
    "tests/project/test_readme.py",
    "tests/worker/test_worker.py",
    "tests/inference/test_nodes.py",
    "tests/laboratory/test_laboratory.py",
    "tests/frontend/test_stage.py",
    "tests/owner/test_resume.py",
    "tests/desk/test_reports.py",
    "tests/project/test_course.py",
    "tests/laboratory/test_words.py",
    "tests/frontend/test_autopsy.py",
    "tests/understudy/test_understudy.py",
    "tests/frontend/test_page.py",
    "tests/frontend/test_kiosk.py",
    "tests/laboratory/test_reproductions.py",
    "tests/siege/test_runs_and_messages.py",
    "tests/launcher/test_cluster.py",
    "tests/gui/test_window.py",
)
"""Files of more than a minute, longest first: begun last, one of them would leave the other workers idle at the end."""

SHARED = {
    # The service, and a process that has imported vLLM.
    "tests/inference/test_answers.py": "tests/inference/test_adapters.py",
    "tests/inference/test_no_store.py": "tests/inference/test_adapters.py",
    "tests/inference/test_swap_proof.py": "tests/inference/test_adapters.py",
    "tests/inference/test_process.py": "tests/inference/test_adapters.py",
    "tests/engine/test_contract.py": "tests/inference/test_adapters.py",
    "tests/engine/test_same_answers.py": "tests/inference/test_adapters.py",
    "tests/engine/test_vllm_arguments.py": "tests/inference/test_adapters.py",
    "tests/generation/test_architectures.py": "tests/inference/test_adapters.py",
    # A process that has imported torch and transformers.
    "tests/laboratory/test_notebooks.py": "tests/laboratory/test_collapse_command.py",
    "tests/training/test_ranks.py": "tests/worker/test_worker.py",
    "tests/finetuning/test_devices.py": "tests/worker/test_worker.py",
    # The syntax trees of all our files.
    "tests/project/test_architecture_docs.py": "tests/project/test_rooms.py",
}
"""Files whose tests use what those of another file have made for the whole session, and so belong on its worker."""


class FileScheduling(LoadFileScheduling):  # type: ignore[misc]  # xdist has no types
    """A worker gets whole files; with those of another that it shares a session's fixture with."""

    def _split_scope(self, nodeid: str) -> str:
        file = _file(nodeid)
        return SHARED.get(file, file)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow files first, then those that start processes, which mostly wait; the rest fills the gaps at the end."""
    place = {file: number for number, file in enumerate(SLOW_FIRST)}
    processes = {_file(item.nodeid) for item in items if item.get_closest_marker("process")}

    def order(item: pytest.Item) -> tuple[int, bool]:
        file = SHARED.get(_file(item.nodeid), _file(item.nodeid))
        return place.get(file, len(place)), file not in processes

    items.sort(key=order)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Where tests marked `alone` are asked for, read no file without one: there are few, and reading all takes half a minute."""
    only_alone = re.match(r"alone\b", config.getoption("markexpr"))
    if (
        only_alone
        and collection_path.suffix == ".py"
        and "mark.alone" not in collection_path.read_text(encoding="utf-8")
    ):
        return True
    return None


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling:
    """The scheduler in place of xdist's own."""
    # Else the files with most tests come first, which are the quick ones.
    config.option.loadscopereorder = False
    return FileScheduling(config, log)


def _file(nodeid: str) -> str:
    return nodeid.split("::", 1)[0]
