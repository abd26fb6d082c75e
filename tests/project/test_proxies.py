"""The owner behind a real nginx and a real Caddy, with the files that docs/tls.md ships: pages, streams, cookies, whose address it is."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import httpx_sse
import pytest

from tests.access.certificates import NAME, CertificateFiles, signed_by_itself
from tests.owner.owner_cluster import OwnerCluster
from tests.owner.played_owner import WORDS, PlayedOwner, played_owner
from tests.waiting import until
from wmkml.access.pin import load_pin
from wmkml.config.paths import PROJECT
from wmkml.owner.events import event_hub
from wmkml.system.ports import free_port

pytestmark = pytest.mark.process

FILES = PROJECT / "docs" / "proxy"
DOCUMENTED = "kunst.example.org"


@dataclass
class Proxy:
    """A proxy that runs, and how visitors reach it."""

    port: int
    files: CertificateFiles
    logs: Path

    @property
    def host(self) -> str:
        return f"{NAME}:{self.port}"

    def client(self, source: str = "127.0.0.1", **headers: str) -> httpx.Client:
        """A browser that calls the proxy by its name, from an address of this machine."""
        transport = httpx.HTTPTransport(verify=self.files.browser(), local_address=source)

        def by_name(request: httpx.Request) -> None:
            request.extensions["sni_hostname"] = NAME

        return httpx.Client(
            base_url=f"https://127.0.0.1:{self.port}",
            transport=transport,
            headers={"Host": self.host, **headers},
            event_hooks={"request": [by_name]},
            timeout=60,
        )


def program(name: str) -> str:
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin")
    assert path is not None, f"{name} is missing; ./run_tests.sh installs it (Debian: {name})"
    return path


def replaced(text: str, *pairs: tuple[str, str]) -> str:
    """The documented file with a test's own values; each must occur in it."""
    for documented, own in pairs:
        assert documented in text, documented
        text = text.replace(documented, own)
    return text


def nginx(folder: Path, port: int, owner: int, files: CertificateFiles) -> list[str]:
    site = replaced(
        (FILES / "nginx.conf").read_text(encoding="utf-8"),
        ("listen 80;", f"listen 127.0.0.1:{free_port()};"),
        ("listen 443 ssl;", f"listen 127.0.0.1:{port} ssl;"),
        (f"/etc/letsencrypt/live/{DOCUMENTED}/fullchain.pem", str(files.certificate)),
        (f"/etc/letsencrypt/live/{DOCUMENTED}/privkey.pem", str(files.key)),
        (f"server_name {DOCUMENTED};", f"server_name {NAME};"),
        ("/var/log/nginx/wmkml.log", str(folder / "error.log")),
        ("127.0.0.1:8000", f"127.0.0.1:{owner}"),
    )
    (folder / "site.conf").write_text(site, encoding="utf-8")
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off;\npid {folder}/nginx.pid;\nerror_log {folder}/start.log;\nworker_processes 1;\n"
        f"events {{}}\nhttp {{\n{temporary}include {folder}/site.conf;\n}}\n",
        encoding="utf-8",
    )
    return [program("nginx"), "-c", str(folder / "nginx.conf"), "-e", str(folder / "start.log")]


def caddy(folder: Path, port: int, owner: int, files: CertificateFiles) -> list[str]:
    site = replaced(
        (FILES / "Caddyfile").read_text(encoding="utf-8"),
        (f"{DOCUMENTED} {{", f"https://{NAME}:{port} {{\n\tbind 127.0.0.1\n\ttls {files.certificate} {files.key}"),
        ("127.0.0.1:8000", f"127.0.0.1:{owner}"),
    )
    # No administration's port, no redirect from port 80: other tests run beside this one.
    (folder / "Caddyfile").write_text("{\n\tadmin off\n\tauto_https disable_redirects\n}\n" + site, encoding="utf-8")
    home = ["env", f"HOME={folder}", f"XDG_DATA_HOME={folder}", f"XDG_CONFIG_HOME={folder}"]
    return [*home, program("caddy"), "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]


Command = Callable[[Path, int, int, CertificateFiles], list[str]]


@pytest.fixture(scope="module")
def owner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlayedOwner]:
    settings: dict[str, Any] = {
        "general.behind_proxy": True,
        "general.trusted_proxies": ["127.0.0.1"],
        "general.host_names": [NAME],
        "general.hsts_seconds": 3600,
    }
    with played_owner(tmp_path_factory.mktemp("owner"), **settings) as owner:
        yield owner


@pytest.fixture(scope="module", params=[nginx, caddy], ids=["nginx", "caddy"])
def proxy(
    request: pytest.FixtureRequest, owner: PlayedOwner, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    command: Command = request.param
    folder = tmp_path_factory.mktemp("proxy")
    files, port = signed_by_itself(folder / "tls"), free_port()
    words = command(folder, port, owner.cluster.settings.general.owner_port, files)
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(words, stdout=output, stderr=output)
    proxy = Proxy(port, files, folder)
    try:
        with proxy.client() as client:
            until(lambda: process.poll() is not None or client.get("/healthz").status_code == 200, "the proxy")
        assert process.poll() is None, (folder / "output").read_text()
        owner.reset()
        yield proxy
    finally:
        process.terminate()
        process.wait(30)


def operator(cluster: OwnerCluster) -> dict[str, str]:
    return {"X-Key": cluster.keys.operator}


def test_pages_and_who_may_ask_for_them(proxy: Proxy, owner: PlayedOwner) -> None:
    with proxy.client() as client:
        for page in ("/", "/desk", "/stage"):
            reply = client.get(page)
            assert reply.status_code == 200 and "text/html" in reply.headers["content-type"]
            assert reply.headers["strict-transport-security"] == "max-age=3600"
        script = client.get("/").text.partition('src="')[2].partition('"')[0].removeprefix(".")
        assert client.get(f"/{script.lstrip('/')}").headers["content-type"].startswith("text/javascript")
        assert client.get("/state").json()["phase"] == "waiting"
    # The owner is told the name that was asked for, whatever names the proxy answers to.
    elsewhere = httpx.get(f"{owner.address}/state", headers={"Host": "evil.example"})
    assert elsewhere.status_code == 421
    with proxy.client(Host="evil.example") as client:
        unknown = client.get("/state")
        assert unknown.status_code != 200 or unknown.content == b"", "what Caddy says of a name that is not its own"


def test_pages_of_other_sites_may_do_nothing(proxy: Proxy) -> None:
    with proxy.client() as client:
        for origin, status in (
            (f"https://{proxy.host}", 400),
            ("https://evil.example", 403),
            (f"https://{NAME}.evil", 403),
        ):
            assert client.post("/language", json={}, headers={"Origin": origin}).status_code == status
        forged = {"Origin": "https://evil.example", "X-Forwarded-Host": "evil.example"}
        assert client.post("/language", json={}, headers=forged).status_code == 403


def test_an_answer_arrives_while_it_is_made(proxy: Proxy, owner: PlayedOwner) -> None:
    owner.begin("de")
    owner.cluster.behave(words=WORDS, pause=0.2)
    with proxy.client() as client:
        names: list[str] = []
        with httpx_sse.connect_sse(client, "POST", "/chat", json={"prompt": "Was ist eine Sprache?"}) as source:
            for event in source.iter_sse():
                names.append(event.event)
                if names.count("token") == 1 and event.event == "token":
                    made = owner.cluster.stand_in_state()["under_way"]
    assert made == 1, "when its first token arrived, its end was not made"
    assert names.count("token") == len(WORDS) and names[-1] == "end"
    owner.end()


def test_the_event_stream_stays_open_and_carries_what_happens_later(proxy: Proxy, owner: PlayedOwner) -> None:
    with proxy.client() as client, client.stream("GET", "/events", params={"station": "a"}) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        lines = stream.iter_lines()
        began = time.monotonic()
        for line in lines:
            if line.startswith(": still here"):
                break
        silent = time.monotonic() - began
        assert silent > event_hub.KEEP_ALIVE_SECONDS / 2, "it was open and silent until the sign of life"
        owner.begin("de")
        for line in lines:
            if line == "event: run_started":
                break
    owner.end()


def test_the_stage_by_its_cookie_and_the_desk_by_its_pin(proxy: Proxy, owner: PlayedOwner) -> None:
    cluster = owner.cluster
    with proxy.client() as client:
        opened = client.get("/stage", params={"key": cluster.keys.stage})
        assert opened.status_code == 303 and "; Secure" in opened.headers["set-cookie"]
        assert client.get("/stage/runtime").json()["opened"]
        with httpx_sse.connect_sse(client, "GET", "/events") as source:
            assert next(source.iter_sse()).event == "state"
        login = client.post(
            "/desk/login", data={"pin": load_pin(cluster.paths)}, headers={"Origin": f"https://{proxy.host}"}
        )
        assert login.status_code == 303
        assert all("; Secure" in cookie for cookie in login.headers.get_list("set-cookie"))
        assert client.get("/desk/state").json()["run"]["phase"] == "waiting"
        assert client.get("/desk/diagnostics").content.startswith(b"PK")
    with proxy.client() as client:
        assert client.get("/desk/state").status_code == 401
        assert client.get("/events").status_code == 401


def guesses(client: httpx.Client, forged: bool = False) -> list[int]:
    """What a dozen wrong PINs get, as quickly as they can be sent."""
    statuses = []
    for number in range(12):
        headers = {"X-Forwarded-For": f"198.51.100.{number}"} if forged else {}
        statuses.append(client.post("/desk/login", json={"pin": "000000"}, headers=headers).status_code)
    return statuses


def test_wrong_pins_are_counted_by_the_address_that_the_proxy_has_seen(proxy: Proxy, owner: PlayedOwner) -> None:
    pin = {"pin": load_pin(owner.cluster.paths)}
    # Each proxy is tried from addresses of its own: the owner, who counts, is the same.
    first, second = (f"127.0.{proxy.port % 200 + 1}.{number}" for number in (2, 3))
    with proxy.client(first) as guesser:
        assert 429 in guesses(guesser, forged=True), "another address each time, by its own word"
        assert guesser.post("/desk/login", json=pin).status_code == 429
    with proxy.client(second) as visitor:
        assert visitor.post("/desk/login", json=pin).status_code == 200, "nobody waits for another's guesses"
    # Who comes around the proxy, from an address that is not listed, is believed nothing either.
    transport = httpx.HTTPTransport(local_address=f"127.0.{proxy.port % 200 + 1}.4")
    with httpx.Client(base_url=owner.address, transport=transport, headers={"Host": NAME}) as around:
        assert 429 in guesses(around, forged=True)
        stage = around.get("/stage", params={"key": owner.cluster.keys.stage}, headers={"X-Forwarded-Proto": "https"})
        assert "; Secure" not in stage.headers["set-cookie"] and "strict-transport-security" not in stage.headers


def test_no_address_is_trusted_and_nothing_is_written_down(proxy: Proxy, owner: PlayedOwner) -> None:
    owner.begin("de")
    with proxy.client() as client:
        again = client.post("/language", json={"language": "en"})
        assert again.status_code == 409, "a run under way is nobody's to restart"
        headers = operator(owner.cluster)
        assert client.post("/operator/start", json={"language": "en"}, headers=headers).status_code == 200
        canary = "Wortkanarienvogel"
        client.get("/stage", params={"key": canary})
        client.post("/chat", json={"prompt": canary, "station": "a"})
    written = {path.name: path.read_text(errors="replace") for path in proxy.logs.glob("*") if path.is_file()}
    assert "output" in written
    assert not [name for name, text in written.items() if canary in text or "127.0.0.1 -" in text]
    owner.end()
