"""Hostile messages: always one verdict in [0, 1], in time and memory that are bounded; and the cases of `make fuzz`."""

import os
import random
import subprocess
import sys
import time
import tracemalloc
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from spamcli import messages, model_dir, ngrams, protocols, training
from spamcli.characters import MAX_TOKENS, first_tokens
from spamcli.elmo import ELMo
from spamcli.runtime import Runtime
from spamcli.settings import RECIPES

from conftest import TINY_MESSAGES  # isort: skip
from fuzz import CORPUS, NAMES, check_file, check_message, file_of, message_of  # isort: skip

pytestmark = pytest.mark.filterwarnings("ignore:a message has more than", "ignore:.*records that cannot be read are skipped")
FORMS = (None, "NFC", "NFD", "NFKC", "NFKD")
# Any code point, and often those that have a meaning of their own to a tokenizer, a terminal or an encoder.
ODD = "\x00\t\n\r \x1b\x85\x9b\xa0\xad\u0301\u0489\u200b\u200d\u202e\u2028\u2066\u20dd\ufeff\ufffe\ud800\udfff\U0010ffff'’.!?-"
ANY_TEXT = st.text(st.characters(exclude_categories=()) | st.sampled_from(ODD), max_size=200)
REPEATED = st.builds(
    lambda text, times: text * times, st.text(st.sampled_from(ODD + "aZ9é😀א"), min_size=1, max_size=6), st.integers(1, 500)
)
MEGABYTE = 1_000_000
ENDLESS = {  # a million characters, or more, each in a way that could be slow somewhere
    "without a space": "x" * MEGABYTE,
    "apostrophes": "a'" * (MEGABYTE // 2),
    "marks": "!?" * (MEGABYTE // 2),
    "spaces": " " * MEGABYTE,
    "a combining storm": "a" + "\u0301\u0489" * (MEGABYTE // 2),
    "right to left": "\u202eא" * (MEGABYTE // 2),
    "lone surrogates": "\ud800" * MEGABYTE,
    "NUL": "\x00" * MEGABYTE,
    "100,000 tokens": "win " * 100_000,
    "500,000 tokens": "! " * 500_000,
    "any characters": "".join(random.Random(0).choices([chr(c) for c in range(33, 0x3000)], k=MEGABYTE)),
}


@pytest.fixture(scope="module")
def trained(tiny_elmo, tmp_path_factory):
    read = messages.read_messages(TINY_MESSAGES)
    split = protocols.split(read, "grouped", 1)
    return training.train(read, split, ELMo(str(tiny_elmo), tmp_path_factory.mktemp("pooled")), RECIPES["wide-and-deep"], 1)[0]


@pytest.fixture(scope="module")
def directory(trained, tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "m"
    model_dir.save(trained, path)
    return path


@pytest.fixture(scope="module")
def runtime(directory):
    return Runtime(directory)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ANY_TEXT | REPEATED, st.sampled_from(FORMS))
@example("\ud83d\ude00 \ude00\ud83d", None)
def test_any_message_has_one_verdict_and_one_line(runtime, text, form):
    check_message(runtime, unicodedata.normalize(form, text) if form else text)


@pytest.mark.parametrize("case", sorted((CORPUS / "messages").iterdir()), ids=lambda path: path.name)
def test_cases_of_messages(runtime, case):
    for form in FORMS:
        text = message_of(case.read_bytes())
        check_message(runtime, unicodedata.normalize(form, text) if form else text)


@pytest.mark.parametrize("case", sorted((CORPUS / "files").iterdir()), ids=lambda path: path.name)
def test_cases_of_files(tmp_path, case):
    check_file(file_of(case.read_bytes(), tmp_path))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_file_is_read_or_refused_in_one_line(tmp_path_factory, data):
    """One of the cases, under its name or another, with some of its bytes replaced, put in, taken out, or all cut off."""
    case = bytearray(data.draw(st.sampled_from(sorted((CORPUS / "files").iterdir()))).read_bytes())
    case[0] = data.draw(st.sampled_from([case[0], *range(len(NAMES))]))
    for _ in range(data.draw(st.integers(0, 4))):
        start = data.draw(st.integers(1, len(case)))
        end = data.draw(st.integers(start, min(len(case), start + 8)) | st.just(len(case)))
        case[start:end] = data.draw(st.binary(max_size=8) | st.sampled_from([b'"', b"\n", b"\x00", b"\xff", b",", b'""\n']))
    check_file(file_of(bytes(case), tmp_path_factory.getbasetemp()))


@pytest.mark.parametrize("text", ENDLESS.values(), ids=ENDLESS)
def test_a_million_characters_have_a_verdict_in_bounded_time(runtime, text):
    """Seconds of the processor, ten times what it takes; anything quadratic would take an hour."""
    start = time.process_time()
    check_message(runtime, text)
    assert time.process_time() - start < 30


@pytest.mark.parametrize("name", ["without a space", "any characters", "100,000 tokens", "500,000 tokens"])
def test_memory_for_ngrams_is_proportional(name):
    """Bytes at most for each character; a file of words of one character has the most n-grams."""
    tracemalloc.start()
    ngrams.count([ENDLESS[name]])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 500 * len(ENDLESS[name])


def test_both_runtimes_read_the_same_first_tokens(trained, runtime):
    """What comes behind them does not move the ELMo's vectors; the n-grams see it."""
    whole = "win " * MAX_TOKENS
    texts = [whole, whole + "prize cash call " * 300, "see you then " * 2000, "?! " * 2000, "short"]
    with pytest.warns(UserWarning, match="more than 2,048 tokens"):
        ours = runtime.p_spam(texts)
    with pytest.warns(UserWarning, match="more than 2,048 tokens"):
        pooled = trained.elmo.pooled_layers(texts)
    np.testing.assert_allclose(ours, trained.p_spam(texts), atol=1e-5)
    np.testing.assert_array_equal(pooled[0], pooled[1])
    assert ours[0] != ours[1]


def test_a_long_message_to_learn_from_is_cut_for_both_runtimes_alike(tiny_elmo, tmp_path):
    """Training compares the two on the longest of its messages."""
    long = [
        f"{label},{' '.join(f'{word}{i}' for i in range(MAX_TOKENS + 200))}" for label in ("ham", "spam") for word in "abcd"
    ]
    (tmp_path / "a.csv").write_text(TINY_MESSAGES.read_text(encoding="utf-8") + "\n".join(long) + "\n", encoding="utf-8")
    read = messages.read_messages(tmp_path / "a.csv")
    split = protocols.split(read, "grouped", 1)
    assert max(map(len, first_tokens(split.train["text"], "punctuation").values())) == MAX_TOKENS
    model, _ = training.train(read, split, ELMo(str(tiny_elmo), tmp_path / "pooled"), RECIPES["tutorial"], 1)
    assert model.onnx


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells a process's peak memory there")
def test_a_process_that_reads_them_all_stays_small(directory, tmp_path):
    """A line each, 40 of a megabyte: one verdict each, one warning in all, memory as for a few of them."""
    lines = [text for text in ENDLESS.values() if "\ud800" not in text] * 4
    (tmp_path / "endless.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    code = (
        "import re, sys; from spamcli.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "finally: print(re.search('VmHWM:(.*) kB', open('/proc/self/status').read())[1], file=sys.stderr)"
    )
    arguments = ["predict", "--model", directory, "-f", tmp_path / "endless.txt", "--json", "--no-text"]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    warning, kilobytes = done.stderr.splitlines()
    assert done.returncode == 0 and "more than 2,048 tokens" in warning
    assert done.stdout.count('"label": ') == len(lines)
    assert int(kilobytes) < 900_000


def test_fuzzing_finds_nothing_in_a_few_seconds(directory, tmp_path):
    """Where atheris can be installed, which CI's machine is."""
    if os.environ.get("CI") != "true":
        pytest.importorskip("atheris")
    for what in ("messages", "files"):
        (tmp_path / what).mkdir()
        options = [
            "-max_total_time=4",
            "-rss_limit_mb=0",  # which counts what this process had when it began the other one
            "-verbosity=0",
            f"-artifact_prefix={tmp_path}/",
            "-timeout=30",
            tmp_path / what,
            CORPUS / what,
        ]
        command = [sys.executable, Path(__file__).parent / "fuzz.py", what, directory, *options]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", cwd=tmp_path)
        assert done.returncode == 0, done.stderr[-3000:]
