"""Every route of owner and inference: the headers that keep a browser safe are there, and no other site may read an answer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.inference.test_no_store import inference_routes
from tests.owner.test_no_store import owner_routes
from tests.project.processes import ServiceProcesses, processes

pytestmark = pytest.mark.process

PAGES = {"/", "/desk", "/stage", "/autopsy", "/privacy", "/imprint"}
ORIGIN = "https://evil.example"

PAGE_POLICY = {
    "default-src": {"'none'"},
    "script-src": {"'self'"},
    "connect-src": {"'self'"},
    "base-uri": {"'none'"},
    "form-action": {"'self'"},
    "frame-ancestors": {"'self'"},
}
"""What a page may at most do; what it shows besides (styles, pictures, fonts) is its own matter."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcesses]:
    legal = {"privacy.controller": "Kunsthaus", "privacy.imprint": "Kunsthaus"}
    with processes(tmp_path_factory.mktemp("headers"), legal) as running:
        running.start("owner")
        running.start("inference")
        running.wait_until_ready()
        yield running


def policy_of(reply: httpx.Response) -> dict[str, set[str]]:
    directives = [directive.split() for directive in reply.headers["content-security-policy"].split(";")]
    return {name: set(sources) for name, *sources in directives}


def check(reply: httpx.Response, what: str) -> None:
    headers, policy = reply.headers, policy_of(reply)
    assert headers["x-content-type-options"] == "nosniff", what
    assert headers["cross-origin-resource-policy"] == "same-origin", what
    assert headers["referrer-policy"] in ("no-referrer", "same-origin"), what
    assert "microphone=()" in headers["permissions-policy"], what
    assert "server" not in headers, what
    assert not [name for name in headers if name.startswith("access-control-")], what
    assert policy["default-src"] == {"'none'"} and policy["frame-ancestors"] <= {"'none'", "'self'"}, what
    assert "script-src" not in policy or policy["script-src"] == {"'self'"}, what
    if "text/html" in headers.get("content-type", ""):
        assert {name: policy[name] for name in PAGE_POLICY} == PAGE_POLICY, what


def test_every_route_of_both_services(cluster: ServiceProcesses, tmp_path: Path) -> None:
    owner, inference = owner_routes(tmp_path / "listed"), inference_routes()
    assert {path for _, path in owner} >= PAGES and ("POST", "/v1/chat/completions") in inference
    pages = set()
    for service, routes in ((cluster.owner, owner), (cluster.inference, inference)):
        with httpx.Client(base_url=service, verify=False, timeout=60) as client:
            for method, path in [*routes, ("GET", "/no-such-route"), ("POST", "/")]:
                address = re.sub(r"\{\w+\}", "1", path)
                with client.stream(method, address, headers={"Origin": ORIGIN}) as reply:
                    check(reply, f"{method} {path}")
                    if reply.status_code == 200 and "text/html" in reply.headers.get("content-type", ""):
                        pages.add(path)
                asking = {
                    "Origin": ORIGIN,
                    "Access-Control-Request-Method": method,
                    "Access-Control-Request-Headers": "x-key",
                }
                preflight = client.options(address, headers=asking)
                check(preflight, f"OPTIONS {path}")
                assert preflight.status_code >= 400, path
    assert pages == PAGES, "each page was seen"


def test_what_a_page_loads_has_them_too(cluster: ServiceProcesses) -> None:
    with httpx.Client(base_url=cluster.owner, verify=False, timeout=60) as client:
        for page in ("/", "/desk", "/stage", "/autopsy"):
            files = re.findall(r'(?:src|href)="\.?/?((?:assets/|icon)[^"]+)"', client.get(page).text)
            assert files, page
            for file in files:
                reply = client.get(f"/{file}")
                assert reply.status_code == 200, file
                check(reply, file)
