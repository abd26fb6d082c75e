"""Making `env/`, also with a Python that Debian ships without `ensurepip`, and finding pip for it.

Standard library alone.  Where pip is missing, its wheel is fetched from the configured index (`PIP_INDEX_URL`, pip's own
config files, else PyPI) and installs itself.  Knows nothing of what is installed afterwards.
"""

from __future__ import annotations

import configparser
import hashlib
import html.parser
import importlib.util
import os
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
import urllib.error
import urllib.parse
import urllib.request
import urllib.response
from collections.abc import Callable, Mapping
from pathlib import Path

Say = Callable[[str], None]

PYPI = "https://pypi.org/simple"
WHEEL = re.compile(r"pip-(\d+(?:\.\d+)*)-py3-none-any\.whl")


class CannotMake(RuntimeError):
    """`env/` cannot be made here.  Its text says what is missing and how to get it."""


def python_of(env: Path) -> Path:
    """The Python of an environment."""
    return env / "bin" / "python"


def works(env: Path) -> bool:
    """Whether an environment's Python runs and has pip; a half-made one, or one whose Python was removed, does not."""
    if not python_of(env).is_file():
        return False
    done = subprocess.run([python_of(env), "-m", "pip", "--version"], capture_output=True, check=False)
    return done.returncode == 0


def make(env: Path, say: Say) -> None:
    """Make the environment with the Python that runs this.

    Raises:
        CannotMake: `venv` is missing and cannot be installed, or pip cannot be fetched.
    """
    if env.exists():
        shutil.rmtree(env)
    if importlib.util.find_spec("venv") is None:
        _install_debian_venv(say)
    if has_ensurepip():
        done = subprocess.run([sys.executable, "-m", "venv", str(env)], capture_output=True, text=True, check=False)
        if done.returncode == 0 and works(env):
            return
        say("This Python's own pip cannot be used; fetching pip.")
        shutil.rmtree(env, ignore_errors=True)
    else:
        say("This Python comes without ensurepip (Debian keeps it in python3-venv); fetching pip.")
    _run([sys.executable, "-m", "venv", "--without-pip", str(env)], "the environment")
    with tempfile.TemporaryDirectory(prefix="wmkml-pip-") as folder:
        wheel = fetch_pip(Path(folder), say)
        # A wheel of pip can be run where it lies, and so installs itself.
        _run([str(python_of(env)), f"{wheel}/pip", "install", "--quiet", "--no-index", str(wheel)], "pip")


def has_ensurepip() -> bool:
    """Whether this Python can put pip into an environment by itself."""
    return importlib.util.find_spec("ensurepip") is not None


def _install_debian_venv(say: Say) -> None:
    package = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
    apt = shutil.which("apt-get")
    if apt is None or os.geteuid() != 0:
        raise CannotMake(
            f"{sys.executable} has no venv. On Debian and Ubuntu: sudo apt-get install {package}; then call this again."
        )
    say(f"This Python has no venv; installing {package} with apt-get.")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run([apt, "update", "-q"], env=environment, capture_output=True, check=False)
    done = subprocess.run(
        [apt, "install", "-y", "-q", package], env=environment, capture_output=True, text=True, check=False
    )
    importlib.invalidate_caches()
    if done.returncode != 0 or importlib.util.find_spec("venv") is None:
        raise CannotMake(f"{package} could not be installed with apt-get: {_last_line(done.stderr or done.stdout)}")


def _run(command: list[str], what: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CannotMake(f"{what} could not be made in env/: {_last_line(done.stderr or done.stdout)}")


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "no reason was given"


def fetch_pip(folder: Path, say: Say, environment: Mapping[str, str] | None = None) -> Path:
    """Fetch the newest wheel of pip into a folder and check it; returns its path.

    Raises:
        CannotMake: the index cannot be reached, has no wheel, or the wheel is damaged.
    """
    environment = os.environ if environment is None else environment
    index = index_url(environment)
    page_url = f"{index.rstrip('/')}/pip/"
    say(f"Fetching pip from {without_password(index)}.")
    context = _certificates(environment)
    try:
        with _open(page_url, context) as page:
            links = _Links(page.geturl())
            links.feed(page.read().decode("utf-8"))
        if (link := newest(links.found)) is None:
            raise CannotMake(f"{without_password(index)} has no wheel of pip; check PIP_INDEX_URL.")
        address, _, fragment = link.partition("#")
        with _open(address, context) as answer:
            content = answer.read()
    except (urllib.error.URLError, OSError) as error:
        reason = getattr(error, "reason", error)
        raise CannotMake(
            f"{without_password(index)} cannot be reached ({reason}). Check the network, or PIP_INDEX_URL; "
            "or install python3-venv, which brings pip along."
        ) from None
    kind, _, expected = fragment.partition("=")
    if kind == "sha256" and hashlib.sha256(content).hexdigest() != expected:
        raise CannotMake("pip was damaged on its way. Call this again.")
    wheel = folder / urllib.parse.unquote(address.rpartition("/")[2])
    wheel.write_bytes(content)
    return wheel


def newest(links: list[str]) -> str | None:
    """Of an index page's links, that of the newest final wheel of pip."""
    found = []
    for link in links:
        match = WHEEL.fullmatch(urllib.parse.unquote(link.partition("#")[0].rpartition("/")[2]))
        if match:
            found.append((tuple(map(int, match[1].split("."))), link))
    return max(found)[1] if found else None


def index_url(environment: Mapping[str, str]) -> str:
    """The package index that pip itself would use."""
    return environment.get("PIP_INDEX_URL") or _configured("index-url", environment) or PYPI


def without_password(url: str) -> str:
    """An address fit for a log."""
    parts = urllib.parse.urlsplit(url)
    return urllib.parse.urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _configured(key: str, environment: Mapping[str, str]) -> str | None:
    home = Path(environment.get("HOME", "/"))
    files = [
        Path("/etc/pip.conf"),
        home / ".pip" / "pip.conf",
        Path(environment.get("XDG_CONFIG_HOME") or home / ".config") / "pip" / "pip.conf",
        *([Path(environment["PIP_CONFIG_FILE"])] if environment.get("PIP_CONFIG_FILE") else []),
    ]
    value = None
    for file in files:
        config = configparser.RawConfigParser()
        try:
            config.read(file, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError, OSError):
            # pip itself will name the mistake; finding the index must not fail on it.
            continue
        for section in ("global", "install"):
            value = config.get(section, key, fallback=value)
    return value


def _certificates(environment: Mapping[str, str]) -> ssl.SSLContext:
    own = environment.get("PIP_CERT") or _configured("cert", environment) or environment.get("REQUESTS_CA_BUNDLE")
    return ssl.create_default_context(cafile=own if own and Path(own).is_file() else None)


def _open(url: str, context: ssl.SSLContext) -> urllib.response.addinfourl:
    # Some indexes answer JSON unless asked for a page.
    request = urllib.request.Request(url, headers={"Accept": "text/html, */*;q=0.1", "User-Agent": "pip-bootstrap"})
    answer: urllib.response.addinfourl = urllib.request.urlopen(request, timeout=60, context=context)
    return answer


class _Links(html.parser.HTMLParser):
    """The addresses of all links of a page, made whole."""

    def __init__(self, base: str) -> None:
        super().__init__()
        self.base, self.found = base, list[str]()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if tag == "a" and name == "href" and value:
                self.found.append(urllib.parse.urljoin(self.base, value))
