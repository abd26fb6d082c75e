"""The model, the service and the OpenAI client for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from tests.engine.random_model import make_model
from tests.inference.service import InferenceProcess, running


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small model with random weights."""
    return make_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session", params=["transformers", pytest.param("vllm", marks=pytest.mark.vllm)])
def service(
    request: pytest.FixtureRequest, model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[InferenceProcess]:
    """A ready inference service for all tests of this folder, once with each engine.

    The files that use it run in one worker: `tests/scheduling.py`.
    """
    with running(tmp_path_factory.mktemp("service"), model, request.param) as service:
        yield service


@pytest.fixture
def client(service: InferenceProcess) -> Iterator[openai.OpenAI]:
    """The OpenAI client, without retries."""
    with openai.OpenAI(base_url=f"http://127.0.0.1:{service.port}/v1", api_key="none", max_retries=0) as client:
        yield client
