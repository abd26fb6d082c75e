"""A program: the launcher with stand-ins for the services, to test supervision without a model.

`python -m tests.launcher.standin_cluster launch CONFIG` launches; the other commands run the stand-ins.
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

ROOT = Path(__file__).parent.parent.parent


def standin_command(*words: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "tests.launcher.standin_cluster", *words)


def launch_standins(config: str) -> int:
    # Here, since the stand-ins need none of it: supervision starts many, and importing it is all that each would do.
    from wmkml.config.addresses import owner_url
    from wmkml.config.arguments import add_settings_arguments
    from wmkml.launcher.launch import CannotStartError, launch, plan_of
    from wmkml.launcher.machine import detect_machine, resolve_settings
    from wmkml.launcher.services import Service, owner_pending_reason
    from wmkml.launcher.supervision.configuration import Program

    parser = argparse.ArgumentParser()
    add_settings_arguments(parser)
    machine = detect_machine({"WMKML_GPUS": "0"})
    resolved = resolve_settings(parser.parse_args(["--config", config]), machine)
    plan = plan_of(resolved, machine)
    folder = Path(config).parent
    url = owner_url(plan.settings)
    services = [
        Service(
            Program("owner", standin_command("serve", str(plan.settings.general.owner_port))),
            lambda: owner_pending_reason(url),
        ),
        Service(
            Program("engine", standin_command("engine", str(folder / "engine.json"))),
            lambda: None if (folder / "engine.json").is_file() else "starts its child",
        ),
        # Exits at once until the file exists; supervisor gives up after the first exit.
        Service(Program("late", standin_command("late", str(folder / "now")), retries=0), lambda: None),
    ]
    try:
        return launch(plan, services)
    except CannotStartError as error:
        print(f"Nothing was started.\n{error}", file=sys.stderr)
        return 1


class HealthHandler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps({"ok": True, "pid": os.getpid()}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        print("asked", flush=True)


def engine(report: Path) -> None:
    """Starts a child like an engine's: in a session of its own, ignoring SIGTERM, surviving a kill -9 of its parent."""
    program = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    child = subprocess.Popen([sys.executable, "-c", program], start_new_session=True)
    report.write_text(json.dumps({"pid": os.getpid(), "child": child.pid}))
    signal.pause()


def late(permission: Path) -> None:
    if not permission.is_file():
        sys.exit("There is no permission.")
    permission.with_name("late.pid").write_text(str(os.getpid()))
    time.sleep(600)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["launch", config]:
            sys.exit(launch_standins(config))
        case ["serve", port]:
            http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), HealthHandler).serve_forever()
        case ["engine", report]:
            engine(Path(report))
        case ["late", permission]:
            late(Path(permission))
        case words:
            sys.exit(f"unknown: {words}")
