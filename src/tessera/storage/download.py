"""Verified downloads that resume.

Data is collected in `NAME.part` next to the target, and `NAME.part.json` records its origin (address, ETag, size). An
interrupted download resumes from there: `Range` requests the rest, and `If-Range` makes the server send the whole file
if it has changed. The target appears only after size and SHA-256 were verified: the part is flushed to the disk and
renamed, and the folder is flushed too, so that after a power cut there is a complete file or none.

Our own on `urllib`, because it needs no further package and honors `http_proxy`, `https_proxy` and `no_proxy`.
"""

from __future__ import annotations

import contextlib
import errno
import http.client
import json
import os
import random
import shutil
import socket
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import asdict, dataclass
from email.message import Message
from pathlib import Path
from typing import IO, Any, Protocol, cast

from filelock import FileLock, Timeout

from tessera.errors import DownloadError, UsageError
from tessera.storage.atomic import flush_folder
from tessera.storage.checksum import compute_sha256
from tessera.version import __version__

Progress = Callable[[int, int | None], None]
"""Called with the bytes received and the total, None while it is unknown."""

BLOCK_BYTES = 1 << 16
LARGEST_BYTES = 4 << 30
"""Size limit for a file of undeclared size: ten times the largest generator of the family."""
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 30.0
LOCK_POLL_SECONDS = 0.1
PASSING_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Status codes worth a retry; every other error status is final for its address."""


class _PassingError(Exception):
    """This attempt failed; a retry may succeed."""

    def __init__(self, reason: str, seconds: float | None = None) -> None:
        super().__init__(reason)
        self.seconds = seconds


class _AddressError(Exception):
    """This address cannot provide the file; another may."""


class _PartError(Exception):
    """The partial file of an earlier attempt cannot be resumed."""


class _WrongFileError(Exception):
    """The file is complete but not the expected one."""


class _Response(Protocol):
    """The parts of a `urllib` response that are used here."""

    status: int
    headers: Message

    def read1(self, n: int = ..., /) -> bytes:
        """Return what has arrived, at most n bytes; empty at the end."""
        ...

    def close(self) -> None:
        """Close the connection."""
        ...


@dataclass(frozen=True, kw_only=True)
class _Origin:
    """Origin of a partial file; stored next to it as JSON."""

    url: str
    validator: str | None
    total: int | None


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follow redirects, but never from https to http."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        """Return the request for the new address; raise if it is less safe than the old one."""
        wanted = urllib.parse.urlsplit(newurl).scheme
        if wanted not in ("http", "https") or (req.type == "https" and wanted == "http"):
            fp.close()
            raise _AddressError(f"it redirects from {req.type} to {newurl}, which is not safe")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


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
        if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
            raise UsageError(
                f"{url!r} cannot be downloaded from: expected an address that begins with https:// or http://"
            )
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
            f"{target}: the file could not be written ({_describe_reason(error)}). "
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
        except _AddressError as failure:
            failures.append(f"{url} ({failure})")
    kept = _get_size(task.part)
    later = f" The {kept:,} bytes that arrived are kept, and the next try goes on from there." if kept else ""
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
        except _PartError:
            task.remove_part()
            continue  # without a part this cannot happen again
        except _WrongFileError as wrong:
            task.remove_part()
            if resumed and not fresh:  # after a power cut the end of a part may be damaged; retry once
                fresh = True
                continue
            raise _AddressError(str(wrong)) from wrong
        except _PassingError as failure:
            here = _get_size(task.part)
            # A connection that drops every few megabytes is slow; a server that restarts each time is broken.
            fruitless = 1 if here >= best + BLOCK_BYTES else fruitless + 1
            best = max(best, here)
            if fruitless >= tries:
                raise _AddressError(f"{failure} (tried {tries} times)") from failure
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
            raise _PartError
        return
    headers = {"User-Agent": f"tessera/{__version__}", "Accept-Encoding": "identity"}
    if start and origin is not None and origin.validator is not None:
        headers |= {"Range": f"bytes={start}-", "If-Range": origin.validator}
    with contextlib.closing(_open(urllib.request.Request(url, headers=headers), task.timeout_seconds)) as response:
        start = _check_start(response, start)
        total = _check_total(response, start, task.size)
        if total is None and task.sha256 is None and response.headers.get("Transfer-Encoding") is None:
            raise _AddressError(
                "it does not say how long the file is, and there is no published sum to tell whole from half"
            )
        _check_space(task.target, total, start)
        with task.part.open("ab" if start else "wb") as file:
            if not start:  # after the part is emptied, so that old data never has a new origin
                _write_origin(task, _Origin(url=url, validator=_choose_validator(response.headers), total=total))
            task.report_progress(total)
            most = LARGEST_BYTES if total is None else total
            for block in _read_blocks(response):
                if start + len(block) > most:
                    raise _reject_surplus(task, most)
                file.write(block)
                file.flush()
                start += len(block)
                task.report_progress(total)
            os.fsync(file.fileno())
    if total is not None and start < total:
        raise _PassingError(f"the connection ended after {start:,} of {total:,} bytes")


def _reject_surplus(task: _Task, most: int) -> Exception:
    task.remove_part()
    return _AddressError(f"it sends more than the {most:,} bytes that were declared")


def _open(request: urllib.request.Request, timeout_seconds: float) -> _Response:
    # Built on each call, because the proxy variables may change.
    opener = urllib.request.build_opener(_SafeRedirects())
    try:
        return cast(_Response, opener.open(request, timeout=timeout_seconds))
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and request.has_header("Range"):
            raise _PartError from error
        answer = f"it answered {error.code} {error.reason}".rstrip()
        if error.code in PASSING_STATUS:
            raise _PassingError(answer, _parse_retry_after(error.headers)) from error
        raise _AddressError(answer) from error
    except urllib.error.URLError as error:
        raise _classify(error.reason) from error
    except http.client.InvalidURL as error:
        raise _AddressError(f"it is not a valid URL ({error})") from error
    except (OSError, http.client.HTTPException) as error:
        raise _classify(error) from error


def _read_blocks(response: _Response) -> Iterator[bytes]:
    while True:
        try:
            block = response.read1(BLOCK_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise _classify(error) from error
        if not block:
            return
        yield block


def _classify(reason: object) -> Exception:
    """Distinguish a temporary failure from a permanent one."""
    if isinstance(reason, ssl.SSLCertVerificationError):
        return _AddressError(
            f"its certificate is not trusted ({reason.verify_message}); if a proxy re-signs the traffic, "
            f"name its certificates in SSL_CERT_FILE"
        )
    if isinstance(reason, socket.gaierror) and reason.errno == socket.EAI_NONAME:
        return _AddressError("its name is not known to this machine's network")
    if isinstance(reason, TimeoutError):
        return _PassingError("nothing came in time")
    if isinstance(reason, http.client.HTTPException | ConnectionResetError | BrokenPipeError):
        return _PassingError("the connection was dropped")
    return _PassingError(f"no connection ({_describe_reason(reason)})")


def _check_start(response: _Response, asked: int) -> int:
    """Offset at which the response starts: as requested, or 0 if the server sends the whole file."""
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise _AddressError("it sends the file re-compressed, although the plain bytes were asked for")
    if response.status == http.HTTPStatus.OK:
        return 0
    if response.status == http.HTTPStatus.PARTIAL_CONTENT:
        unit, _, span = response.headers.get("Content-Range", "").partition(" ")
        if unit.lower() == "bytes" and span.partition("-")[0].strip() == str(asked) and asked:
            return asked
        raise _PartError if asked else _AddressError("it answered a part of the file where the whole was asked for")
    raise _AddressError(f"it answered {response.status}")


def _check_total(response: _Response, start: int, size: int | None) -> int | None:
    length = response.headers.get("Content-Length")
    declared = start + int(length) if length is not None and length.isdecimal() else None
    if size is not None and declared is not None and declared != size:
        raise _AddressError(f"it offers a file of {declared:,} bytes, and {size:,} were expected")
    return size if size is not None else declared


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
        raise _WrongFileError(f"it sent other bytes than were published (sha256 expected {expected}, found {digest})")
    task.part.replace(task.target)
    task.origin.unlink(missing_ok=True)
    flush_folder(task.target.parent)
    return digest


def _check_existing(target: Path, sha256: frozenset[str] | None, size: int | None) -> str:
    digest = compute_sha256(target)
    if (sha256 is not None and digest not in sha256) or (size is not None and target.stat().st_size != size):
        raise DownloadError(
            f"{target} is there already, but it is not the published file (sha256 found {digest}). "
            f"Delete or rename it, then try again."
        )
    return digest


def _read_origin(task: _Task, url: str) -> _Origin | None:
    """Read the origin of the part; None if it cannot be resumed from this address."""
    try:
        known: dict[str, Any] = json.loads(task.origin.read_text(encoding="utf-8"))
        origin = _Origin(url=known["url"], validator=known["validator"], total=known["total"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    whole = origin.total is not None and _get_size(task.part) == origin.total
    return origin if origin.url == url and (origin.validator is not None or whole) else None


def _write_origin(task: _Task, origin: _Origin) -> None:
    task.origin.write_text(json.dumps(asdict(origin)), encoding="utf-8")


def _choose_validator(headers: Message) -> str | None:
    """Validator for `If-Range`: a strong ETag, else the date (RFC 9110, section 13.1.5)."""
    etag = headers.get("ETag")
    return etag if etag is not None and etag.startswith('"') else headers.get("Last-Modified")


def _parse_retry_after(headers: Message) -> float | None:
    asked = headers.get("Retry-After", "")
    return min(float(asked), LONGEST_PAUSE_SECONDS) if asked.isdecimal() else None


@contextlib.contextmanager
def _lock_target(target: Path, while_waiting: Callable[[], None]) -> Generator[None]:
    """Hold the right to download this file; wait while another thread or process holds it.

    The lock file stays, because removing it while another process opens it would leave two holders of two files.
    """
    lock = FileLock(target.with_name(f".{target.name}.lock"), preserve_lock_file=True)
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


def _describe_reason(error: object) -> str:
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "the disk is full"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
