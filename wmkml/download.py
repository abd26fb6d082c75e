"""Fetches a model from the hub into a plain folder: only what is needed, with progress, and on from where it broke off.

The hub's own client lists the files, builds their addresses and headers and names its refusals.  The bytes are streamed
here, because that client writes every attempt to a new temporary file and so begins 14 GB again after an interruption.
Each file is streamed to `<folder>/.download/`, checked against the hub's checksum and only then renamed into place.
Knows no config and no engine.  No token ever stands in what it reports or raises.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx2
from filelock import FileLock, Timeout
from huggingface_hub import HfApi, constants, get_session, get_token, hf_hub_url
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)
from huggingface_hub.utils import hf_raise_for_status  # type: ignore[attr-defined]  # exported lazily

from wmkml.model_files import UNFINISHED, folder_of, is_complete, needed

__all__ = ["RECORD", "DownloadError", "download", "folder_of", "is_complete"]

RECORD = "download.json"
"""What came from where: model, commit, and every file's size and checksum; beside the files."""

TIMEOUT = httpx2.Timeout(30.0)

Report = Callable[[str], None]


class DownloadError(Exception):
    """A model could not be fetched.  Its text is a sentence for the operator: what, where, what to do."""


@dataclass(frozen=True)
class _File:
    """A file of the repository: its size in bytes, and the hub's checksum (sha256 if large, else git's blob id)."""

    name: str
    size: int
    checksum: str

    @property
    def record(self) -> dict[str, int | str]:
        return {"size": self.size, "checksum": self.checksum}


@dataclass(frozen=True)
class _Order:
    """What is fetched, from where and whereto, and how one hears of it; see `download` for the fields."""

    model_id: str
    hub: str
    token: str
    folder: Path
    report: Report
    progress: Report
    every: float
    patience: int

    def part(self, file: _File) -> Path:
        """Where a file is while it is not whole; the checksum keeps a part of an older version from being taken up."""
        return self.folder / UNFINISHED / f"{file.name}.{file.checksum[:16]}.part"


class _Meter:
    """Counts bytes and says, every few seconds, how far it is."""

    def __init__(self, total: int, done: int, report: Report, every: float) -> None:
        self.total, self.done, self.report, self.every = total, done, report, every
        self.shown_at, self.shown = time.monotonic(), done

    def add(self, count: int, name: str) -> None:
        self.done += count
        seconds = time.monotonic() - self.shown_at
        if seconds < self.every:
            return
        rate = max(0, self.done - self.shown) / seconds
        left = f", {_duration((self.total - self.done) / rate)} left" if rate else ""
        share = 100 * self.done // self.total if self.total else 100
        self.report(f"{share:3d} %  {_size(self.done)} of {_size(self.total)}, {_size(rate)}/s{left}  {name}")
        self.shown_at, self.shown = time.monotonic(), self.done


def download(
    model_id: str,
    folder: Path,
    token: str = "",
    endpoint: str | None = None,
    report: Report = print,
    *,
    progress: Report | None = None,
    every: float = 5.0,
    patience: int = 5,
) -> Path:
    """Fetch a model into `folder` and return it.  What is there already, whole and current, is not fetched again.

    Args:
        model_id: as the hub names it, `org/name`.
        folder: made if absent.
        token: for gated models; without one, `HF_TOKEN` or a login of the hub's own command is used.
        endpoint: another hub; without one, `HF_ENDPOINT` or huggingface.co.
        report: called with every line for the operator.
        progress: called with the lines that say how far it is; without one, they go to `report`.
        every: seconds between two lines of progress.
        patience: how often in a row a connection may break off without having brought a byte.

    Raises:
        DownloadError: no such model, gated, no network, no room on the disk, no model in our sense, a damaged file.
    """
    hub = (endpoint or os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/")
    token = token or get_token() or ""
    order = _Order(model_id, hub, token, folder, report, progress or report, every, patience)
    try:
        commit, files = _listing(order)
        folder.mkdir(parents=True, exist_ok=True)
        # The folder of unfinished files is what tells `is_complete` of an interruption, so it goes last.
        unfinished = folder / UNFINISHED
        unfinished.mkdir(exist_ok=True)
        with FileLock(unfinished / "lock", timeout=0):
            _fetch_all(order, commit, files)
            shutil.rmtree(unfinished)
    except Timeout:
        raise DownloadError(f"Another download into {folder} is under way; wait for it or end it.") from None
    except (HfHubHTTPError, HFValidationError, OfflineModeIsEnabled, httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise DownloadError(_sentence(error, model_id, hub, bool(token))) from None
    except OSError as error:
        raise DownloadError(f"{folder} cannot be written: {error.strerror or 'no reason given'}.") from None
    report(f"{model_id} is complete: {_size(sum(file.size for file in files))} in {folder}.")
    return folder


def _listing(order: _Order) -> tuple[str, list[_File]]:
    """The commit that is current, and the files that are needed of it."""
    hub, model_id = order.hub, order.model_id
    api = HfApi(endpoint=hub, token=order.token or False)
    try:
        info = api.model_info(model_id, revision="main", files_metadata=True, timeout=30.0)
    except (KeyError, TypeError, json.JSONDecodeError):
        raise DownloadError(f"{hub} does not answer as a model hub does; check HF_ENDPOINT.") from None
    siblings = {sibling.rfilename: sibling for sibling in info.siblings or []}
    names = needed(siblings)
    if "config.json" not in names:
        raise DownloadError(f"{model_id} has no config.json: it is no model that can be loaded. Choose another.")
    if not any(name.endswith(".safetensors") for name in names):
        raise DownloadError(f"{model_id} has no weights as safetensors. Choose a model that has, or convert it.")
    files = []
    for name in names:
        entry = siblings[name]
        size = entry.lfs.size if entry.lfs else entry.size
        checksum = entry.lfs.sha256 if entry.lfs else entry.blob_id
        if info.sha is None or size is None or checksum is None:
            raise DownloadError(f"{hub} tells no commit, size or checksum of {name}; check HF_ENDPOINT.")
        files.append(_File(name, size, checksum))
    return str(info.sha), files


def _fetch_all(order: _Order, commit: str, files: list[_File]) -> None:
    """Fetch what the folder lacks, one file after the other, and note each in the record as it is put in place."""
    record = order.folder / RECORD
    known = json.loads(record.read_text(encoding="utf-8"))["files"] if record.is_file() else {}
    for file in files:
        # A file of the right size that no record vouches for was put there by hand: its checksum decides.
        path = order.folder / file.name
        if _length(path) != file.size or (known.get(file.name) != file.record and not _intact(path, file, order)):
            known.pop(file.name, None)
        else:
            known[file.name] = file.record
    missing = [file for file in files if file.name not in known]
    todo = sum(file.size for file in missing)
    there = sum(_length(order.part(file)) for file in missing)
    _check_room(order, todo - there)
    if missing:
        so_far = f", {_size(there)} of it already here" if there else ""
        order.report(f"Fetching {len(missing)} files of {order.model_id} from {order.hub}: {_size(todo)}{so_far}.")
    meter = _Meter(todo, there, order.progress, order.every)
    for file in missing:
        part = order.part(file)
        _fetch(hf_hub_url(order.model_id, file.name, revision=commit, endpoint=order.hub), file, order, meter)
        if not _intact(part, file, order):
            part.unlink()
            raise DownloadError(f"{file.name} was damaged on its way and has been thrown away. Call this again.")
        part.replace(order.folder / file.name)
        known[file.name] = file.record
        _write_record(record, {"model": order.model_id, "commit": commit, "hub": order.hub, "files": known})


def _fetch(url: str, file: _File, order: _Order, meter: _Meter) -> None:
    """Stream one file, taking up the part that is there; over again when the line breaks, as long as bytes still come."""
    # Compressed answers could not be taken up in the middle.
    headers = {"Accept-Encoding": "identity"}
    if order.token:
        headers["Authorization"] = f"Bearer {order.token}"
    part, in_vain = order.part(file), 0
    part.touch()
    while (have := _length(part)) < file.size:
        reason = "ended early"
        try:
            _stream(url, headers, part, have, file, meter)
        except httpx2.TransportError as error:
            reason = type(error).__name__
        except HfHubHTTPError as error:
            if error.response.status_code != 429 and error.response.status_code < 500:
                raise
            reason = f"status {error.response.status_code}"
        if (now := _length(part)) >= file.size:
            break
        in_vain = 0 if now > have else in_vain + 1
        if in_vain >= order.patience:
            raise DownloadError(
                f"The connection broke off at {_size(now)} of {file.name} ({reason}). "
                "Call this again: it goes on from there."
            )
        pause = min(2**in_vain, 30)
        order.report(f"The connection broke off ({reason}); going on from {_size(now)} in {pause} s.")
        time.sleep(pause)


def _stream(url: str, headers: dict[str, str], part: Path, have: int, file: _File, meter: _Meter) -> None:
    wanted = {**headers, "Range": f"bytes={have}-"} if have else headers
    with get_session().stream("GET", url, headers=wanted, timeout=TIMEOUT, follow_redirects=True) as response:
        hf_raise_for_status(response)
        if have and response.status_code != 206:
            # A hub that knows no ranges sends the whole file.
            meter.add(-have, file.name)
            have = 0
        with part.open("ab") as out:
            out.truncate(have)
            # As they come: what waits for a full chunk is lost when the line breaks.
            for chunk in response.iter_bytes():
                out.write(chunk)
                meter.add(len(chunk), file.name)


def _length(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _intact(path: Path, file: _File, order: _Order) -> bool:
    """Whether a file has the size and the checksum the hub says."""
    if _length(path) != file.size:
        return False
    if file.size > 500_000_000:
        order.report(f"Checking {file.name} ({_size(file.size)}) …")
    large = len(file.checksum) == 64
    digest = hashlib.sha256() if large else hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)
    with path.open("rb") as content:
        while chunk := content.read(1 << 23):
            digest.update(chunk)
    return digest.hexdigest() == file.checksum


def _check_room(order: _Order, bytes_to_come: int) -> None:
    free = shutil.disk_usage(order.folder).free
    if bytes_to_come > free:
        raise DownloadError(
            f"{order.model_id} needs {_size(bytes_to_come)} more, and only {_size(free)} are free where {order.folder} "
            f"is. Free {_size(bytes_to_come - free)} there, or give another folder with --to."
        )


def _write_record(path: Path, content: object) -> None:
    temporary = path.with_suffix(".json.new")
    temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    temporary.replace(path)


def _sentence(error: Exception, model_id: str, hub: str, with_token: bool) -> str:
    """What the hub's refusal means for the operator.  The error's own text is left out: it may quote addresses."""
    match error:
        case GatedRepoError() if with_token:
            return (
                f"{model_id} is gated and this token may not read it (yet). Accept its terms at {hub}/{model_id} "
                "with the account the token belongs to."
            )
        case GatedRepoError():
            return (
                f"{model_id} is gated: accept its terms at {hub}/{model_id}, make a token at {hub}/settings/tokens and "
                "give it with --token, as general.hf_token in config.yaml, or as HF_TOKEN."
            )
        case RepositoryNotFoundError():
            return (
                f"There is no model {model_id} at {hub}, or it is private and "
                f"{'this token may not read it' if with_token else 'needs a token'}. Check its name."
            )
        case HFValidationError():
            return f"{model_id!r} is no name of a model; it looks like org/name, as mistralai/Mistral-7B-Instruct-v0.3."
        case HfHubHTTPError() if error.response.status_code in (401, 403):
            return (
                f"{hub} refuses this token (status {error.response.status_code}). Make a new one at "
                f"{hub}/settings/tokens and give it with --token, as general.hf_token in config.yaml, or as HF_TOKEN."
            )
        case HfHubHTTPError():
            return f"{hub} answered with status {error.response.status_code}. Try again later."
        case OfflineModeIsEnabled():
            return "Downloads are switched off: HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set. Unset it and call again."
        case _:
            return (
                f"{hub} cannot be reached ({type(error).__name__}). Check the network (and HF_ENDPOINT, if you set it); "
                "what is already here is kept, and the next call goes on from there."
            )


def _size(count: float) -> str:
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count:.0f} bytes"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
