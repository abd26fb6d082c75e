"""A program: the launcher with stand-ins for the services, so that supervision can be tried without a model.

`python -m tests.standin_cluster launch CONFIG` launches; the other words are the stand-ins themselves.
"""

from __future__ import annotations

import argparse
import http.server
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from wmkml.addresses import owner_url
from wmkml.cluster.arguments import add_settings_arguments, resolve
from wmkml.cluster.launching import CannotStart, launch, plan_of
from wmkml.cluster.machine import detect
from wmkml.cluster.services import Service, owner_missing
from wmkml.cluster.supervision import Program

ROOT = Path(__file__).parent.parent


def me(*words: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "tests.standin_cluster", *words)


def launch_standins(config: str) -> int:
    parser = argparse.ArgumentParser()
    add_settings_arguments(parser)
    machine = detect({"WMKML_GPUS": "0"})
    resolved = resolve(parser.parse_args(["--config", config]), machine)
    plan = plan_of(resolved, machine)
    folder = Path(config).parent
    url = owner_url(plan.settings)
    services = [
        Service(Program("owner", me("serve", str(plan.settings.general.owner_port))), lambda: owner_missing(url)),
        Service(
            Program("engine", me("engine", str(folder / "engine.json"))),
            lambda: None if (folder / "engine.json").is_file() else "starts its child",
        ),
        # Ends at once until somebody makes the file; supervisor gives up after the first time.
        Service(Program("late", me("late", str(folder / "now")), retries=0), lambda: None),
    ]
    try:
        return launch(plan, services)
    except CannotStart as error:
        print(f"Nothing was started.\n{error}", file=sys.stderr)
        return 1


class Answering(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps({"ok": True, "pid": os.getpid()}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        print("asked", flush=True)


def engine(report: Path) -> None:
    """Has a child as an engine has: in a session of its own, deaf to SIGTERM, outliving its parent's kill -9."""
    program = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    child = subprocess.Popen([sys.executable, "-c", program], start_new_session=True)
    report.write_text(json.dumps({"pid": os.getpid(), "child": child.pid}))
    signal.pause()


def late(permission: Path) -> None:
    if not permission.is_file():
        sys.exit(1)
    permission.with_name("late.pid").write_text(str(os.getpid()))
    time.sleep(600)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["launch", config]:
            sys.exit(launch_standins(config))
        case ["serve", port]:
            http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), Answering).serve_forever()
        case ["engine", report]:
            engine(Path(report))
        case ["late", permission]:
            late(Path(permission))
        case words:
            sys.exit(f"unknown: {words}")
