"""The whole installation with a certificate of its own, under the real launcher: every process goes on talking to the owner."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import httpx_sse
import pytest

from tests.access.certificates import NAME, CertificateFiles, signed_by_itself
from tests.project.processes import processes
from tests.waiting import until
from wmkml.access.keys import load_keys
from wmkml.access.pin import load_pin
from wmkml.access.tls import owner_verification
from wmkml.config import Settings, dump
from wmkml.config.addresses import inference_url, owner_url
from wmkml.config.paths import PROJECT, Paths, paths_of
from wmkml.gui.client import WindowOwnerClient
from wmkml.gui.events import Connection, WindowEvent

pytestmark = [pytest.mark.process, pytest.mark.timeout(900)]

HSTS = 3600


@dataclass
class SecureCluster:
    """The installation, and a browser that has imported its certificate."""

    settings: Settings
    paths: Paths
    config: Path
    files: CertificateFiles
    output: Path

    def browser(self, verify: ssl.SSLContext | None = None) -> httpx.Client:
        """A client that verifies name and time, as browsers do; it calls the owner by the certificate's name."""
        return httpx.Client(
            base_url=f"https://127.0.0.1:{self.settings.general.owner_port}",
            verify=verify or self.files.browser(),
            headers={"Host": f"{NAME}:{self.settings.general.owner_port}"},
            timeout=120,
            trust_env=False,
        )

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "wmkml", *words, "--config", str(self.config)],
            cwd=PROJECT,
            env=os.environ | {"WMKML_GPUS": "0"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )


def by_name(request: httpx.Request) -> None:
    request.extensions["sni_hostname"] = NAME


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureCluster]:
    folder = tmp_path_factory.mktemp("secure")
    files = signed_by_itself(folder / "tls")
    settings = processes(
        folder,
        files.settings
        | {
            "general.host_names": [NAME],
            "general.hsts_seconds": HSTS,
            "finetuning.num_total_iters": 60,
            "finetuning.duration_of_a_run": 3600.0,
        },
    ).settings
    config, output = folder / "config.yaml", folder / "output"
    config.write_text(dump(settings), encoding="utf-8")
    secure = SecureCluster(settings, paths_of(settings, folder), config, files, output)
    command = [sys.executable, "-m", "wmkml.launcher", "--config", str(config), "--engine", "transformers"]
    with output.open("wb") as written:
        launcher = subprocess.Popen(
            command,
            cwd=PROJECT,
            env=os.environ | {"WMKML_GPUS": "0", "OMP_NUM_THREADS": "1"},
            stdout=written,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        for _ in range(4):  # loading takes minutes on a busy machine
            with contextlib.suppress(AssertionError):
                until(lambda: "Everything is healthy" in output.read_text() or launcher.poll() is not None, "the start")
                break
        assert "Everything is healthy" in output.read_text(), output.read_text()[-3000:]
        yield secure
    finally:
        launcher.send_signal(signal.SIGINT)
        launcher.wait(120)


@pytest.fixture
def browser(cluster: SecureCluster) -> Iterator[httpx.Client]:
    with cluster.browser() as client:
        client.event_hooks["request"] = [by_name]
        yield client


def test_pages_are_served_by_https_alone(cluster: SecureCluster, browser: httpx.Client) -> None:
    for page in ("/", "/desk", "/stage"):
        reply = browser.get(page)
        assert reply.status_code == 200 and "text/html" in reply.headers["content-type"]
        assert reply.headers["strict-transport-security"] == f"max-age={HSTS}"
    with pytest.raises(httpx.TransportError):
        httpx.get(str(browser.base_url).replace("https", "http"), timeout=20, trust_env=False)
    address = f"https://{NAME}:{cluster.settings.general.owner_port}"
    printed = cluster.output.read_text()
    assert f"{address}/stage?key=" in printed and "http://" not in printed


def test_cookies_are_sent_back_by_https_alone(cluster: SecureCluster, browser: httpx.Client) -> None:
    origin = {"Origin": f"https://{NAME}:{cluster.settings.general.owner_port}"}
    form = browser.post("/desk/login", data={"pin": load_pin(cluster.paths)}, headers=origin)
    stage = browser.get("/stage", params={"key": load_keys(cluster.paths).stage})
    autopsy = browser.get("/desk/autopsy")
    cookies = [cookie for reply in (form, stage, autopsy) for cookie in reply.headers.get_list("set-cookie")]
    assert (form.status_code, stage.status_code, autopsy.status_code) == (303, 303, 303)
    assert len(cookies) == 4 and all("; Secure" in cookie for cookie in cookies)
    assert browser.get("/desk/state").status_code == 200
    foreign = browser.post("/desk/logout", headers={"Origin": "https://evil.example"})
    assert foreign.status_code == 403


def test_rounds_are_trained_and_a_renewed_certificate_ends_none(cluster: SecureCluster, browser: httpx.Client) -> None:
    # By inference's door, which asks the owner.
    started = httpx.post(f"{inference_url(cluster.settings)}/language", json={"language": "de"}, timeout=120)
    assert started.status_code == 200, started.text
    with httpx_sse.connect_sse(browser, "POST", "/chat", json={"prompt": "Was ist eine Sprache?"}) as source:
        assert [event.event for event in source.iter_sse()][-1] == "end"

    def iteration() -> int:
        return int(browser.get("/state").json()["iteration"])

    until(lambda: iteration() >= 0, "the worker's first round")
    former = cluster.files.browser()
    with httpx.stream(
        "GET", f"{browser.base_url}/events?station=a", verify=owner_verification(cluster.paths), timeout=600
    ) as stream:
        lines = stream.iter_lines()
        assert next(lines).startswith("id: ")
        signed_by_itself(cluster.files.certificate.parent)

        def renewed() -> bool:
            with cluster.browser() as client:
                client.event_hooks["request"] = [by_name]
                return client.get("/healthz").status_code == 200

        until(renewed, "the renewed certificate to be served")
        with pytest.raises(httpx.ConnectError), cluster.browser(former) as client:
            client.event_hooks["request"] = [by_name]
            client.get("/healthz")
        reached = int(
            httpx.get(f"{owner_url(cluster.settings)}/state", verify=owner_verification(cluster.paths)).json()[
                "iteration"
            ]
        )
        for line in lines:  # the stream that was open goes on
            if line == "event: swap":
                break
    with cluster.browser() as client:
        client.event_hooks["request"] = [by_name]
        until(lambda: client.get("/state").json()["iteration"] > reached, "a round after the renewal")
    log = "".join(path.read_text(errors="replace") for path in cluster.paths.logs.glob("*.log"))
    assert "The renewed certificate is used" in log and "CERTIFICATE_VERIFY_FAILED" not in log
    # It would go on for 60 rounds.
    ended = httpx.post(
        f"{owner_url(cluster.settings)}/operator/end",
        headers={"X-Key": load_keys(cluster.paths).operator},
        verify=owner_verification(cluster.paths),
        timeout=60,
    )
    assert ended.status_code == 200


def test_commands_and_window_talk_to_the_owner(cluster: SecureCluster) -> None:
    status = cluster.command("cluster", "status")
    assert status.returncode == 0 and "unknown" not in status.stdout, status.stdout + status.stderr
    assert f"https://127.0.0.1:{cluster.settings.general.owner_port}" in status.stdout
    for words in (("panic",), ("panic", "off"), ("opening", "open"), ("opening", "hours")):
        done = cluster.command(*words)
        assert done.returncode == 0, done.stderr
    doctor = cluster.command("doctor", "--quick", "--language", "en")
    assert "Valid for 824 more days" in doctor.stdout or "Valid for 825 more days" in doctor.stdout, doctor.stdout
    link = cluster.command("pin", "--login").stdout
    assert f"https://{NAME}:" in link and "http://" not in link
    events: queue.Queue[WindowEvent] = queue.Queue()
    verify = owner_verification(cluster.paths)
    client = WindowOwnerClient(owner_url(cluster.settings), lambda: load_keys(cluster.paths).stage, events, verify)
    client.start()
    seen: list[Any] = []

    def connected() -> bool:
        while not events.empty():
            seen.append(events.get())
        return Connection(connected=True, all_stations=True) in seen

    until(connected, "the window's stream")
    client.close()


def test_a_certificate_that_ends_soon_or_is_damaged_is_a_problem_until_it_is_renewed(cluster: SecureCluster) -> None:
    def problems() -> dict[str, str]:
        reply = httpx.get(
            f"{owner_url(cluster.settings)}/operator/problems",
            headers={"X-Key": load_keys(cluster.paths).operator},
            verify=owner_verification(cluster.paths),
            timeout=60,
        )
        return {problem["code"]: problem["detail"] for problem in reply.json()["problems"]}

    def of_certificate() -> set[str]:
        return {code for code in problems() if code.startswith("certificate")}

    assert not of_certificate()
    folder = cluster.files.certificate.parent
    signed_by_itself(folder, days=5)
    until(lambda: of_certificate() == {"certificate_ends"}, "the end to be seen")
    # The owner goes on with the one it has; this machine's processes call it as before.
    cluster.files.key.write_text("no key", encoding="utf-8")
    until(lambda: of_certificate() == {"certificate_unusable"}, "the damage to be seen")
    assert str(cluster.files.key) in problems()["certificate_unusable"]
    signed_by_itself(folder)
    until(lambda: not of_certificate(), "the renewal to be seen")
