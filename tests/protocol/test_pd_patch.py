"""The Pd patch of the README, run by Pure Data: every address of the table arrives in it, and texts arrive whole."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.project.readme import commands
from tests.protocol.test_osc import SAMPLES, bound, free_udp_port
from wmkml.measures.registry import shown_in
from wmkml.protocol.osc import TABLE, OscSender

pytestmark = pytest.mark.process

PATCH = Path(__file__).parent.parent.parent / "examples" / "osc_receiver.pd"


@pytest.fixture
def pd(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """Pure Data with the patch open on a free port; yields the port and the file with its output."""
    (command,) = commands("background")
    assert shutil.which(shlex.split(command)[0]), "Pure Data is not installed (Debian: puredata-core)"
    port, copy, printed = free_udp_port(), tmp_path / PATCH.name, tmp_path / "printed"
    copy.write_text(PATCH.read_text(encoding="utf-8").replace("9000", str(port)), encoding="utf-8")
    with printed.open("wb") as out:
        process = subprocess.Popen(
            [str(copy) if word.endswith(PATCH.name) else word for word in shlex.split(command)],
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    while not bound(port):
        assert process.poll() is None, printed.read_text()
        time.sleep(0.05)
    yield port, printed
    process.kill()
    process.wait()


def test_every_address_arrives_in_the_patch(pd: tuple[int, Path]) -> None:
    port, printed = pd
    sender = OscSender([("127.0.0.1", port)])
    for row in TABLE.values():
        sender.send(row.address, *(SAMPLES[tag] for tag in row.types))
    sender.send("/heartbeat", 4711)
    sender.close()
    deadline = time.monotonic() + 20
    while "heartbeat: 4711" not in (text := printed.read_text(encoding="utf-8")) and time.monotonic() < deadline:
        time.sleep(0.05)
    addresses = {line.partition(":")[0] for line in text.splitlines()}
    assert {row.address.split("/")[1] for row in TABLE.values()} - addresses == set()
    assert "unknown" not in addresses
    assert f"prompt: {SAMPLES['s']}" in text
    of_measures = {
        line.split()[1]: float(line.split()[2]) for line in text.splitlines() if line.startswith("collapse:")
    }
    assert set(of_measures) == {measure.name for measure in shown_in("osc")}
    assert set(of_measures.values()) == {float(SAMPLES["f"])}
