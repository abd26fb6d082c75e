"""Behind a proxy that cuts what is silent for 100 s: nothing of the owner's is, however long it has nothing to say.

The owner's clock is put forward, and the proxy goes by the same clock.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator

import httpx
import pytest

from tests.owner.cutting_proxy import CuttingProxy, cutting_proxy
from tests.owner.owner_cluster import OwnerCluster
from tests.waiting import until

pytestmark = pytest.mark.process

CUT_SECONDS = 100.0
STEP_SECONDS = 16.0
"""One step past the owner's signs of life, which come every 15 s."""


class ClockOfOwner:
    """The owner's clock, as the proxy reads it."""

    def __init__(self, cluster: OwnerCluster) -> None:
        self._cluster, self._ahead = cluster, 0.0

    def __call__(self) -> float:
        return time.monotonic() + self._ahead

    def advance(self, seconds: float) -> None:
        self._ahead += seconds
        self._cluster.advance(seconds)


class Reply:
    """A request that is read in the background, so that a test can put the clock forward meanwhile."""

    def __init__(self, proxy: CuttingProxy, method: str, path: str, **more: object) -> None:
        self.body, self.status, self.broken = "", 0, False
        url = f"http://127.0.0.1:{proxy.port}{path}"
        self.thread = threading.Thread(target=self._read, args=(method, url, more), daemon=True)
        self.thread.start()

    def _read(self, method: str, url: str, more: dict[str, object]) -> None:
        try:
            with httpx.stream(method, url, timeout=120, **more) as response:  # type: ignore[arg-type]
                self.status = response.status_code
                for text in response.iter_text():
                    self.body += text
        except httpx.TransportError:
            self.broken = True

    def ended(self) -> bool:
        return not self.thread.is_alive()

    def until_more(self, clock: ClockOfOwner, seconds: float = STEP_SECONDS) -> None:
        """Put the clock forward by this long, and wait until something arrives."""
        before = len(self.body)
        clock.advance(seconds)
        until(lambda: len(self.body) > before or self.ended(), "a sign of life")
        assert not self.broken


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnerCluster]:
    # The run must outlast the clock's leaps.
    cluster = OwnerCluster(
        tmp_path_factory.mktemp("owner"), "forward clock", **{"finetuning.duration_of_a_run": 10_000_000.0}
    )
    try:
        yield cluster.start()
    finally:
        cluster.stop()


@pytest.fixture(scope="module")
def clock(cluster: OwnerCluster) -> ClockOfOwner:
    return ClockOfOwner(cluster)


@pytest.fixture(scope="module")
def proxy(cluster: OwnerCluster, clock: ClockOfOwner) -> Iterator[CuttingProxy]:
    with cutting_proxy(cluster.settings.general.owner_port, CUT_SECONDS, clock) as proxy:
        yield proxy


@pytest.fixture
def run(cluster: OwnerCluster) -> None:
    """A run is under way, and inference is there."""
    assert cluster.inference_process is not None
    if cluster.inference_process.poll() is not None:
        cluster.start_inference()
    cluster.behave(pause=0.0)
    until(lambda: cluster.state()["inference"] == "ready", "inference")
    if cluster.state()["phase"] == "waiting":
        cluster.begin()


def test_the_proxy_cuts_what_is_silent(cluster: OwnerCluster) -> None:
    seconds = [0.0]
    with httpx.Client(verify=False) as client, cutting_proxy(silent_port(), CUT_SECONDS, lambda: seconds[0]) as proxy:
        seen = threading.Event()

        def ask() -> None:
            with pytest.raises(httpx.TransportError):
                client.get(f"http://127.0.0.1:{proxy.port}/", timeout=60)
            seen.set()

        threading.Thread(target=ask, daemon=True).start()
        until(lambda: seconds.__setitem__(0, seconds[0] + 60.0) or proxy.cut or None, "the cut")
        assert seen.wait(60)


def silent_port() -> int:
    """Of a listener that never answers."""
    silent = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=lambda: [silent.accept() for _ in range(4)], daemon=True).start()
    port: int = silent.getsockname()[1]
    return port


@pytest.mark.usefixtures("run")
def test_an_event_stream_without_events_stays_open(
    cluster: OwnerCluster, clock: ClockOfOwner, proxy: CuttingProxy
) -> None:
    stream = Reply(proxy, "GET", "/events?station=silent")
    until(lambda: "event: state" in stream.body, "the state")
    for _ in range(8):
        stream.until_more(clock)
    assert not stream.ended()
    assert ": still here" in stream.body
    assert proxy.cut == 0


@pytest.mark.usefixtures("run")
def test_an_answer_that_breaks_off_is_waited_for_and_in_the_end_refused_in_words(
    cluster: OwnerCluster, clock: ClockOfOwner, proxy: CuttingProxy
) -> None:
    cluster.behave(pause=30.0)
    answer = Reply(proxy, "POST", "/chat", json={"prompt": "Was ist ein Haus?", "station": "a"})
    until(lambda: "event: token" in answer.body, "a token")
    cluster.kill_inference()
    until(lambda: cluster.state()["inference"] == "away", "the owner to see it")
    steps = 0
    while not answer.ended() and steps < 20:
        answer.until_more(clock)
        steps += 1
    assert steps * STEP_SECONDS > CUT_SECONDS
    assert "still here" in answer.body
    assert 'event: error\ndata: {"error":"The language model is away' in answer.body
    assert proxy.cut == 0


@pytest.mark.usefixtures("run")
def test_an_answer_that_cannot_begin_is_begun_without_words_and_comes_when_inference_is_back(
    cluster: OwnerCluster, clock: ClockOfOwner, proxy: CuttingProxy
) -> None:
    cluster.kill_inference()
    until(lambda: cluster.state()["inference"] == "away", "the owner to see it")
    heard_b, heard_c = (Reply(proxy, "GET", f"/events?station={station}") for station in "bc")
    until(lambda: "event: state" in heard_b.body and "event: state" in heard_c.body, "both stations' streams")
    answer = Reply(proxy, "POST", "/chat", json={"prompt": "Was ist ein Haus?", "station": "b"})
    gui = Reply(proxy, "POST", "/generate_gui", json={"prompt": "Was ist ein Haus?", "station": "c"})
    until(lambda: "event: prompt" in heard_b.body and "event: prompt" in heard_c.body, "the owner to have the prompts")
    clock.advance(61.0)
    until(lambda: answer.status and gui.status, "their status")
    for _ in range(2):
        answer.until_more(clock)
    cluster.start_inference()
    until(answer.ended, "the whole answer")
    until(gui.ended, "the whole reply")
    assert (answer.status, gui.status, proxy.cut) == (200, 200, 0)
    assert answer.body.startswith(": still here")
    assert "event: end" in answer.body
    assert gui.body.startswith(" ")
    assert set(json.loads(gui.body)) == {"text", "iteration"}


@pytest.mark.usefixtures("run")
def test_a_claim_ends_before_it_is_cut(cluster: OwnerCluster, clock: ClockOfOwner, proxy: CuttingProxy) -> None:
    job = cluster.claim()  # so that the next one waits
    before = proxy.requested
    claim = Reply(
        proxy,
        "POST",
        "/worker/claim",
        json={"worker": "other", "session": "s2", "shares_folder": True},
        headers={"X-Key": cluster.keys.worker},
    )
    until(lambda: proxy.requested > before, "the claim to be passed on")
    # Should the owner read it only after the first leap, it ends with the second one.
    for _ in range(2):
        clock.advance(26.0)
        assert cluster.step(
            job
        )  # keeps the lease of the round that is training, and shows that the owner goes by the new time
    until(claim.ended, "the claim's end")
    assert (claim.status, claim.broken, proxy.cut) == (204, False, 0)
