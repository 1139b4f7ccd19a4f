"""Verified downloads that resume.

Data is collected in `NAME.part` next to the target, and `NAME.part.json` records its origin (address, ETag, size). An
interrupted download resumes from there: `Range` requests the rest, and `If-Range` makes the server send the whole file
if it has changed. The target appears only after size and SHA-256 were verified: the part is flushed to the disk and
renamed, and the folder is flushed too, so that after a power cut there is a complete file or none.

`storage.web` sends the requests.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from tessera.errors import DownloadError, FileError
from tessera.storage.atomic import flush_folder
from tessera.storage.checksum import compute_sha256
from tessera.storage.files import open_for_appending, open_lock, read_bytes, write_text
from tessera.storage.web import (
    BLOCK_BYTES,
    LONGEST_PAUSE_SECONDS,
    AddressError,
    PartError,
    PassingError,
    check_address,
    choose_validator,
    describe_reason,
    find_start,
    find_total,
    hide_secrets,
    open_response,
    read_blocks,
)

Progress = Callable[[int, int | None], None]
"""Called with the bytes received and the total, None while it is unknown."""

LARGEST_BYTES = 4 << 30
"""Size limit for a file of undeclared size: ten times the largest generator of the family."""
FIRST_PAUSE_SECONDS = 1.0
LOCK_POLL_SECONDS = 0.1


class _WrongFileError(Exception):
    """The file is complete but not the expected one."""


@dataclass(frozen=True, kw_only=True)
class _Origin:
    """Origin of a partial file; stored next to it as JSON."""

    url: str
    validator: str | None
    total: int | None


def download(
    urls: Sequence[str],
    target: Path,
    *,
    sha256: frozenset[str] | None,
    size: int | None,
    timeout_seconds: float = 30.0,
    tries: int = 5,
    on_progress: Progress | None = None,
) -> str:
    """Download a file from the first address that provides it -> its SHA-256.

    An existing target is verified and left as it is. `tries` counts consecutive attempts at one address without
    progress. If two processes need the same file, the second waits for the first.

    Raises UsageError for an address that is neither http nor https, and DownloadError for every other failure.
    """
    for url in urls:
        check_address(url)
    wanted = None if sha256 is None else frozenset(digest.lower() for digest in sha256)
    task = _Task(target=target, sha256=wanted, size=size, timeout_seconds=timeout_seconds, report=on_progress)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _lock_target(target, task.report_progress):
            if target.exists():
                return _check_existing(target, wanted, size)
            return _try_addresses(urls, task, tries)
    except OSError as error:
        raise DownloadError(
            f"{target}: the file could not be written ({describe_reason(error)}). "
            f"Free space there or choose another folder, then try again."
        ) from error


@dataclass(frozen=True, kw_only=True)
class _Task:
    """The expected file, and its partial file."""

    target: Path
    sha256: frozenset[str] | None
    size: int | None
    timeout_seconds: float
    report: Progress | None

    @property
    def part(self) -> Path:
        return self.target.with_name(f"{self.target.name}.part")

    @property
    def origin(self) -> Path:
        return self.target.with_name(f"{self.target.name}.part.json")

    def report_progress(self, total: int | None = None) -> None:
        if self.report is not None:
            self.report(_get_size(self.part), self.size if total is None else total)

    def remove_part(self) -> None:
        self.part.unlink(missing_ok=True)
        self.origin.unlink(missing_ok=True)


def _try_addresses(urls: Sequence[str], task: _Task, tries: int) -> str:
    failures: list[str] = []
    for url in urls:
        try:
            return _download_from(url, task, tries)
        except AddressError as failure:
            failures.append(f"{hide_secrets(url)} ({failure})")
    kept = _get_size(task.part)
    later = f" {kept:,} bytes have arrived; the next try resumes there." if kept else ""
    raise DownloadError(
        f"{task.target.name} could not be downloaded: {', '.join(failures) or 'no address is known'}. Check the"
        " connection (and the proxy, if https_proxy is set) and try again, or put the file into"
        f" {task.target.parent} by hand.{later}"
    )


def _download_from(url: str, task: _Task, tries: int) -> str:
    best = -1
    fruitless = 0
    fresh = False
    while True:
        resumed = _get_size(task.part) > 0
        try:
            _fetch_rest(url, task)
            return _verify_and_rename(task)
        except PartError:
            task.remove_part()
            continue  # without a part this cannot happen again
        except _WrongFileError as wrong:
            task.remove_part()
            if resumed and not fresh:  # after a power cut the end of a part may be damaged; retry once
                fresh = True
                continue
            raise AddressError(str(wrong)) from wrong
        except PassingError as failure:
            here = _get_size(task.part)
            # A connection that drops every few megabytes is slow; a server that restarts each time is broken.
            fruitless = 1 if here >= best + BLOCK_BYTES else fruitless + 1
            best = max(best, here)
            if fruitless >= tries:
                raise AddressError(f"{failure} (tried {tries} times)") from failure
            pause = min(FIRST_PAUSE_SECONDS * 2 ** (fruitless - 1), LONGEST_PAUSE_SECONDS)
            time.sleep(failure.seconds or pause * random.uniform(0.75, 1.25))


def _fetch_rest(url: str, task: _Task) -> None:
    """Download the rest of the part."""
    origin = _read_origin(task, url)
    if origin is None:
        task.remove_part()
    start = _get_size(task.part)
    total = origin.total if origin is not None else None
    if start and total is not None and start >= total:
        if start > total:
            raise PartError
        return
    headers: dict[str, str] = {}
    if start and origin is not None and origin.validator is not None:
        headers = {"Range": f"bytes={start}-", "If-Range": origin.validator}
    with contextlib.closing(open_response(url, headers, task.timeout_seconds)) as response:
        start = find_start(response, start)
        total = find_total(response, start, task.size)
        if total is None and task.sha256 is None and response.headers.get("Transfer-Encoding") is None:
            raise AddressError(
                "it does not declare the file's length, and without a published checksum a partial file is not detected"
            )
        _check_space(task.target, total, start)
        if not start:
            task.part.unlink(missing_ok=True)
        with os.fdopen(open_for_appending(task.part, max_bytes=max(LARGEST_BYTES, total or 0)), "ab") as file:
            if not start:  # after the part is emptied, so that old data never has a new origin
                _write_origin(
                    task, _Origin(url=hide_secrets(url), validator=choose_validator(response.headers), total=total)
                )
            task.report_progress(total)
            most = LARGEST_BYTES if total is None else total
            for block in read_blocks(response):
                if start + len(block) > most:
                    raise _reject_surplus(task, most)
                file.write(block)
                file.flush()
                start += len(block)
                task.report_progress(total)
            os.fsync(file.fileno())
    if total is not None and start < total:
        raise PassingError(f"the connection ended after {start:,} of {total:,} bytes")


def _reject_surplus(task: _Task, most: int) -> Exception:
    task.remove_part()
    return AddressError(f"it sends more than the {most:,} bytes that were declared")


def _check_space(target: Path, total: int | None, start: int) -> None:
    free = shutil.disk_usage(target.parent).free
    if total is not None and free < total - start:
        raise DownloadError(
            f"{target.parent} has {free:,} bytes free and {target.name} needs {total - start:,} more. "
            f"Free space there, or name another folder in TESSERA_MODELS."
        )


def _verify_and_rename(task: _Task) -> str:
    """Verify the part and rename it to the target."""
    found_bytes = _get_size(task.part)
    if task.size is not None and found_bytes != task.size:
        raise _WrongFileError(f"it sent {found_bytes:,} bytes, and {task.size:,} were expected")
    digest = compute_sha256(task.part)
    if task.sha256 is not None and digest not in task.sha256:
        expected = " or ".join(sorted(task.sha256))
        raise _WrongFileError(f"it sent another file than was published (SHA-256 expected {expected}, found {digest})")
    task.part.replace(task.target)
    task.origin.unlink(missing_ok=True)
    flush_folder(task.target.parent)
    return digest


def _check_existing(target: Path, sha256: frozenset[str] | None, size: int | None) -> str:
    digest = compute_sha256(target)
    if (sha256 is not None and digest not in sha256) or (size is not None and target.stat().st_size != size):
        raise DownloadError(
            f"{target} exists, but it is not the published file (SHA-256 {digest}). "
            f"Delete or rename it, then try again."
        )
    return digest


def _read_origin(task: _Task, url: str) -> _Origin | None:
    """Read the origin of the part; None if it cannot be resumed from this address."""
    try:
        known: dict[str, Any] = json.loads(read_bytes(task.origin, max_bytes=1 << 16))
        origin = _Origin(url=known["url"], validator=known["validator"], total=known["total"])
    except (FileError, OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    whole = origin.total is not None and _get_size(task.part) == origin.total
    return origin if origin.url == hide_secrets(url) and (origin.validator is not None or whole) else None


def _write_origin(task: _Task, origin: _Origin) -> None:
    write_text(task.origin, json.dumps(asdict(origin)))


@contextlib.contextmanager
def _lock_target(target: Path, while_waiting: Callable[[], None]) -> Generator[None]:
    """Hold the right to download this file; wait while another thread or process holds it.

    The lock file stays, because removing it while another process opens it would leave two holders of two files.
    """
    path = target.with_name(f".{target.name}.lock")
    os.close(open_lock(path))  # refuses links, which FileLock would follow and truncate
    lock = FileLock(path, preserve_lock_file=True)
    while True:
        try:
            lock.acquire(timeout=LOCK_POLL_SECONDS)
            break
        except Timeout:
            while_waiting()
    try:
        yield
    finally:
        lock.release()


def _get_size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
