"""Kill each verb that writes at the calls that change its files, or fill its disk there, and look at what is left.

The real command runs under strace, once to number these calls, and then once for each of them, in a folder of its own that
holds its home, caches and temporary files, too. Killed before call n means that all calls before it have been made. Then what
was there before or what was to come has to be there, whole, and the same command once more has to succeed and leave nothing
behind. Results are lines of work/faults/<version of the code>/results.jsonl; what is there is not tried again. Several such
processes may run beside one another, each with other verbs, once one of them has made what the verbs read.

    python tests/faults.py [VERB...] [--most TRIALS-A-VERB]
"""

import argparse
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from conftest import ROOT
from writing_verbs import Verb, make_inputs, run, verbs

from spamcli.errors import SpamcliError

KILLED, FULL = "signal=SIGKILL", "error=ENOSPC"
_BY_PATH = "openat rename renameat renameat2 unlink unlinkat rmdir mkdir mkdirat link linkat symlink".split()
_BY_FILE = "write pwrite64 writev pwritev ftruncate fallocate copy_file_range sendfile fsync fdatasync".split()
_NO_ROOM = {"openat", "mkdir", "mkdirat", "write", "pwrite64", "writev", "pwritev", "fsync", "fdatasync"}  # may find no room
_NO_ERROR = re.compile(r"no cache can be kept|cache is not used|^[\d,]+ of [\d,]+: ")  # without a cache; how far it is
_CALL = re.compile(r'(\d+) +(\w+)\((?:\w+(?:<(?P<file>[^>]*)>)?(?:\(deleted\))?(?:, |\)| ))?(?:"(?P<name>[^"]*)")?(?P<rest>.*)')
_DRAWN = re.compile(r"(?<=tempstate)\d+|(?<=_file)\w{8}|(?<=tmp/)(?!__)\w+|[0-9a-f]{8}-?[0-9a-f-]{24,}")  # differs each time


@dataclass(frozen=True)
class Point:
    """The `number`-th `call` of a thread, and the file that it is about."""

    call: str
    number: int
    file: str


def traced(box: Path, arguments: list[str], *more: str) -> tuple[subprocess.CompletedProcess, list[Point]]:
    """The command under strace, and the calls that it made inside the box, in order."""
    log = box.with_suffix(".log")
    calls = ",".join(f"?{call}" for call in (*_BY_PATH, *_BY_FILE))
    # --seccomp-bpf would be faster, but injects no signal
    done = run(box, arguments, ["strace", "-f", "-qq", "-y", "-o", str(log), "-e", f"trace={calls}", *more])
    with open(log, encoding="utf-8", errors="replace") as lines:
        points = list(_points(lines, box))
    log.unlink()
    return done, points


def _points(lines: Iterator[str], box: Path) -> Iterator[Point]:
    made: Counter = Counter()
    for line in lines:
        match = _CALL.match(line)
        if not match:
            continue
        thread, call = match[1], match[2]
        made[thread, call] += 1
        folder = match["file"] or str(box / "here")
        path = os.path.relpath(os.path.join(folder, match["name"] or "") if call in _BY_PATH else folder, box)
        creates = call != "openat" or "O_CREAT" in match["rest"] or "O_TRUNC" in match["rest"]
        if creates and not path.startswith("..") and (call in _BY_PATH or match["file"]):
            yield Point(call, made[thread, call], _DRAWN.sub("*", path))


def listing(box: Path) -> Counter:
    """What is in the folder and in spamcli's cache, but for what is drawn or hashed in names."""
    paths = [path for place in (box / "here", box / "cache" / "spamcli") for path in place.rglob("*")]
    return Counter(_DRAWN.sub("*", str(path.relative_to(box))) for path in paths)


class Trials:
    """Trials of a verb in a folder of theirs, made anew for each.

    Attributes:
        points: those that it has; after: what is there when it was not disturbed. Both are known once it is recorded.
    """

    def __init__(self, verb: Verb, inputs: Path, folder: Path):
        self.verb, self.inputs, self.folder = verb, inputs, folder
        self.points: list[Point] = []
        self.after: Counter | None = None

    def record(self) -> None:
        whole = self.box()
        done, self.points = traced(whole, self.verb.arguments)
        assert done.returncode == 0, done.stderr
        self.after = listing(whole)
        assert self.seen() == "new"
        self.box()
        assert self.seen() == "old"

    def faults(self) -> list[tuple[str, Point]]:
        """Each point under each fault that can come there."""
        killed = [(KILLED, point) for point in dict.fromkeys(self.points)]
        return killed + [(FULL, point) for _, point in killed if point.call in _NO_ROOM]

    def box(self) -> Path:
        """As it is before the command."""
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(self.inputs, self.folder / "here")
        for name, content in self.verb.old.items():
            (self.folder / "here" / name).parent.mkdir(exist_ok=True)
            (self.folder / "here" / name).write_bytes(content)
        return self.folder

    def tried(self, fault: str, point: Point) -> dict:
        """One trial: what was hit, what was there afterwards, how the next run went, and `wrong`, empty if nothing was."""
        box = self.box()
        inject = f"inject={point.call}:{fault}:when={point.number}"
        done, points = traced(box, self.verb.arguments, "-e", inject)
        hit = point in points and (fault == FULL or done.returncode == -signal.SIGKILL)
        result = {"verb": self.verb.name, "fault": fault, **asdict(point), "hit": hit, "code": done.returncode}
        result["state"] = self.seen()
        wrong = [result["state"]] if result["state"] not in ("old", "new") else []
        if fault == FULL:
            wrong += self.after_full_disk(done)
            wrong += ["exit 0, and nothing new is there"] * (done.returncode == 0 and result["state"] != "new")
        if not (self.verb.refuses and result["state"] == "new"):
            again = run(box, self.verb.arguments)
            if again.returncode or self.seen() != "new":
                wrong.append(f"next run: exit {again.returncode}, {self.seen()}, {again.stderr.strip()[-300:]}")
        wrong += [f"left behind: {name}" for name in self.left()]
        return result | {"wrong": wrong}

    def after_full_disk(self, done: subprocess.CompletedProcess) -> list[str]:
        """What is wrong: a verb does without a cache, and says so; else it answers with one line and exit 74, having tidied up.

        What it keeps for its next run, it says.
        """
        failed, keeps = done.returncode != 0, self.verb.keeps
        wrong = [f"left behind by itself: {name}" for name in self.left() if failed and name != keeps]
        kept = failed and bool(keeps) and (self.folder / keeps).exists()
        lines = [line for line in done.stderr.splitlines() if not _NO_ERROR.search(line)]
        if done.returncode not in (0, 74) or (failed and len(lines) != 1) or kept != ("--resume goes on" in done.stderr):
            wrong.append(f"exit {done.returncode}, {done.stderr.strip()[-300:]}")
        return wrong

    def seen(self) -> str:
        """What the box holds: old, new, or what the reader says is wrong with it."""
        try:
            return self.verb.state(self.folder / "here")
        except (AssertionError, LookupError, OSError, ValueError, SpamcliError) as error:
            return f"neither old nor new: {type(error).__name__}: {error}"

    def left(self) -> list[str]:
        """What should not be there; before it is recorded, what is hidden."""
        names = listing(self.folder)
        return [name for name in names if "/." in name] if self.after is None else sorted((names - self.after).elements())


def sample(faults: list, most: int, seed: int = 1) -> list:
    return faults if len(faults) <= most else random.Random(seed).sample(faults, most)


def version() -> str:
    """Of the code: results of another one are others."""
    digest = hashlib.sha256()
    for path in sorted([*(ROOT / "spamcli").rglob("*.py"), *(ROOT / "tests").glob("[fw]*.py")]):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:8]


def table(results: list[dict], there: dict[tuple[str, str], int]) -> Iterator[str]:
    """verb and fault, how many points there are, tried, survived, and hit elsewhere (another call came first)."""
    yield f"{'verb':<22}{'fault':<18}{'points':>7}{'tried':>7}{'survived':>10}{'elsewhere':>11}"
    for (verb, fault), points in there.items():
        rows = [row for row in results if (row["verb"], row["fault"]) == (verb, fault)]
        survived, elsewhere = sum(not row["wrong"] for row in rows), sum(not row["hit"] for row in rows)
        yield f"{verb:<22}{fault:<18}{points:>7}{len(rows):>7}{survived:>10}{elsewhere:>11}"


def kept(file: Path) -> list[dict]:
    """The results so far."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []


def try_all(verb: Verb, most: int, folder: Path, file: Path) -> dict[tuple[str, str], int]:
    """Add to the results what is not yet there, at most so many of a sampled verb; returns how many points there are."""
    done = {(row["verb"], row["fault"], row["call"], row["number"]) for row in kept(file)}
    trials, there = Trials(verb, folder / "inputs" / "here", folder / verb.name.replace(" ", "-")), {}
    trials.record()
    for fault in (KILLED, FULL):
        points = [point for each, point in trials.faults() if each == fault]
        there[verb.name, fault] = len(points)
        for point in points if verb.every else sample(points, most):
            if (verb.name, fault, point.call, point.number) not in done:
                result = json.dumps(trials.tried(fault, point))
                with open(file, "a", encoding="utf-8") as lines:
                    lines.write(result + "\n")
                if not result.endswith('"wrong": []}'):
                    print(result, flush=True)
    return there


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verbs", nargs="*", metavar="VERB", help="by default all")
    parser.add_argument("--most", type=int, default=200, help="trials of train, pretrain and evaluate, each fault")
    options = parser.parse_args()
    folder = ROOT / "work" / "faults" / version()
    file, there = folder / "results.jsonl", {}
    if not (folder / "inputs" / "here" / "model" / "config.json").exists():
        shutil.rmtree(folder / "inputs", ignore_errors=True)
        make_inputs(folder / "inputs", ROOT / "data" / "spam.csv")
    for verb in verbs():
        if not options.verbs or verb.name.partition(" ")[0] in options.verbs:
            there |= try_all(verb, options.most, folder, file)
    print(*table(kept(file), there), sep="\n")
    sys.exit(any(row["wrong"] for row in kept(file)))


if __name__ == "__main__":
    main()
