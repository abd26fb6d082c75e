"""The question at the installation: what a room may hear repeated.  Asked once, at a terminal alone; the answer goes into config.yaml.

Whoever shows the work decides (docs/decency.md), so nothing is switched on by itself, and an empty answer is a no.  config.yaml is
the operator's: `update` and `rollback` keep it as it is.  That the question was answered stands in the data folder, since an older
version of the program would refuse a setting that it does not know.  Standard library only.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

SWITCHES = {
    "visitor": ("In den Antworten, die man liest?", "In the answers that visitors read?"),
    "stage": ("Auf der Bühne und in OSC?", "On the stage and in OSC?"),
    "card": ("Auf der Karte zum Mitnehmen?", "On the take-home card?"),
    "training": ("Soll ohne solche Worte trainiert werden?", "Shall training do without such words?"),
}
"""The switches of `decency`, with the question in German and English."""

MARKER = "decency_asked.txt"
"""In the data folder: `wmkml.config.paths.Paths.decency_answer`."""

INTRODUCTION = """
Menschen schreiben auch Schimpfworte, und das Modell wiederholt sie in den Raum. Wortlisten können sie durch … ersetzen.
Das wird einmal gefragt; später steht es in config.yaml unter decency. Eingabetaste: nein.
People write swear words too, and the model repeats them to the room. Word lists can replace them by ….
This is asked once; later it is in config.yaml under decency. Enter: no.
"""

YES, NO = ("j", "ja", "y", "yes"), ("", "n", "nein", "no")


class CannotWriteError(RuntimeError):
    """The answer cannot be written into the config file.  The text says why, and what to do."""


def ask_once(config: Path, ask: Callable[[str], str] = input) -> None:
    """Ask which switches to turn on, unless that is decided already or nobody sits at a terminal.

    Args:
        config: the config file; without one nothing is asked.
        ask: shows a question and returns the answer.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()) or not config.is_file():
        return
    text = _read(config)
    marker = config.parent / _data_folder(text) / MARKER
    if marker.exists() or switched_on(text):
        return
    try:
        print(INTRODUCTION)
        chosen = [name for name, (german, english) in SWITCHES.items() if _yes(ask, f"{german} / {english} [j/y/N] ")]
        switch_on(config, chosen)
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.write_text("".join(f"{name}\n" for name in chosen), encoding="utf-8")
    except (EOFError, KeyboardInterrupt):
        print("\nSpäter / later: ./master_script.sh install")
    except (CannotWriteError, OSError) as error:
        print(error, file=sys.stderr)
    else:
        names = ", ".join(chosen)
        print(f"Eingeschaltet / on: {names} ({config.name})" if chosen else "Alles bleibt aus. / All of it stays off.")


def _yes(ask: Callable[[str], str], question: str) -> bool:
    while (answer := ask(question).strip().lower()) not in (*YES, *NO):
        pass
    return answer in YES


def switched_on(text: str) -> list[str]:
    """The switches that a config file's text turns on."""
    lines = text.splitlines()
    return [name for name in SWITCHES for line in _block(lines) if re.match(rf"\s+{name}:\s*true\b", lines[line])]


def switch_on(config: Path, names: Iterable[str]) -> None:
    """Turn these switches on in a config file, and leave every other byte of it as it is.

    Raises:
        CannotWriteError: its `decency` is written in another way than line by line.
        OSError: it cannot be written.
    """
    text = _read(config)
    newline = "\r\n" if "\r\n" in text else "\n"
    lines = text.splitlines(keepends=True)
    if any(re.match(r"decency:\s*[^\s#]", line) for line in lines):
        raise CannotWriteError(f"{config}: decency stands in one line; write there: {', '.join(names)}: true.")
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += newline
    if not any(line.startswith("decency:") for line in lines):
        lines += [newline, f"decency:{newline}"]
    for name in names:
        block = list(_block(lines))
        place = next((line for line in block if re.match(rf"\s+{name}:", lines[line])), None)
        if place is None:
            lines.insert(block[0] if block else len(lines), f"  {name}: true{newline}")
        else:
            lines[place] = re.sub(rf"(\s+{name}:\s*)[^\s#]*", r"\1true", lines[place], count=1)
    changed = "".join(lines)
    if list(names) and changed != text:
        _replace(config, changed)


def _block(lines: list[str]) -> range:
    """The indices of the lines of `decency`, without its first."""
    first = next((number for number, line in enumerate(lines) if line.startswith("decency:")), len(lines))
    last = next((number for number in range(first + 1, len(lines)) if re.match(r"[^\s#]", lines[number])), len(lines))
    return range(min(first + 1, len(lines)), last)


def _data_folder(text: str) -> str:
    named = re.search(r"^\s+data_folder:\s*[\"']?([^\"'#\n]+)", text, re.MULTILINE)
    return named[1].strip() if named else "data"


def _read(config: Path) -> str:
    # As bytes: reading as text would turn a file's line ends into others.
    return config.read_bytes().decode("utf-8")


def _replace(config: Path, text: str) -> None:
    temporary = config.with_name(f"{config.name}.new")
    temporary.write_bytes(text.encode("utf-8"))
    shutil.copymode(config, temporary)
    temporary.replace(config)
