"""The plan by which the files of tests are handed to several workers names files that there are; none with tests is left unread."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from unittest import mock

import pytest

from tests.scheduling import SHARED, SLOW_FIRST, pytest_ignore_collect
from wmkml.config.paths import PROJECT


@pytest.mark.parametrize("file", sorted({*SLOW_FIRST, *chain.from_iterable(SHARED.items())}))
def test_a_file_of_the_plan_exists(file: str) -> None:
    assert (PROJECT / file).is_file()


@pytest.mark.parametrize(
    ("expression", "text", "ignored"),
    [
        ("alone and (not long)", "@pytest.mark.alone\ndef test(): ...", None),
        ("alone and (long or not long)", "def test(): ...", True),
        ("not alone and (not long)", "def test(): ...", None),
        ("", "def test(): ...", None),
    ],
)
def test_where_tests_that_run_alone_are_wanted_other_files_are_not_read(
    expression: str, text: str, ignored: bool | None, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    (tmp_path / "test_one.py").write_text(text, encoding="utf-8")
    with mock.patch.object(pytestconfig.option, "markexpr", expression):
        assert pytest_ignore_collect(tmp_path / "test_one.py", pytestconfig) is ignored
        assert pytest_ignore_collect(tmp_path, pytestconfig) is None


def test_a_file_that_shares_another_s_fixture_comes_with_a_file_that_shares_none() -> None:
    assert not SHARED.keys() & set(SHARED.values())
