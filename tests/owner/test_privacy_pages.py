"""The pages on privacy and the imprint, and that neither a visitor's words nor their address stay anywhere."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.owner.owner_cluster import OwnerCluster, started_cluster
from tests.waiting import until
from wmkml.config import Settings, load_settings
from wmkml.config.addresses import owner_url
from wmkml.owner.http.privacy_pages import retention

pytestmark = pytest.mark.process

CANARY = "Xylophonquappe"
ADDRESS = "127.0.0.77"
OWN = {
    "privacy.controller": "Kunsthaus <Beispiel> & Co\nGasse 1",
    "privacy.purpose": {"de": "Kunst", "en": "Art"},
    "privacy.imprint": "Kunsthaus, Gasse 1",
}


@pytest.fixture(scope="module")
def public_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnerCluster]:
    """A cluster that has words for both pages, and a line of help."""
    more = {"decency.help_line": {"de": "Sprich mit jemandem."}, "decency.visitor": True, "decency.training": True}
    with started_cluster(tmp_path_factory.mktemp("public"), **OWN, **more) as cluster:
        yield cluster


def test_the_pages_say_what_the_settings_say(public_cluster: OwnerCluster) -> None:
    german = public_cluster.owner.get("/privacy")
    assert german.headers["content-type"].startswith("text/html") and "default-src 'none'" in str(german.headers)
    assert "Kunsthaus &lt;Beispiel&gt; &amp; Co" in german.text and "<p>Kunst</p>" in german.text
    assert "höchstens 30 Minuten" in german.text and "Rechtsgrundlage" not in german.text
    english = public_cluster.owner.get("/privacy?language=en").text
    assert 'lang="en"' in english and "<p>Art</p>" in english and "at most 30 minutes" in english
    assert "Impressum" in public_cluster.owner.get("/imprint").text
    assert public_cluster.state()["legal_pages"] == ["privacy", "imprint"]


def test_what_is_said_of_keeping_follows_the_settings() -> None:
    def in_english(**general: bool) -> str:
        return retention(load_settings(None, overrides=general))["en"]

    assert "at most 23 minutes in which the installation is on" in retention(Settings())["en"]
    assert "höchstens 23 Minuten, in denen die Installation läuft" in retention(Settings())["de"]
    assert "until the controller deletes" in in_english(**{"general.keep_runs": True})
    assert "later runs" in in_english(**{"finetuning.delete_live_questions_at_start": False})


def test_without_words_for_them_there_are_no_pages(cluster: OwnerCluster) -> None:
    assert cluster.owner.get("/privacy").status_code == cluster.owner.get("/imprint").status_code == 404
    assert cluster.state()["legal_pages"] == []


def test_neither_words_nor_addresses_stay_when_a_run_is_over(public_cluster: OwnerCluster) -> None:
    cluster = public_cluster
    cluster.begin()
    transport = httpx.HTTPTransport(local_address=ADDRESS)
    with httpx.Client(base_url=owner_url(cluster.settings), transport=transport, timeout=60) as visitor:
        for prompt in (f"{CANARY} sagt Arschloch", f"Ich will nicht mehr leben, {CANARY}"):
            reply = visitor.post("/chat", json={"prompt": prompt, "station": "a"})
            assert reply.status_code == 200 and "event: end" in reply.text
        assert visitor.get(f"/privacy?language={CANARY[:16]}").status_code == 200
        assert visitor.get(f"/{CANARY}").status_code == 404
        assert visitor.post("/chat", content=CANARY).status_code == 400
        assert visitor.post("/desk/login", json={"pin": CANARY}).status_code == 401
        assert visitor.post("/desk/remove_pair", json={"pair": CANARY}).status_code == 401
        refused = visitor.post("/station", json={"station": CANARY})
        assert CANARY not in refused.text
    assert cluster.end().status_code == 200
    cluster.until_phase("waiting")

    def files_left() -> list[str]:
        paths = [path for path in cluster.folder.rglob("*") if path.is_file()]
        return [path.name for path in paths if CANARY.encode() in path.read_bytes()]

    until(lambda: files_left() == [], "no file with the words")
    log = cluster.log.read_text(encoding="utf-8")
    assert CANARY not in log and ADDRESS not in log
    assert log  # at the level DEBUG, it says something
