"""Two machines without machines: network namespaces of Linux, joined by a virtual cable each can be cut off by.  Needs root."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass, field

import pytest


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


@dataclass
class TwoMachines:
    """`head` and `node`, each with its own addresses; this one reaches the head, and the node reaches the head alone.

    Use as a context: both are gone afterwards.
    """

    number: int = field(default_factory=lambda: os.getpid() % 250)

    @property
    def head(self) -> str:
        return f"wmkml-head-{self.number}"

    @property
    def node(self) -> str:
        return f"wmkml-node-{self.number}"

    def address(self, cable: str, end: int) -> str:
        """`cable`: `here` between this machine and the head, `there` between head and node; ends 1 and 2."""
        return f"10.{213 if cable == 'here' else 214}.{self.number}.{end}"

    def within(self, machine: str) -> tuple[str, ...]:
        """The beginning of a command that runs on a machine."""
        return ("ip", "netns", "exec", machine)

    def cut(self, is_cut: bool) -> None:
        """Cut the node off, without a word to anybody, or connect it again."""
        ip("-n", self.node, "link", "set", f"wn{self.number}", "down" if is_cut else "up")

    def __enter__(self) -> TwoMachines:
        if os.geteuid() != 0 or shutil.which("ip") is None:
            pytest.skip("two network namespaces need root and ip (iproute2)")
        try:
            for machine in (self.head, self.node):
                ip("netns", "add", machine)
                ip("-n", machine, "link", "set", "lo", "up")
            self._connect(f"wt{self.number}", None, f"wh{self.number}", self.head, "here")
            self._connect(f"wg{self.number}", self.head, f"wn{self.number}", self.node, "there")
        except subprocess.CalledProcessError as error:
            self.__exit__()
            pytest.skip(f"two network namespaces cannot be made here: {error.stderr.strip()}")
        return self

    def _connect(self, first: str, first_machine: str | None, second: str, second_machine: str, cable: str) -> None:
        ip("link", "add", first, "type", "veth", "peer", "name", second)
        for end, (name, machine) in enumerate([(first, first_machine), (second, second_machine)], start=1):
            if machine is not None:
                ip("link", "set", name, "netns", machine)
            place = ["-n", machine] if machine is not None else []
            ip(*place, "addr", "add", f"{self.address(cable, end)}/24", "dev", name)
            ip(*place, "link", "set", name, "up")

    def __exit__(self, *_: object) -> None:
        # Their ends of the cables go with them.
        for machine in (self.head, self.node):
            subprocess.run(["ip", "netns", "delete", machine], check=False, capture_output=True)
