"""Clusters that several test modules of this folder use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.owner.owner_cluster import OwnerCluster, started_cluster
from tests.owner.round_clusters import MakeCluster, cluster_maker


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[OwnerCluster]:
    """A started cluster with the tests' ordinary settings, for one test."""
    with started_cluster(tmp_path) as cluster:
        yield cluster


@pytest.fixture
def make_cluster(tmp_path: Path) -> Iterator[MakeCluster]:
    """A function that starts a cluster with the given settings and three sets of prompts."""
    with cluster_maker(tmp_path) as make:
        yield make


@pytest.fixture(scope="module")
def tuned_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnerCluster]:
    """A started cluster for all tests of a module; its sampling settings differ from the defaults, so a test can tell them apart."""
    settings = {
        "inference.temperature": 0.31,
        "inference.top_p": 0.81,
        "inference.visitor_temperature": 0.61,
        "inference.visitor_top_p": 0.86,
        "inference.max_tokens": 77,
        "inference.frequency_penalty": 0.5,
        "inference.num_context_messages": 3,
        "general.max_prompt_bytes": 20_000,
    }
    with started_cluster(tmp_path_factory.mktemp("cluster"), **settings) as cluster:
        yield cluster


@pytest.fixture
def run(tuned_cluster: OwnerCluster) -> OwnerCluster:
    """The module's cluster, with a run that has just begun."""
    tuned_cluster.begin("de")
    return tuned_cluster
