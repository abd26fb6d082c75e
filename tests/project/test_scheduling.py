"""The plan by which the files of tests are handed to several workers names files that there are."""

from __future__ import annotations

from itertools import chain

import pytest

from tests.scheduling import SHARED, SLOW_FIRST
from wmkml.config.paths import PROJECT


@pytest.mark.parametrize("file", sorted({*SLOW_FIRST, *chain.from_iterable(SHARED.items())}))
def test_a_file_of_the_plan_exists(file: str) -> None:
    assert (PROJECT / file).is_file()


def test_a_file_that_shares_another_s_fixture_comes_with_a_file_that_shares_none() -> None:
    assert not SHARED.keys() & set(SHARED.values())
