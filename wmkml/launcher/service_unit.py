"""`./master_script.sh --install-service`: a systemd unit that starts the installation at boot and again whenever it fails.

As root the unit is the system's, for the user who owns the checkout; otherwise it is the user's own, and lingers so that it starts
without a login.  Where no systemd runs, as in most pods, nothing is written: `scripts/keep-running` does the same there.

Two lines of the unit hold promises: `Restart=on-failure` leaves an installation alone that was ended on purpose (the launcher exits
with 0 then, also by `./master_script.sh stop`), and `KillMode=mixed` has the kernel's control group end every process that a killed
launcher left, so that no engine keeps a GPU's memory.
"""

from __future__ import annotations

import os
import pwd
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from wmkml.install.running import UNIT

RESTART_SECONDS = 3
"""Seconds before it is started again: visitors wait for it, and a wrong setting shall not fill the journal."""

STOP_SECONDS = 90
"""Seconds that the launcher may take to end its services; it takes up to 60."""

WITHOUT_SYSTEMD = """No systemd runs here (as in most containers), so nothing was installed. The same without it:
    {keep_running}
starts the installation, and again whenever it fails. Make it the start command of the pod; with cron, `crontab -e` and the line
    @reboot {keep_running}"""


def unit_text(project: Path, arguments: Sequence[str], user: str | None) -> str:
    """The unit for a checkout.

    Args:
        arguments: of `master_script.sh`.
        user: who runs it; None in a user's own unit.
    """
    command = " ".join(map(_quoted, [str(project / "master_script.sh"), *arguments]))
    account = [f"User={user}"] if user is not None else []
    lines = [
        "[Unit]",
        "Description=Watch me kill my language",
        "Documentation=" + _escaped(f"file://{project}/BETRIEB.md").replace(" ", "%%20"),
        "Wants=network-online.target",
        "After=network-online.target nvidia-persistenced.service",
        "# For ever: no number of failures is too many.",
        "StartLimitIntervalSec=0",
        "",
        "[Service]",
        *account,
        f"WorkingDirectory={_escaped(str(project))}",
        f"ExecStart={command}",
        "# Not after ./master_script.sh stop, which ends it with 0.",
        "Restart=on-failure",
        f"RestartSec={RESTART_SECONDS}",
        "# Whatever a killed launcher leaves is ended with it: no engine keeps a GPU's memory.",
        "KillMode=mixed",
        f"TimeoutStopSec={STOP_SECONDS}",
        "# The launcher restarts a service that was killed for memory; the rest goes on.",
        "OOMPolicy=continue",
        "LimitNOFILE=65536",
        "",
        "[Install]",
        f"WantedBy={'multi-user.target' if user is not None else 'default.target'}",
        "",
    ]
    return "\n".join(lines)


def _escaped(text: str) -> str:
    """`%` begins a specifier in a unit."""
    return text.replace("%", "%%")


def _quoted(word: str) -> str:
    """A word of a command as systemd.syntax(7) and systemd.service(5) read it: quoted, `%` and `$` doubled."""
    escaped = _escaped(word).replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    return f'"{escaped}"'


def install_service(
    project: Path, arguments: Sequence[str], root: Path = Path("/"), home: Path | None = None
) -> tuple[int, str]:
    """Write the unit and enable it; it starts with the next boot, or at once by the command that the text names.

    Args:
        project: the checkout.
        arguments: of `master_script.sh`.
        root: where `run/systemd` and `etc/systemd` are looked up.
        home: of the user, where the unit is the user's own.

    Returns:
        The exit status, and what to tell the operator.
    """
    if not (root / "run/systemd/system").is_dir():
        keep_running = shlex.join([str(project / "scripts/keep-running"), *arguments])
        return 1, WITHOUT_SYSTEMD.format(keep_running=keep_running)
    as_root = os.geteuid() == 0
    owner = _name_of(project.stat().st_uid)
    folder = root / "etc/systemd/system" if as_root else (home or Path.home()) / ".config/systemd/user"
    path = folder / UNIT
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(unit_text(project, arguments, owner if as_root else None), encoding="utf-8")
    except OSError as error:
        return (
            1,
            f"{path} cannot be written ({error.strerror}). As root it is the system's: sudo ./master_script.sh --install-service",
        )
    systemctl = ["systemctl"] if as_root else ["systemctl", "--user"]
    commands = [[*systemctl, "daemon-reload"], [*systemctl, "enable", UNIT]]
    if not as_root:
        commands.append(["loginctl", "enable-linger"])
    for command in commands:
        problem = _problem(command)
        if problem:
            return 1, f"{path} is written, but `{' '.join(command)}` failed: {problem}"
    control = " ".join([*(["sudo"] if as_root else []), *systemctl])
    return 0, (
        f"{path} is written and enabled: the installation starts with the machine, and again whenever it fails.\n"
        f"    {control} start {UNIT}      start it now\n"
        f"    {control} stop {UNIT}       end it until the next boot\n"
        f"    {control} disable {UNIT}    do not start it at boot any more"
    )


def _name_of(user: int) -> str:
    """A user's name; the number, which systemd takes too, where it has none: in a container, or on a disk from elsewhere."""
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)


def _problem(command: Sequence[str]) -> str:
    """What a command printed if it failed, else nothing."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        return error.strerror or str(error)
    return "" if done.returncode == 0 else (done.stderr.strip() or f"status {done.returncode}")
