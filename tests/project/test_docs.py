"""The generated docs: they are current, and every setting, address and command is in them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from wmkml.__main__ import command_summaries, main
from wmkml.cli.docs import fill_markers, generated_files
from wmkml.config import sections
from wmkml.config.paths import PROJECT
from wmkml.protocol.osc import TABLE


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copytree(PROJECT / "docs", tmp_path / "docs")
    shutil.copy(PROJECT / "README.md", tmp_path)
    for door in PROJECT.glob("*.py"):
        shutil.copy(door, tmp_path)
    return tmp_path


@pytest.mark.process
def test_the_committed_docs_are_what_the_code_says() -> None:
    assert main(["docs", "--check"]) == 0, "run: env/bin/python -m wmkml docs"


def test_every_setting_address_and_command_is_documented() -> None:
    texts = {path.name: text for path, text in generated_files(PROJECT).items()}
    settings = [key for model in sections().values() for key in model.model_fields]
    assert [key for key in settings if f"| `{key}` |" not in texts["settings.md"]] == []
    assert [address for address in TABLE if f"| `{address}` |" not in texts["osc.md"]] == []
    assert [name for name in command_summaries() if f"python -m wmkml {name}`" not in texts["cli.md"]] == []


def test_the_readme_holds_both_tables() -> None:
    text = (PROJECT / "README.md").read_text(encoding="utf-8")
    assert all(f"| `{address}` |" in text for address in TABLE if not address.startswith("/collapse/"))
    assert "| `/collapse/…` |" in text and text.count("/collapse/") == 1, "the measures have one row"
    addresses = (PROJECT / "docs" / "osc.md").read_text(encoding="utf-8")
    assert all(f"| `{address}` |" in addresses for address in TABLE)
    assert all(f"| `{key}` |" in text for model in sections().values() for key in model.model_fields)


def test_a_stale_file_is_named_and_then_mended(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (copy / "docs" / "osc.md").write_text("/old\n")
    assert main(["docs", "--check", "--root", str(copy)]) == 1
    assert "docs/osc.md" in capsys.readouterr().err
    assert main(["docs", "--root", str(copy)]) == 0
    assert main(["docs", "--check", "--root", str(copy)]) == 0


def test_a_marker_for_what_is_not_generated_is_an_error() -> None:
    with pytest.raises(KeyError, match="recipes"):
        fill_markers("<!-- recipes: generated -->\n\n<!-- end -->")
