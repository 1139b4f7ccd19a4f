"""Downloads against a server on the loopback that misbehaves in every way that was met in the field."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tessera.errors import DownloadError, TesseraError, UsageError
from tessera.storage import download as module
from tessera.storage.checksum import compute_sha256
from tessera.storage.download import download
from tessera.storage.web import LONGEST_PAUSE_SECONDS, AddressError, _SafeRedirects, hide_secrets

WHOLE = bytes((i * 7919 >> 5) & 0xFF for i in range(400_000))
OTHER = bytes(255 - b for b in WHOLE)
SUM = hashlib.sha256(WHOLE).hexdigest()
PINNED = frozenset({SUM})

Answer = Callable[["Visit", int], None]


class Visit(http.server.BaseHTTPRequestHandler):
    """One request; what it is answered is decided by the server's script, visit by visit."""

    server: Server

    def do_GET(self) -> None:
        with self.server.gate:
            number = len(self.server.seen)
            self.server.seen.append((self.path, {key.lower(): value for key, value in self.headers.items()}))
        script = self.server.script
        script[min(number, len(script) - 1)](self, number)

    def head(self, status: int, length: int | None, **headers: str) -> None:
        self.send_response(status)
        if length is not None:
            self.send_header("Content-Length", str(length))
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()

    def drop(self) -> None:
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, format: str, *args: object) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    """Answers by script and remembers what it was asked."""

    daemon_threads = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Visit)
        self.script: list[Answer] = [whole()]
        self.seen: list[tuple[str, dict[str, str]]] = []
        self.gate = threading.Lock()
        self.closing = threading.Event()

    def url(self, name: str = "model.pth") -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{name}"

    def asked(self, header: str) -> list[str | None]:
        return [headers.get(header) for _, headers in self.seen]

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # a client that hangs up on purpose is part of these tests


def whole(body: bytes = WHOLE, etag: str | None = '"one"', stop_after: int | None = None, **headers: str) -> Answer:
    """Answer as a good server does, with ranges; on request the line drops after so many bytes."""

    def answer(visit: Visit, number: int) -> None:
        extra = {"ETag": etag} if etag is not None else {}
        extra |= headers
        asked = visit.headers.get("Range")
        guard = visit.headers.get("If-Range")
        if asked is not None and guard in (None, etag, headers.get("Last_Modified")):
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            if start >= len(body):
                visit.head(416, 0)
                return
            span = f"bytes {start}-{len(body) - 1}/{len(body)}"
            visit.head(206, len(body) - start, Content_Range=span, **extra)
            rest = body[start:]
        else:
            visit.head(200, len(body), **extra)
            rest = body
        if stop_after is None:
            visit.wfile.write(rest)
        else:
            visit.wfile.write(rest[:stop_after])
            visit.drop()

    return answer


def without_ranges(stop_after: int | None = None) -> Answer:
    def answer(visit: Visit, number: int) -> None:
        visit.head(200, len(WHOLE), ETag='"one"')
        visit.wfile.write(WHOLE[:stop_after])
        if stop_after is not None:
            visit.drop()

    return answer


def status(code: int, **headers: str) -> Answer:
    return lambda visit, number: visit.head(code, 0, **headers)


def stall_after(count: int) -> Answer:
    def answer(visit: Visit, number: int) -> None:
        visit.head(200, len(WHOLE), ETag='"one"')
        visit.wfile.write(WHOLE[:count])
        visit.wfile.flush()
        visit.server.closing.wait(20)

    return answer


@pytest.fixture
def make_server() -> Iterator[Callable[[], Server]]:
    servers: list[tuple[Server, threading.Thread]] = []

    def make() -> Server:
        server = Server()
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        servers.append((server, thread))
        return server

    yield make
    for server, thread in servers:
        server.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def server(make_server: Callable[[], Server]) -> Server:
    return make_server()


@pytest.fixture(autouse=True)
def _quick_and_direct(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(module, "LOCK_POLL_SECONDS", 0.01)
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "models" / "model.pth"


def fetch(server: Server, target: Path, **changes: object) -> str:
    arguments: dict[str, object] = {"sha256": PINNED, "size": len(WHOLE), "timeout_seconds": 5.0} | changes
    return download([server.url()], target, **arguments)  # type: ignore[arg-type]


def names(target: Path) -> list[str]:
    """What lies beside the target, the empty lock apart."""
    return sorted(path.name for path in target.parent.iterdir() if path.suffix != ".lock")


def test_a_file_arrives_whole_and_leaves_nothing_beside_it(server: Server, target: Path) -> None:
    assert fetch(server, target) == SUM
    assert target.read_bytes() == WHOLE
    assert names(target) == ["model.pth"]


def test_a_file_that_is_there_and_right_is_not_fetched_again(server: Server, target: Path) -> None:
    fetch(server, target)
    assert fetch(server, target) == SUM
    assert len(server.seen) == 1


def test_a_file_that_is_there_and_wrong_is_named_and_not_overwritten(server: Server, target: Path) -> None:
    target.parent.mkdir()
    target.write_bytes(b"mine")
    with pytest.raises(DownloadError, match=r"model\.pth exists, but it is not the published file.*Delete or rename"):
        fetch(server, target)
    assert target.read_bytes() == b"mine"
    assert server.seen == []


def test_progress_is_told_from_the_first_to_the_last_byte(server: Server, target: Path) -> None:
    told: list[tuple[int, int | None]] = []
    fetch(server, target, on_progress=lambda here, total: told.append((here, total)))
    assert told[0] == (0, len(WHOLE))
    assert told[-1] == (len(WHOLE), len(WHOLE))
    assert [here for here, _ in told] == sorted(here for here, _ in told)


def test_a_dropped_connection_goes_on_where_it_ended(server: Server, target: Path) -> None:
    server.script = [whole(stop_after=150_000), whole()]
    fetch(server, target)
    assert target.read_bytes() == WHOLE
    assert server.asked("range") == [None, "bytes=150000-"]
    assert server.asked("if-range") == [None, '"one"']


def test_a_line_that_drops_more_often_than_the_tries_still_gets_there(server: Server, target: Path) -> None:
    server.script = [whole(stop_after=70_000)] * 5 + [whole()]
    fetch(server, target, tries=2)
    assert target.read_bytes() == WHOLE
    assert len(server.seen) == 6


def test_a_later_run_resumes_what_an_earlier_one_left(server: Server, target: Path) -> None:
    server.script = [whole(stop_after=300_000), whole()]
    with pytest.raises(DownloadError, match="300,000 bytes have arrived"):
        fetch(server, target, tries=1)
    assert names(target) == ["model.pth.part", "model.pth.part.json"]
    fetch(server, target, tries=1)
    assert server.asked("range") == [None, "bytes=300000-"]
    assert target.read_bytes() == WHOLE


def test_the_date_serves_where_there_is_no_strong_etag(server: Server, target: Path) -> None:
    date = "Wed, 21 Jul 2021 07:28:00 GMT"
    server.script = [whole(etag='W/"weak"', Last_Modified=date, stop_after=9000), whole(Last_Modified=date)]
    fetch(server, target)
    assert server.asked("if-range") == [None, date]
    assert target.read_bytes() == WHOLE


def test_without_etag_and_date_bytes_are_never_joined(server: Server, target: Path) -> None:
    server.script = [whole(etag=None, stop_after=9000), whole(etag=None)]
    fetch(server, target)
    assert server.asked("range") == [None, None]


def test_a_server_that_ignores_ranges_is_read_from_the_start(server: Server, target: Path) -> None:
    server.script = [without_ranges(stop_after=200_000), without_ranges()]
    fetch(server, target)
    assert server.asked("range") == [None, "bytes=200000-"]
    assert target.read_bytes() == WHOLE


def test_a_server_that_ignores_ranges_and_always_drops_is_given_up(server: Server, target: Path) -> None:
    server.script = [without_ranges(stop_after=200_000)]
    with pytest.raises(DownloadError, match="tried 3 times"):
        fetch(server, target, tries=3)
    assert len(server.seen) == 3


def test_a_file_that_changes_between_attempts_is_not_mixed(server: Server, target: Path) -> None:
    server.script = [whole(stop_after=200_000), whole(body=OTHER, etag='"two"')]
    fetch(server, target, sha256=None)
    assert target.read_bytes() == OTHER


def test_a_part_of_another_address_is_not_continued(make_server: Callable[[], Server], target: Path) -> None:
    first, second = make_server(), make_server()
    first.script = [whole(stop_after=200_000)]
    second.script = [whole(body=OTHER)]
    download([first.url(), second.url()], target, sha256=None, size=None, tries=1)
    assert target.read_bytes() == OTHER
    assert second.asked("range") == [None]


def test_a_part_with_a_torn_end_is_fetched_anew_once(server: Server, target: Path) -> None:
    server.script = [whole(stop_after=300_000), whole()]
    with pytest.raises(DownloadError):
        fetch(server, target, tries=1)
    part = target.with_name("model.pth.part")
    part.write_bytes(part.read_bytes()[:-5000] + bytes(5000))
    fetch(server, target)
    assert target.read_bytes() == WHOLE
    assert server.asked("range") == [None, "bytes=300000-", None]


def test_a_part_that_was_already_whole_needs_no_server(server: Server, target: Path) -> None:
    server.script = [whole(stop_after=300_000), status(503)]
    with pytest.raises(DownloadError):
        fetch(server, target, tries=1)
    target.with_name("model.pth.part").write_bytes(WHOLE)
    asked_before = len(server.seen)
    fetch(server, target, tries=1)
    assert len(server.seen) == asked_before
    assert target.read_bytes() == WHOLE


def test_a_part_that_is_whole_but_of_another_size_is_not_the_file(server: Server, target: Path) -> None:
    target.parent.mkdir()
    target.with_name("model.pth.part").write_bytes(bytes(1000))
    origin = {"url": server.url(), "validator": '"one"', "total": 1000}
    target.with_name("model.pth.part.json").write_text(json.dumps(origin))
    fetch(server, target, sha256=None)
    assert target.read_bytes() == WHOLE


@pytest.mark.parametrize("scribble", ["", "[]", "{}", '{"url": "x"}', "null", '{"url"'])
def test_a_part_of_unknown_origin_is_not_continued(server: Server, target: Path, scribble: str) -> None:
    target.parent.mkdir()
    target.with_name("model.pth.part").write_bytes(bytes(1000))
    target.with_name("model.pth.part.json").write_text(scribble)
    fetch(server, target)
    assert server.asked("range") == [None]
    assert target.read_bytes() == WHOLE


def test_a_part_longer_than_the_file_is_thrown_away(server: Server, target: Path) -> None:
    server.script = [whole(stop_after=300_000), whole()]
    with pytest.raises(DownloadError):
        fetch(server, target, tries=1)
    target.with_name("model.pth.part").write_bytes(WHOLE + b"tail")
    fetch(server, target, tries=1)
    assert target.read_bytes() == WHOLE


def test_an_unsatisfiable_range_starts_over(server: Server, target: Path) -> None:
    server.script = [whole(stop_after=300_000), status(416), whole()]
    fetch(server, target)
    assert server.asked("range") == [None, "bytes=300000-", None]


def test_a_range_that_begins_elsewhere_starts_over(server: Server, target: Path) -> None:
    def elsewhere(visit: Visit, number: int) -> None:
        visit.head(206, 10, Content_Range=f"bytes 5-14/{len(WHOLE)}")
        visit.wfile.write(WHOLE[5:15])

    server.script = [whole(stop_after=300_000), elsewhere, whole()]
    fetch(server, target)
    assert target.read_bytes() == WHOLE


def test_wrong_bytes_are_deleted_and_the_next_address_is_asked(make_server: Callable[[], Server], target: Path) -> None:
    bad, good = make_server(), make_server()
    bad.script = [whole(body=OTHER)]
    download([bad.url(), good.url()], target, sha256=PINNED, size=len(WHOLE))
    assert target.read_bytes() == WHOLE
    assert (len(bad.seen), len(good.seen)) == (1, 1)


def test_wrong_bytes_everywhere_name_both_sums_and_leave_nothing(server: Server, target: Path) -> None:
    server.script = [whole(body=OTHER)]
    with pytest.raises(DownloadError) as caught:
        fetch(server, target)
    assert f"expected {SUM}, found {hashlib.sha256(OTHER).hexdigest()}" in str(caught.value)
    assert server.url() in str(caught.value)
    assert names(target) == []


def test_wrong_bytes_on_a_dropping_line_come_to_an_end(server: Server, target: Path) -> None:
    server.script = [whole(body=OTHER, stop_after=250_000)]
    with pytest.raises(DownloadError, match="another file than was published"):
        fetch(server, target, tries=3)
    assert len(server.seen) == 4


def test_either_of_two_published_sums_is_accepted_in_any_case(server: Server, target: Path) -> None:
    assert fetch(server, target, sha256=frozenset({"0" * 64, SUM.upper()})) == SUM


def test_another_size_is_refused_before_a_byte_is_read(server: Server, target: Path) -> None:
    with pytest.raises(DownloadError, match="offers a file of 400,000 bytes, and 399,999 were expected"):
        fetch(server, target, size=399_999)
    assert names(target) == []


def test_no_more_bytes_are_taken_than_were_declared(server: Server, target: Path) -> None:
    served: list[int] = []

    def endless(visit: Visit, number: int) -> None:
        visit.send_response(200)
        visit.send_header("Transfer-Encoding", "chunked")
        visit.end_headers()
        block = b"%x\r\n%s\r\n" % (len(WHOLE), WHOLE)
        for _ in range(200):
            served.append(visit.wfile.write(block))

    Visit.protocol_version = "HTTP/1.1"
    try:
        server.script = [endless]
        with pytest.raises(DownloadError, match="sends more than the 400,000 bytes"):
            fetch(server, target)
    finally:
        Visit.protocol_version = "HTTP/1.0"
    assert names(target) == []
    assert sum(served) < 100 * len(WHOLE)


def test_a_file_of_unknown_size_ends_at_the_limit(
    server: Server, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LARGEST_BYTES", 100_000)

    def unmeasured(visit: Visit, number: int) -> None:
        visit.head(200, None)
        visit.wfile.write(WHOLE)

    server.script = [unmeasured]
    with pytest.raises(DownloadError, match="sends more than the 100,000 bytes"):
        fetch(server, target, size=None)


def test_a_file_without_length_and_sum_is_refused(server: Server, target: Path) -> None:
    def unmeasured(visit: Visit, number: int) -> None:
        visit.head(200, None)
        visit.wfile.write(WHOLE[:1000])

    server.script = [unmeasured]
    with pytest.raises(DownloadError, match="does not declare the file's length"):
        fetch(server, target, size=None, sha256=None)


def test_a_stalled_server_is_left_and_resumed(server: Server, target: Path) -> None:
    server.script = [stall_after(120_000), whole()]
    fetch(server, target, timeout_seconds=0.3)
    assert server.asked("range") == [None, "bytes=120000-"]
    assert target.read_bytes() == WHOLE


def test_a_server_that_stalls_for_ever_is_given_up(server: Server, target: Path) -> None:
    server.script = [stall_after(10)]
    with pytest.raises(DownloadError, match=r"nothing came in time \(tried 2 times\)"):
        fetch(server, target, timeout_seconds=0.2, tries=2)


def test_a_busy_server_is_asked_again(server: Server, target: Path) -> None:
    server.script = [status(503), status(502), whole()]
    fetch(server, target)
    assert len(server.seen) == 3


def test_a_busy_server_may_say_when_to_come_back(server: Server, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr(module.time, "sleep", waited.append)
    server.script = [status(429, Retry_After="7"), status(503, Retry_After="86400"), whole()]
    fetch(server, target)
    assert waited == [7.0, LONGEST_PAUSE_SECONDS]


def test_a_missing_file_is_asked_for_once(server: Server, target: Path) -> None:
    server.script = [status(404)]
    with pytest.raises(DownloadError, match=r"it answered 404 Not Found") as caught:
        fetch(server, target)
    assert len(server.seen) == 1
    assert "by hand" in str(caught.value)
    assert str(target.parent) in str(caught.value)


def test_a_redirect_is_followed_with_its_range(server: Server, target: Path) -> None:
    server.script = [
        status(302, Location="/elsewhere/blob"),
        whole(stop_after=100_000),
        status(302, Location="/elsewhere/blob?again"),
        whole(),
    ]
    fetch(server, target)
    assert server.asked("range") == [None, None, "bytes=100000-", "bytes=100000-"]
    assert target.read_bytes() == WHOLE


def test_a_redirect_to_something_else_than_the_web_is_refused(server: Server, target: Path) -> None:
    server.script = [status(302, Location="ftp://127.0.0.1/model.pth")]
    with pytest.raises(DownloadError, match="not safe"):
        fetch(server, target)


def test_a_redirect_from_https_to_http_is_refused() -> None:
    request = urllib.request.Request("https://example.org/model.pth")
    with pytest.raises(AddressError, match="not safe"), Path(os.devnull).open("rb") as answer:
        _SafeRedirects().redirect_request(request, answer, 302, "Found", None, "http://example.org/x")  # type: ignore[arg-type]


def test_a_recompressed_answer_is_refused(server: Server, target: Path) -> None:
    server.script = [whole(Content_Encoding="gzip")]
    with pytest.raises(DownloadError, match="compressed, although"):
        fetch(server, target)
    assert server.asked("accept-encoding") == ["identity"]


def test_nobody_listening_is_told_in_a_sentence(target: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(DownloadError, match=r"no connection \(Connection refused\) \(tried 2 times\)"):
        download([f"http://127.0.0.1:{port}/model.pth"], target, sha256=PINNED, size=None, tries=2)


def test_an_unknown_host_is_not_asked_five_times(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def nowhere(*arguments: object, **_: object) -> None:
        asked.append(arguments)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nowhere)
    with pytest.raises(DownloadError, match="its name is not known"):
        download(["https://models.invalid/model.pth"], target, sha256=PINNED, size=None)
    assert len(asked) == 1


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://example.org/x", "models/x.pth"])
def test_only_web_addresses_are_accepted(url: str, target: Path) -> None:
    with pytest.raises(UsageError, match="https://"):
        download([url], target, sha256=None, size=None)


def test_a_full_disk_is_noticed_before_the_download(
    server: Server, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = module.shutil.disk_usage

    def nearly_full(path: Path) -> object:
        return real(path)._replace(free=1000)

    monkeypatch.setattr(module.shutil, "disk_usage", nearly_full)
    with pytest.raises(DownloadError, match=r"1,000 bytes free and model.pth needs 400,000 more"):
        fetch(server, target)
    assert names(target) == []


def test_a_folder_that_cannot_be_made_is_told_in_a_sentence(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DownloadError, match="could not be written"):
        fetch(server, tmp_path / "file" / "model.pth")


def test_a_proxy_is_used_and_its_exceptions_are_honored(
    make_server: Callable[[], Server], target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin, proxy = make_server(), make_server()

    def forward(visit: Visit, number: int) -> None:
        # A proxy is asked with the whole address; this one knows every host as `origin`.
        path = visit.path.removeprefix("http://models.invalid/")
        headers = {key: value for key, value in visit.headers.items() if key in ("Range", "If-range")}
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(urllib.request.Request(origin.url(path), headers=headers), timeout=5) as answer:
            body = answer.read()
            visit.head(answer.status, len(body))
            visit.wfile.write(body)

    proxy.script = [forward]
    monkeypatch.setenv("http_proxy", proxy.url("").rstrip("/"))
    download(["http://models.invalid/model.pth"], target, sha256=PINNED, size=len(WHOLE))
    assert [path for path, _ in proxy.seen] == ["http://models.invalid/model.pth"]
    assert target.read_bytes() == WHOLE

    monkeypatch.setenv("no_proxy", "127.0.0.1")
    download([origin.url()], target.with_name("direct.pth"), sha256=PINNED, size=len(WHOLE))
    assert len(proxy.seen) == 1


def test_two_downloads_at_once_fetch_the_file_once(server: Server, target: Path) -> None:
    started = threading.Event()

    def slow(visit: Visit, number: int) -> None:
        started.set()
        visit.head(200, len(WHOLE), ETag='"one"')
        for start in range(0, len(WHOLE), 100_000):
            visit.wfile.write(WHOLE[start : start + 100_000])
            time.sleep(0.03)

    server.script = [slow]
    sums: list[str] = []
    waiting: list[int] = []
    first = threading.Thread(target=lambda: sums.append(fetch(server, target)))
    first.start()
    assert started.wait(5)
    others = [
        threading.Thread(
            target=lambda: sums.append(fetch(server, target, on_progress=lambda here, total: waiting.append(here)))
        )
        for _ in range(3)
    ]
    for thread in others:
        thread.start()
    for thread in [first, *others]:
        thread.join()
    assert sums == [SUM] * 4
    assert len(server.seen) == 1
    assert waiting  # those that wait tell how far the one that works has come
    assert names(target) == ["model.pth"]


def test_two_downloads_of_different_files_do_not_wait_for_each_other(server: Server, target: Path) -> None:
    inside = threading.Barrier(2, timeout=5)

    def together(visit: Visit, number: int) -> None:
        inside.wait()
        whole()(visit, number)

    server.script = [together]
    other = threading.Thread(target=lambda: fetch(server, target.with_name("other.pth")))
    other.start()
    fetch(server, target)
    other.join()
    assert names(target) == ["model.pth", "other.pth"]


def test_a_lock_file_that_exists_already_is_used_and_not_changed(server: Server, target: Path) -> None:
    target.parent.mkdir()
    lock = target.with_name(".model.pth.lock")
    lock.write_bytes(b"notes of mine")
    fetch(server, target)
    assert lock.read_bytes() == b"notes of mine"


def test_a_folder_in_the_place_of_the_lock_is_one_sentence(server: Server, target: Path) -> None:
    target.with_name(".model.pth.lock").mkdir(parents=True)
    with pytest.raises(DownloadError, match=r"model\.pth"):
        fetch(server, target)


CHILD = """
import sys
from pathlib import Path
from tessera.storage.download import download
from tessera.storage.web import LONGEST_PAUSE_SECONDS, AddressError, _SafeRedirects, hide_secrets
download([sys.argv[1]], Path(sys.argv[2]), sha256=None, size=int(sys.argv[3]))
"""


def start_child(server: Server, target: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", CHILD, server.url(), str(target), str(len(WHOLE))])


def wait_for_part(target: Path, size: int) -> None:
    part = target.with_name("model.pth.part")
    limit = time.monotonic() + 10
    while not part.exists() or part.stat().st_size < size:
        assert time.monotonic() < limit
        time.sleep(0.01)


@pytest.mark.skipif(os.name != "posix", reason="kills with SIGKILL")
def test_a_killed_download_leaves_no_file_and_no_lock_and_is_resumed(server: Server, target: Path) -> None:
    server.script = [stall_after(260_000), whole()]
    with start_child(server, target) as child:
        wait_for_part(target, 260_000)
        child.send_signal(signal.SIGKILL)
    assert not target.exists()
    fetch(server, target)
    assert server.asked("range") == [None, "bytes=260000-"]
    assert target.read_bytes() == WHOLE
    assert names(target) == ["model.pth"]


def test_two_processes_fetch_the_file_once(server: Server, target: Path) -> None:
    def slow(visit: Visit, number: int) -> None:
        visit.head(200, len(WHOLE), ETag='"one"')
        visit.wfile.write(WHOLE[:100_000])
        visit.wfile.flush()
        time.sleep(0.5)
        visit.wfile.write(WHOLE[100_000:])

    server.script = [slow]
    with start_child(server, target) as child:
        wait_for_part(target, 100_000)
        assert fetch(server, target) == SUM
    assert child.returncode == 0
    assert len(server.seen) == 1


def test_the_sum_of_a_file_is_that_of_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(WHOLE)
    assert compute_sha256(tmp_path / "x") == SUM


# ------------------------------------------------------------------------------------------------- hostile answers


def raw(*lines: bytes) -> Answer:
    """Answer with exactly these header lines, in spite of what HTTP allows."""

    def answer(visit: Visit, number: int) -> None:
        visit.wfile.write(b"\r\n".join([*lines, b"", b""]))
        visit.wfile.flush()
        visit.close_connection = True

    return answer


MOVED = b"HTTP/1.1 302 Found"
HOSTILE = {
    "bracket": (MOVED, b"Location: http://[::1/model.pth"),
    "port": (MOVED, b"Location: http://127.0.0.1:port/model.pth"),
    "large port": (MOVED, b"Location: http://127.0.0.1:99999999/model.pth"),
    "idna": (MOVED, b"Location: http://" + b"a" * 70 + b".example.org/model.pth"),
    "broken idna": (MOVED, b"Location: http://xn--\xff\xfe.example/"),
    "dots": (MOVED, b"Location: http://a..b/model.pth"),
    "control": (MOVED, b"Location: http://127.0.0.1/a\x00b c\x7f"),
    "nothing": (MOVED, b"Location:"),
    "no location": (MOVED,),
    "loop": (MOVED, b"Location: /model.pth"),
    "long length": (b"HTTP/1.1 200 OK", b"Content-Length: " + b"9" * 5000),
    "wrong length": (b"HTTP/1.1 200 OK", b"Content-Length: -5"),
    "length in words": (b"HTTP/1.1 200 OK", b"Content-Length: many"),
    "other digits": (b"HTTP/1.1 200 OK", "Content-Length: \u0663\u0664".encode()),
    "chunks": (b"HTTP/1.1 200 OK", b"Transfer-Encoding: chunked", b"", b"zz", b"data"),
    "endless chunk": (b"HTTP/1.1 200 OK", b"Transfer-Encoding: chunked", b"", b"f" * 200, b"data"),
    "status": (b"HTTP/1.1 99999 OK",),
    "status in words": (b"HTTP/1.1 fine",),
    "no http": (b"\x00\x01\x02\xff" * 50,),
    "header of 100 kB": (b"HTTP/1.1 200 OK", b"X: " + b"a" * 100_000),
    "1000 headers": (b"HTTP/1.1 200 OK", *(b"X: a",) * 1000),
    "range of words": (b"HTTP/1.1 206 Partial Content", b"Content-Range: bytes x-y/z"),
    "retry in 5000 digits": (b"HTTP/1.1 503 Later", b"Retry-After: " + b"9" * 5000),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_whatever_a_server_says_the_next_address_is_asked(
    kind: str, make_server: Callable[[], Server], target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = make_server(), make_server()
    bad.script = [raw(*HOSTILE[kind])]
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    assert download([bad.url(), good.url()], target, sha256=PINNED, size=None, tries=2, timeout_seconds=5) == SUM
    assert target.read_bytes() == WHOLE
    assert good.seen


@pytest.mark.parametrize("kind", HOSTILE)
def test_whatever_the_only_server_says_is_one_sentence(
    kind: str, server: Server, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.script = [raw(*HOSTILE[kind])]
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    with pytest.raises(DownloadError) as caught:
        download([server.url()], target, sha256=PINNED, size=None, tries=2, timeout_seconds=5)
    assert len(str(caught.value)) < 1500


@pytest.mark.parametrize(
    "url", ["http://[", "ftp://me:secret@example.org/a", "http:/" + "/[v1.x]y/", "//example.org/a?key=secret"]
)
def test_an_address_that_cannot_be_parsed_is_refused_without_its_password(url: str, target: Path) -> None:
    with pytest.raises((UsageError, DownloadError)) as caught:
        download([url], target, sha256=PINNED, size=None, tries=1)
    assert "secret" not in str(caught.value)


def test_the_password_of_an_address_is_sent_and_never_shown_or_stored(server: Server, target: Path) -> None:
    """RFC 7617: the header is `Basic` and the base64 of `user:password`."""
    host = f"127.0.0.1:{server.server_address[1]}"
    url = f"http://me:s%40cret@{host}/model.pth?token=secret"
    server.script = [whole(stop_after=100_000)]
    with pytest.raises(DownloadError) as caught:
        download([url], target, sha256=PINNED, size=None, tries=1)
    assert "cret" not in str(caught.value)
    assert f"http://{host}/model.pth?..." in str(caught.value)
    assert "cret" not in "".join(path.read_text("latin-1") for path in target.parent.glob("*.json"))
    assert server.asked("authorization") == ["Basic bWU6c0BjcmV0"]
    assert server.seen[0][0] == "/model.pth?token=secret"
    server.script = [whole()]
    assert download([url], target, sha256=PINNED, size=None, tries=1) == SUM
    assert server.asked("range")[-1] == "bytes=100000-"


def test_the_password_is_not_sent_to_the_host_of_a_redirect(make_server: Callable[[], Server], target: Path) -> None:
    first, second = make_server(), make_server()
    elsewhere = second.url().replace("127.0.0.1", "localhost")
    first.script = [raw(MOVED, f"Location: {elsewhere}".encode())]
    url = first.url().replace("http://", "http://me:secret@")
    assert download([url], target, sha256=PINNED, size=None, tries=1) == SUM
    assert first.asked("authorization") == ["Basic bWU6c2VjcmV0"]
    assert second.asked("authorization") == [None]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://a.example/b.pth", "https://a.example/b.pth"),
        ("https://user:p@ss@a.example/b@c.pth", "https://a.example/b@c.pth"),
        ("https://a.example/b?x=1&y=2#z", "https://a.example/b?..."),
        ("https://token@a.example", "https://a.example"),
    ],
)
def test_addresses_are_shown_without_secrets(url: str, shown: str) -> None:
    assert hide_secrets(url) == shown


@pytest.mark.skipif(os.name != "posix", reason="links")
def test_links_in_the_models_folder_are_not_written_through(server: Server, target: Path, tmp_path: Path) -> None:
    target.parent.mkdir()
    outside = tmp_path / "outside"
    outside.write_text("mine")
    names = (f"{target.name}.part", f"{target.name}.part.json", f".{target.name}.lock")
    for name in names:
        (target.parent / name).unlink(missing_ok=True)
        (target.parent / name).symlink_to(outside)
        with contextlib.suppress(TesseraError):
            fetch(server, target)
        assert outside.read_text() == "mine"
