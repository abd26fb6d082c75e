"""Downloads a model from the hub into a plain folder: the files it needs, with progress, resuming after interruptions.

huggingface_hub lists the files, builds their addresses and names the hub's refusals.  The bytes are streamed here: the
library writes each attempt to a new temporary file and so starts 14 GB again after an interruption.
Each file is streamed to `<folder>/.download/`, checked against the hub's checksum and only then renamed into place.
No report and no error holds the token.
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
    RevisionNotFoundError,
)
from huggingface_hub.utils import hf_raise_for_status  # type: ignore[attr-defined]  # exported lazily

from wmkml.models.files import ADAPTER_FILES, UNFINISHED, folder_of, is_complete, needed_files
from wmkml.system.duration_text import duration_text

__all__ = ["RECORD", "DownloadError", "download", "folder_of", "is_complete"]

RECORD = "download.json"
"""Name of the file in the model's folder that records model, commit, hub, and each file's size and checksum."""

TIMEOUT = httpx2.Timeout(30.0)
"""Seconds to connect, and between two pieces of a file."""

Report = Callable[[str], None]
"""Takes one line for the operator."""


class DownloadError(Exception):
    """A model could not be downloaded.  The text says to the operator what failed, where, and what to do."""


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
class _Download:
    """The arguments of `download`, see there.  `hub`: the hub's URL."""

    model_id: str
    hub: str
    token: str
    folder: Path
    report: Report
    progress: Report
    progress_seconds: float
    max_failures: int
    revision: str
    before_weights: Callable[[int], None]

    def part(self, file: _File) -> Path:
        """Where an incomplete file is; the name holds the checksum, so that no other version's part is resumed."""
        return self.folder / UNFINISHED / f"{file.name}.{file.checksum[:16]}.part"


class _ProgressMeter:
    """Counts bytes, and every `interval` seconds reports how many have come and how long the rest will take."""

    def __init__(self, total: int, done: int, report: Report, interval: float) -> None:
        self.total, self.done, self.report, self.interval = total, done, report, interval
        self.reported_at, self.reported = time.monotonic(), done

    def add(self, count: int, name: str) -> None:
        self.done += count
        seconds = time.monotonic() - self.reported_at
        if seconds < self.interval:
            return
        rate = max(0, self.done - self.reported) / seconds
        left = f", {duration_text((self.total - self.done) / rate)} left" if rate else ""
        share = 100 * self.done // self.total if self.total else 100
        self.report(f"{share:3d} %  {_size(self.done)} of {_size(self.total)}, {_size(rate)}/s{left}  {name}")
        self.reported_at, self.reported = time.monotonic(), self.done


def download(
    model_id: str,
    folder: Path,
    token: str = "",
    endpoint: str | None = None,
    report: Report = print,
    *,
    progress: Report | None = None,
    progress_seconds: float = 5.0,
    max_failures: int = 5,
    revision: str = "main",
    before_weights: Callable[[int], None] = lambda size: None,
) -> Path:
    """Download a model into `folder`, and return the folder.  Files that are complete and current are kept.

    Args:
        model_id: as the hub names it, `org/name`.
        folder: created if absent.
        token: for gated models; without one, `HF_TOKEN` or a login of the hub's own command is used.
        endpoint: another hub; without one, `HF_ENDPOINT` or huggingface.co.
        report: called with every line for the operator.
        progress: called with the lines of progress; None: they go to `report`.
        progress_seconds: seconds between two lines of progress.
        max_failures: how many attempts in a row may fail without a byte before the download is given up.
        revision: the branch, tag or commit.
        before_weights: called with the size in bytes of all weights, once all other files are in place and before any of the
            weights is fetched that is missing.  What it raises ends the download.

    Raises:
        DownloadError: no such model, gated, no network, disk full, a repository without a usable model, a damaged file.
    """
    hub = (endpoint or os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/")
    token = token or get_token() or ""
    job = _Download(
        model_id, hub, token, folder, report, progress or report, progress_seconds, max_failures, revision, before_weights
    )
    try:
        commit, files = _list_files(job)
        folder.mkdir(parents=True, exist_ok=True)
        # `is_complete` recognises an interruption by the folder of unfinished files, so it is deleted last.
        unfinished = folder / UNFINISHED
        unfinished.mkdir(exist_ok=True)
        with FileLock(unfinished / "lock", timeout=0):
            _fetch_all(job, commit, files)
            shutil.rmtree(unfinished)
    except Timeout:
        raise DownloadError(f"Another download into {folder} is under way; wait for it or end it.") from None
    except (HfHubHTTPError, HFValidationError, OfflineModeIsEnabled, httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise DownloadError(_error_sentence(error, model_id, hub, bool(token), revision)) from None
    except OSError as error:
        raise DownloadError(f"{folder} cannot be written: {error.strerror or 'no reason given'}.") from None
    report(f"{model_id} is complete: {_size(sum(file.size for file in files))} in {folder}.")
    return folder


def _list_files(job: _Download) -> tuple[str, list[_File]]:
    """The current commit of the revision, and the files of it that are needed.

    Raises:
        DownloadError: the repository holds no usable model, or the hub answers unexpectedly.
    """
    hub, model_id = job.hub, job.model_id
    api = HfApi(endpoint=hub, token=job.token or False)
    try:
        info = api.model_info(model_id, revision=job.revision, files_metadata=True, timeout=30.0)
    except (KeyError, TypeError, json.JSONDecodeError):
        raise DownloadError(f"{hub} does not answer as a model hub does; check HF_ENDPOINT.") from None
    siblings = {sibling.rfilename: sibling for sibling in info.siblings or []}
    names = needed_files(siblings)
    if "config.json" not in names and siblings.keys() >= set(ADAPTER_FILES):
        names = list(ADAPTER_FILES)  # an adapter alone, whose base is another model
    elif "config.json" not in names:
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


def _fetch_all(job: _Download, commit: str, files: list[_File]) -> None:
    """Download the files that the folder lacks, one after the other; each is recorded once it is in place."""
    record = job.folder / RECORD
    recorded = json.loads(record.read_text(encoding="utf-8"))["files"] if record.is_file() else {}
    for file in files:
        # A file of the right size that is not recorded was put there by hand: its checksum decides.
        path = job.folder / file.name
        if _size_on_disk(path) != file.size or (
            recorded.get(file.name) != file.record and not _matches_checksum(path, file, job)
        ):
            recorded.pop(file.name, None)
        else:
            recorded[file.name] = file.record
    missing = [file for file in files if file.name not in recorded]
    total = sum(file.size for file in missing)
    present = sum(_size_on_disk(job.part(file)) for file in missing)
    _check_disk_space(job, total - present)
    if missing:
        so_far = f", {_size(present)} of it already here" if present else ""
        job.report(f"Fetching {len(missing)} files of {job.model_id} from {job.hub}: {_size(total)}{so_far}.")
    meter = _ProgressMeter(total, present, job.progress, job.progress_seconds)
    weights = [file for file in files if file.name.endswith(".safetensors")]
    first_weights = next((file for file in missing if file in weights), None)
    for file in missing:
        if file is first_weights:
            job.before_weights(sum(file.size for file in weights))
        part = job.part(file)
        _fetch(hf_hub_url(job.model_id, file.name, revision=commit, endpoint=job.hub), file, job, meter)
        if not _matches_checksum(part, file, job):
            part.unlink()
            raise DownloadError(f"{file.name} was damaged on its way and has been thrown away. Call this again.")
        part.replace(job.folder / file.name)
        recorded[file.name] = file.record
        _write_record(record, {"model": job.model_id, "commit": commit, "hub": job.hub, "files": recorded})


def _fetch(url: str, file: _File, job: _Download, meter: _ProgressMeter) -> None:
    """Download one file, resuming its part; after a lost connection try again, as long as attempts yield bytes."""
    # A compressed response could not be resumed in the middle.
    headers = {"Accept-Encoding": "identity"}
    if job.token:
        headers["Authorization"] = f"Bearer {job.token}"
    part, failures = job.part(file), 0
    part.touch()
    while (offset := _size_on_disk(part)) < file.size:
        reason = "ended early"
        try:
            _stream(url, headers, part, offset, file, meter)
        except httpx2.TransportError as error:
            reason = type(error).__name__
        except HfHubHTTPError as error:
            if error.response.status_code != 429 and error.response.status_code < 500:
                raise
            reason = f"status {error.response.status_code}"
        if (now := _size_on_disk(part)) >= file.size:
            break
        failures = 0 if now > offset else failures + 1
        if failures >= job.max_failures:
            raise DownloadError(
                f"The connection broke off at {_size(now)} of {file.name} ({reason}). "
                "Call this again: it goes on from there."
            )
        pause = min(2**failures, 30)
        job.report(f"The connection broke off ({reason}); going on from {_size(now)} in {pause} s.")
        time.sleep(pause)


def _stream(url: str, headers: dict[str, str], part: Path, offset: int, file: _File, meter: _ProgressMeter) -> None:
    headers = {**headers, "Range": f"bytes={offset}-"} if offset else headers
    with get_session().stream("GET", url, headers=headers, timeout=TIMEOUT, follow_redirects=True) as response:
        hf_raise_for_status(response)
        if offset and response.status_code != 206:
            # A hub without support for ranges sends the whole file.
            meter.add(-offset, file.name)
            offset = 0
        with part.open("ab") as out:
            out.truncate(offset)
            # Of any size, as they come: a partly filled chunk would be lost with the connection.
            for chunk in response.iter_bytes():
                out.write(chunk)
                meter.add(len(chunk), file.name)


def _size_on_disk(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _matches_checksum(path: Path, file: _File, job: _Download) -> bool:
    """Whether a file has the size and the checksum that the hub names."""
    if _size_on_disk(path) != file.size:
        return False
    if file.size > 500_000_000:
        job.report(f"Checking {file.name} ({_size(file.size)}) …")
    is_sha256 = len(file.checksum) == 64
    digest = hashlib.sha256() if is_sha256 else hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)
    with path.open("rb") as content:
        while chunk := content.read(1 << 23):
            digest.update(chunk)
    return digest.hexdigest() == file.checksum


def _check_disk_space(job: _Download, missing_bytes: int) -> None:
    free = shutil.disk_usage(job.folder).free
    if missing_bytes > free:
        raise DownloadError(
            f"{job.model_id} needs {_size(missing_bytes)} more, and only {_size(free)} are free where {job.folder} "
            f"is. Free {_size(missing_bytes - free)} there, or give another folder with --to."
        )


def _write_record(path: Path, content: object) -> None:
    temporary = path.with_suffix(".json.new")
    temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    temporary.replace(path)


def _error_sentence(error: Exception, model_id: str, hub: str, with_token: bool, revision: str) -> str:
    """The sentence for the operator about an error.  The error's own text is left out, since it may quote addresses."""
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
        case RevisionNotFoundError():
            return f"{model_id} has no revision {revision} at {hub}. Its branches, tags and commits are listed there."
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
