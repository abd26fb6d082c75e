"""Tells the owner what the stage's machine plays to and how loud, so that a projection without sound is noticed."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable

import httpx

from wmkml.access.key_header import KeyHeader
from wmkml.protocol.opening import SoundReport
from wmkml.system.sound.output import SoundOutput, SoundUnknownError, sound_output

REPORT_SECONDS = 30.0
"""How often it is looked: an opening, or a knob that somebody turned, is noticed within this time."""

SENDING_SECONDS = 5.0


class SoundReporter:
    """A thread that looks and tells, from `start` until `stop` is set."""

    def __init__(
        self,
        owner: str,
        stage_key: Callable[[], str],
        verify: ssl.SSLContext | bool,
        report: Callable[[str], None],
        look: Callable[[], SoundOutput] = sound_output,
    ) -> None:
        """`report` gets a line where the sound system does not answer, once."""
        self._address, self._auth, self._verify = f"{owner}/stage/sound", KeyHeader(stage_key), verify
        self._report, self._look = report, look
        self._unknown = ""

    def start(self, stop: threading.Event) -> threading.Thread:
        """Look now and every REPORT_SECONDS."""
        thread = threading.Thread(target=self._run, args=(stop,), name="sound", daemon=True)
        thread.start()
        return thread

    def look_once(self) -> bool:
        """Look and tell; whether the owner knows."""
        try:
            output = self._look()
            content = SoundReport(device=output.device, volume=output.volume, muted=output.muted)
        except SoundUnknownError as error:
            if str(error) != self._unknown:
                self._report(f"Whether the stage can be heard is not known. {error}")
            content = SoundReport(unknown=str(error))
        self._unknown = content.unknown
        try:
            reply = httpx.post(
                self._address,
                content=content.model_dump_json(),
                headers={"Content-Type": "application/json"},
                auth=self._auth,
                verify=self._verify,
                timeout=SENDING_SECONDS,
                trust_env=False,
            )
        except httpx.HTTPError:
            return False  # the screens are black then, which says it
        return reply.status_code == 200

    def _run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            self.look_once()
            stop.wait(REPORT_SECONDS)
