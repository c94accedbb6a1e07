"""Servers, archives and zips of every ill will: refused in one line with exit code 69, in bounded time and space, no trace.

Each case is tried on an empty cache and must leave it empty, so that the next good try begins where the first one would.
"""

import gzip
import io
import os
import random
import resource
import signal
import struct
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import TINY_MESSAGES
from misbehaving_server import MisbehavingServer

from spamcli import modules
from spamcli.errors import UnavailableError
from spamcli.sources import Sources, download

pytestmark = pytest.mark.slow

QUICK = modules.Limits(
    connect_timeout=0.5, read_timeout=0.5, window=1, window_bytes=10_000, packed_bytes=1_000_000, unpacked_bytes=3_000_000
)
IMPATIENT = Sources(connect_timeout=0.5, read_timeout=0.5, total_timeout=1, max_bytes=1_000_000)
SECONDS, BYTES = 20, 150_000_000  # that one try may take, and memory

BEHAVIOURS = {  # of a server: what is said of it when it is asked for the collection, and for a module
    "truncated": ("IncompleteRead", "IncompleteRead"),
    "stall": ("timed out after 0.5 s", "timed out after 0.5 s"),
    "silent": ("timed out after 0.5 s", "timed out after 0.5 s"),
    "drip": ("not complete after 1 s", "under 10,000 bytes in 1 s"),
    "drip_headers": ("not complete after 1 s", "under 10,000 bytes in 1 s"),
    "endless": ("longer than 1,000,000 bytes", "longer than 1,000,000 bytes"),
    "endless_chunk": ("longer than 1,000,000 bytes", "longer than 1,000,000 bytes"),
    "endless_headers": ("got more than 100 headers", "got more than 100 headers"),
    "endless_continue": ("not complete after 1 s", "under 10,000 bytes in 1 s"),
    "endless_hop": ("HTTP 404", "HTTP 404"),
    "understated": ("sha256 mismatch", "not a .tar.gz"),
    "overstated": ("IncompleteRead", "IncompleteRead"),
    "negative_length": ("sha256 mismatch", "not a .tar.gz"),
    "no_length": ("invalid literal", "invalid literal"),
    "bad_chunk": ("invalid literal", "invalid literal"),
    "bomb": ("longer than 1,000,000 bytes", "longer than 1,000,000 bytes"),
    "garbage": ("?ÿ?", "?ÿ?"),
    "missing": ("HTTP 404", "HTTP 404"),
    "broken": ("HTTP 500", "HTTP 500"),
    "nothing": ("sha256 mismatch", "not a .tar.gz"),
    "html": ("an HTML page", "not a .tar.gz"),
    "wrong": ("sha256 mismatch", "not a .tar.gz"),
    "reset": ("Connection reset", "Connection reset"),
    "reset_midway": ("Connection reset", "Connection reset"),
    "loop": ("Exceeded 30 redirects", "Exceeded 30 redirects"),
    "hop_to_file": ("No connection adapters", "No connection adapters"),
    "hop_to_nowhere": ("Invalid IPv6 URL", "Invalid IPv6 URL"),
}


@pytest.fixture(scope="module")
def packed(tiny_elmo) -> bytes:
    """A good module's archive."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        tar.add(tiny_elmo, arcname=".")
    return out.getvalue()


@pytest.fixture
def server(packed):
    files = {"spam.csv": random.Random(1).randbytes(100_000), "elmo.tar.gz": packed}
    with MisbehavingServer(files) as running:
        yield running


@pytest.fixture(autouse=True)
def bounded(tmp_path, monkeypatch):
    """Every test: soon over, little memory, and nothing left in the cache, the temporary folder or anywhere near."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "precious").write_text("mine")
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "hub"))
    monkeypatch.setenv("NO_PROXY", "*")
    before, began = peak_bytes(), time.monotonic()
    yield
    assert time.monotonic() - began < SECONDS
    assert peak_bytes() - before < BYTES
    assert list(scratch.iterdir()) == []
    assert {path.name: path.read_text() for path in (tmp_path / "outside").iterdir()} == {"precious": "mine"}


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def left(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*")) if folder.exists() else []


# Servers


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_a_server_of_the_collection(behaviour, server, tmp_path):
    with pytest.raises(UnavailableError) as failure:
        download(tmp_path / "data" / "spam.csv", "github", sources=replace(IMPATIENT, github=server.url(behaviour)))
    assert BEHAVIOURS[behaviour][0] in str(failure.value) and str(failure.value).isprintable()
    assert left(tmp_path / "data") == []


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_a_server_of_a_module(behaviour, server, tmp_path):
    with pytest.raises(UnavailableError) as failure:
        modules.resolve(server.url(behaviour, "elmo.tar.gz"), limits=QUICK)
    assert BEHAVIOURS[behaviour][1] in str(failure.value) and str(failure.value).isprintable()
    assert str(tmp_path) not in str(failure.value)  # a folder that is gone helps nobody
    assert left(tmp_path / "hub") == []


def test_after_failures_the_next_good_try_works(server, tmp_path):
    url = server.url("{}", "elmo.tar.gz")
    for behaviour in ("truncated", "drip", "reset_midway"):
        with pytest.raises(UnavailableError):
            modules.resolve(url.format(behaviour), limits=QUICK)
    for behaviour in ("good", "unsized", "hop"):
        assert (modules.resolve(url.format(behaviour), limits=QUICK) / "saved_model.pb").is_file()
    assert len(list((tmp_path / "hub").iterdir())) == 3


def test_a_slow_line_is_no_ill_will(server, packed):
    """It takes longer than a window, and is still faster than the least."""
    patient = replace(QUICK, window=0.1, window_bytes=1)
    assert (modules.resolve(server.url("slow", "elmo.tar.gz"), limits=patient) / "saved_model.pb").is_file()


def test_secrets_of_an_address_are_not_repeated(server, tmp_path):
    url = server.url("missing", "elmo.tar.gz?token=hush").replace("//", "//me:secret@")
    with pytest.raises(UnavailableError) as failure:
        modules.resolve(url, limits=QUICK)
    assert "hush" not in str(failure.value) and "secret" not in str(failure.value)


FETCH = "import sys; from spamcli import modules; modules.resolve(sys.argv[1])"


def test_what_a_killed_fetch_left_is_swept_and_a_live_one_is_not(server, tmp_path):
    hub = tmp_path / "hub"
    processes = [subprocess.Popen([sys.executable, "-c", FETCH, server.url("drip", f"{n}.tar.gz")]) for n in range(2)]
    try:
        while len(list(hub.glob(".spamcli-*/module.tar.gz"))) < 2:
            time.sleep(0.05)
        everything = set(hub.iterdir())
        processes[0].send_signal(signal.SIGKILL)
        processes[0].wait()
        module = modules.resolve(server.url("good", "elmo.tar.gz"))
        assert len(everything & set(hub.iterdir())) == 1  # the live one's
        processes[1].send_signal(signal.SIGINT)
        processes[1].wait()
        assert list(hub.iterdir()) == [module]
    finally:
        [process.kill() for process in processes]
        [process.wait() for process in processes]


# Archives


def member(name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, **more) -> bytes:
    """A member of a tar as it stands there: header and data."""
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, len(data)
    for key, value in more.items():
        setattr(info, key, value)
    return info.tobuf(tarfile.PAX_FORMAT) + data + bytes(-len(data) % 512)


def tar(*members: bytes) -> bytes:
    return gzip.compress(b"".join(members) + bytes(1024), 1)


def zeros(gigabytes: int) -> bytes:
    """So many of them, packed: gzip takes one stream after the other."""
    return gzip.compress(bytes(2**24), 1) * (gigabytes * 64)


def claiming(header: bytes, size: int) -> bytes:
    """A tar header that says its member has another size."""
    field = b"\x80" + size.to_bytes(11, "big", signed=True) if size >= 0 else b"\xff" + size.to_bytes(11, "big", signed=True)
    changed = header[:124] + field + header[136:148] + b" " * 8 + header[156:512]
    return changed[:148] + b"%06o\0 " % sum(changed) + changed[156:]


def zipped(*members: tuple[str, bytes], kind: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", kind) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return out.getvalue()


GRAPH = member("saved_model.pb", b"\x08\x01")
LINK = {"kind": tarfile.SYMTYPE}
HARD = {"kind": tarfile.LNKTYPE}
SPARSE = {"GNU.sparse.map": "0,0", "GNU.sparse.size": str(2**40), "GNU.sparse.numblocks": "1"}

ARCHIVES = {  # what is in it, given a folder that is none of its business; and what is said
    "up": (lambda out: tar(GRAPH, member("../outside/evil", b"x")), "leads out of it"),
    "down and up": (lambda out: tar(GRAPH, member("a/../../outside/evil", b"x")), "leads out of it"),
    "absolute": (lambda out: tar(GRAPH, member(f"{out}/evil", b"x")), "leads out of it"),
    "absolute folder": (lambda out: tar(GRAPH, member(f"{out}/evil/", kind=tarfile.DIRTYPE)), "leads out of it"),
    "overwriting": (lambda out: tar(GRAPH, member(f"{out}/precious", b"x")), "leads out of it"),
    "symbolic link outside": (lambda out: tar(GRAPH, member("a", linkname=f"{out}/precious", **LINK)), "neither a file"),
    "symbolic link inside": (lambda out: tar(GRAPH, member("a", linkname="saved_model.pb", **LINK)), "neither a file"),
    "symbolic link to itself": (lambda out: tar(GRAPH, member("a", linkname="a", **LINK)), "neither a file"),
    "hard link outside": (lambda out: tar(GRAPH, member("a", linkname=f"{out}/precious", **HARD)), "neither a file"),
    "hard link inside": (lambda out: tar(GRAPH, member("a", linkname="saved_model.pb", **HARD)), "neither a file"),
    "file through a link": (
        lambda out: tar(GRAPH, member("a", linkname=str(out), **LINK), member("a/evil", b"x")),
        "neither a file",
    ),
    "file over a link": (
        lambda out: tar(GRAPH, member("a", linkname=f"{out}/precious", **LINK), member("a", b"x")),
        "neither a file",
    ),
    "saved_model.pb a link": (
        lambda out: tar(member("saved_model.pb", linkname=f"{out}/precious", **LINK)),
        "neither a file",
    ),
    "character device": (lambda out: tar(GRAPH, member("a", kind=tarfile.CHRTYPE, devmajor=1, devminor=5)), "neither a file"),
    "block device": (lambda out: tar(GRAPH, member("a", kind=tarfile.BLKTYPE, devmajor=8)), "neither a file"),
    "fifo": (lambda out: tar(GRAPH, member("saved_model.pbtxt", kind=tarfile.FIFOTYPE)), "neither a file"),
    "unheard-of type": (lambda out: tar(GRAPH, member("a", kind=b"Z")), "neither a file"),
    "sparse terabyte": (lambda out: tar(GRAPH, member("a", pax_headers=SPARSE)), "neither a file"),
    "honest bomb": (lambda out: gzip.compress(claiming(member("a"), 3 * 2**30), 1) + zeros(3), "unpacks to more than"),
    "bomb after the end": (lambda out: tar(GRAPH) + zeros(3), "more than it says"),
    "terabytes claimed": (lambda out: tar(GRAPH, claiming(member("a"), 2**44)), "unpacks to more than"),
    "negative size": (lambda out: tar(GRAPH, claiming(member("a"), -512)), "neither a file"),
    "endless long name": (
        lambda out: gzip.compress(claiming(member("././@LongLink", kind=b"L"), 3 * 2**30), 1) + zeros(3),
        "more than it says",
    ),
    "endless extended header": (
        lambda out: gzip.compress(claiming(member("a", kind=tarfile.XHDTYPE), 3 * 2**30), 1) + zeros(3),
        "more than it says",
    ),
    "long names of long names": (lambda out: tar(member("././@LongLink", b"a\0", kind=b"L") * 5000), "recursion"),
    "a million folders": (
        lambda out: gzip.compress(member("a/", kind=tarfile.DIRTYPE) * 10_000, 1) * 100,
        "holds more than 1,000 files",
    ),
    "thousands of files": (lambda out: tar(*(member(f"{n}", b"x") for n in range(5000))), "holds more than 1,000 files"),
    "a tower of folders": (lambda out: tar(GRAPH, member("a/" * 1500 + "b", b"x")), "too deep"),
    "the same file twice": (lambda out: tar(GRAPH, GRAPH), "File exists"),
    "a file and below it": (lambda out: tar(GRAPH, member("a", b"x"), member("a/b", b"x")), "not a .tar.gz"),
    "a name without end": (lambda out: tar(GRAPH, member("n" * 5000, b"x")), "too long a name"),
    "a name of many bytes": (lambda out: tar(GRAPH, member("é" * 200, b"x")), "too long a name"),
    "a name with a zero": (lambda out: tar(GRAPH, member("a", pax_headers={"path": "a\0b"})), "null byte"),
    "lines in a name": (lambda out: tar(GRAPH, member("a\nb\x1b[2J", **LINK)), "neither a file"),
    "no module": (lambda out: tar(member("a.txt", b"x")), "no saved_model.pb"),
    "a folder in its place": (lambda out: tar(member("saved_model.pb/", kind=tarfile.DIRTYPE)), "no saved_model.pb"),
    "a fingerprint alone": (lambda out: tar(member("fingerprint.pb", b"\x08\x01")), "no saved_model.pb"),
    "a graph in text": (lambda out: tar(member("saved_model.pbtxt", b"saved_model_schema_version: 1")), "no saved_model.pb"),
    "a second graph in text": (lambda out: tar(GRAPH, member("saved_model.pbtxt", b"x")), "might be loaded instead"),
    "an empty graph": (lambda out: tar(member("saved_model.pb")), "not a loadable SavedModel"),
    "a graph of junk": (lambda out: tar(member("saved_model.pb", b"\xff" * 99)), "not a loadable SavedModel"),
    "empty archive": (lambda out: tar(), "no saved_model.pb"),
    "empty file": (lambda out: b"", "not a .tar.gz"),
    "HTML": (lambda out: b"<!DOCTYPE html><html>Please sign in</html>" * 50, "not a .tar.gz"),
    "a zip": (lambda out: zipped(("saved_model.pb", b"x")), "not a .tar.gz"),
    "gzip of junk": (lambda out: gzip.compress(b"junk" * 1000), "not a .tar.gz"),
    "junk after gzip": (lambda out: tar(GRAPH) + b"junk" * 100, "not a .tar.gz"),
    "a wrong checksum": (lambda out: tar(GRAPH)[:-8] + bytes(8), "not a .tar.gz"),
    "cut off": (lambda out: tar(GRAPH, member("a", random.Random(1).randbytes(99_999)))[:50_000], "not a .tar.gz"),
    "cut off, unpacked": (lambda out: gzip.decompress(tar(member("saved_model.pb", b"x" * 2000)))[:1000], "not a .tar.gz"),
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive(name, server, cli, tmp_path, monkeypatch):
    make, says = ARCHIVES[name]
    server.files["a.tar.gz"] = make(tmp_path / "outside")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    result = cli("train", "--data", TINY_MESSAGES, "--elmo", server.url("good", "a.tar.gz"))
    assert (result.exit_code, result.stdout) == (69, "")
    assert says in result.stderr and result.stderr[:-1].isprintable()
    assert server.url("good", "a.tar.gz") in result.stderr
    assert left(tmp_path / "hub") == left(tmp_path / "work") == []


def test_bits_and_owners_of_an_archive_are_not_taken_over(tiny_elmo, server, tmp_path):
    """A module with set-uid files that anybody may write is a module; its files are the user's own."""

    def of_root(info):
        info.mode, info.uid, info.gid, info.uname = 0o6777, 0, 0, "root"
        return info

    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as packed:
        packed.add(tiny_elmo, arcname=".", filter=of_root)
    server.files["elmo.tar.gz"] = out.getvalue()
    module = modules.resolve(server.url("good", "elmo.tar.gz"))
    (tmp_path / "other").touch()
    modes = {path.stat().st_mode & 0o7777 for path in module.rglob("*") if path.is_file()}
    assert modes == {(tmp_path / "other").stat().st_mode & 0o7777}
    assert {path.stat().st_uid for path in module.rglob("*")} == {os.getuid()}


# Zips


def lying(data: bytes, size: int) -> bytes:
    """A zip of one member that says it is so long when it is unpacked."""
    central = data.index(b"PK\1\2")
    local = data[:22] + struct.pack("<I", size) + data[26:central]
    return local + data[central : central + 24] + struct.pack("<I", size) + data[central + 28 :]


def with_flag(data: bytes, flag: int) -> bytes:
    central = data.index(b"PK\1\2")
    changed = bytearray(data)
    changed[6] |= flag
    changed[central + 8] |= flag
    return bytes(changed)


ZIPS = {
    "nothing in it": (lambda: zipped(), "sha256 mismatch"),
    "another file": (lambda: zipped(("readme", b"hello")), "sha256 mismatch"),
    "its name, not its bytes": (lambda: zipped(("SMSSpamCollection", b"ham\thello\n")), "sha256 mismatch"),
    "encrypted": (lambda: with_flag(zipped(("SMSSpamCollection", b"x" * 99)), 1), "a damaged or locked zip"),
    "a bomb": (lambda: zipped(("SMSSpamCollection", bytes(3 * 10**8))), "sha256 mismatch"),
    "a bomb that says it is short": (lambda: lying(zipped(("a", bytes(3 * 10**8))), 100), "a damaged or locked zip"),
    "shorter than it says": (lambda: lying(zipped(("a", b"x")), 1_000_000), "sha256 mismatch"),
    "a bomb of another kind": (lambda: lying(zipped(("a", bytes(10**8)), kind=zipfile.ZIP_BZIP2), 100), "sha256 mismatch"),
    "a thousand bombs": (lambda: zipped(*((f"{n}", bytes(1_900_000)) for n in range(110))), "unpacks to more than"),
    "a million members": (
        lambda: (
            (entry := zipped(("a", b""))[31:-22]) * 10_000 + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 1, 1, len(entry), 0, 0)
        ),
        "more than 1,000 members",
    ),
    "a wrong checksum": (lambda: zipped(("a", b"hello"), kind=zipfile.ZIP_STORED).replace(b"hello", b"hallo"), "damaged"),
    "cut in the middle": (lambda: (whole := zipped(("a", b"hello")))[:20] + whole[-60:], "damaged"),
    "no such way to pack": (
        lambda: zipped(("a", b"hello")).replace(b"\x14\0\0\0\x08\0", b"\x14\0\0\0\x63\0"),
        "sha256 mismatch",
    ),
    "up": (lambda: zipped(("../../evil", b"x"), ("/evil", b"x")), "sha256 mismatch"),
}


@pytest.mark.parametrize("name", ZIPS)
def test_a_zip(name, server, cli, tmp_path, monkeypatch):
    make, says = ZIPS[name]
    server.files["uci.zip"] = make()
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    result = cli("download", "--source", server.url("good", "uci.zip"))
    assert (result.exit_code, result.stdout) == (69, "")
    assert says in result.stderr and result.stderr[:-1].isprintable()
    assert left(tmp_path / "work") == []


def test_no_change_of_a_zip_is_anything_but_refused():
    """Any byte of the headers, any value: no other exception gets out."""
    from spamcli.sources import _recognise

    whole = zipped(("readme", b"hello" * 20), ("SMSSpamCollection", b"ham\thello\n" * 50))
    draw = random.Random(1)
    for _ in range(3000):
        changed = bytearray(whole)
        for _ in range(draw.randint(1, 4)):
            changed[draw.randrange(len(changed))] = draw.choice((0, 1, 0x7F, 0x80, 0xFF, draw.randrange(256)))
        with pytest.raises(UnavailableError):
            _recognise(bytes(changed), Sources())
