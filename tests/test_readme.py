"""What the README shows is run and compared."""

import doctest
import os
import re
import shlex
import shutil
import subprocess
import sys

import pytest

from spamcli.cli import main

from conftest import ROOT  # isort: skip

README = (ROOT / "README.md").read_text(encoding="utf-8")
NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")


def session() -> list[tuple[list[str], list[str]]]:
    """Commands of the README's session, with the lines they printed."""
    (block,) = re.findall(r"```console\n(.*?)```", README, re.DOTALL)
    commands = []
    for line in block.splitlines():
        if line.startswith("$ "):
            commands.append((shlex.split(line[2:]), []))
        else:
            commands[-1][1].append(line)
    return commands


@pytest.mark.slow
def test_the_session_prints_what_the_readme_says(spam_csv, tmp_path):
    """Word for word but for the numbers, which depend on processor and versions; the accuracy to half a point."""
    (tmp_path / "data").mkdir()
    shutil.copy(spam_csv, tmp_path / "data" / "spam.csv")
    for (program, *arguments), shown in session():
        assert program == "spamcli"
        command = [sys.executable, "-m", program, *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, encoding="utf-8")
        assert done.returncode == 0, done.stderr
        printed = done.stdout.splitlines()
        for ours, readme in zip(printed, shown, strict=True):
            if ours.startswith("fingerprint"):
                continue  # names versions and hashes
            assert NUMBER.sub("#", ours) == NUMBER.sub("#", readme)
            if ours.startswith("accuracy"):
                ours_percent, readme_percent = (float(NUMBER.search(line).group()) for line in (ours, readme))
                assert ours_percent == pytest.approx(readme_percent, abs=0.5)


def test_every_verb_and_exit_code_is_in_the_readme():
    from spamcli import errors

    assert all(f"`spamcli {verb}" in README for verb in main.commands)
    codes = [error.exit_code for error in errors.SpamcliError.__subclasses__()]
    section = README.partition("## Exit codes")[2].partition("\n## ")[0]
    assert codes and all(re.search(rf"\b{code}\b", section) for code in [0, 2, 130, *codes])


def test_no_placeholder_is_left():
    assert "@@" not in README
    assert all("@@" not in page.read_text(encoding="utf-8") for page in (ROOT / "docs").glob("*.md"))


def test_the_library_example_prints_what_the_readme_says(monkeypatch):
    """As a doctest, with the classifier inside the package; the docstring of SpamClassifier, too."""
    from spamcli import prediction

    (example,) = re.findall(r"```python\n(>>>.*?)```", README, re.DOTALL)
    parsed = doctest.DocTestParser().get_doctest(example, {}, "README", None, 0)
    (documented,) = doctest.DocTestFinder(recurse=False).find(prediction.SpamClassifier)
    for test in (parsed, documented):
        assert doctest.DocTestRunner().run(test) == (0, 3)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_completes(shell):
    assert f"_SPAMCLI_COMPLETE={shell}_source" in README or f"`{shell}_source`" in README
    environment = {**os.environ, "_SPAMCLI_COMPLETE": f"{shell}_source"}
    done = subprocess.run(
        [sys.executable, "-c", "from spamcli.cli import main; main(prog_name='spamcli')"],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0 and "_SPAMCLI_COMPLETE" in done.stdout and "spamcli" in done.stdout


@pytest.mark.parametrize("words", ["predict -f a", "pretrain a", "train --also a", "train --elmo a", "evaluate --test a"])
def test_the_shell_is_told_where_a_file_is_named(words):
    environment = {**os.environ, "_SPAMCLI_COMPLETE": "bash_complete", "COMP_WORDS": f"spamcli {words}"}
    environment["COMP_CWORD"] = str(len(words.split()))
    command = [sys.executable, "-c", "from spamcli.cli import main; main(prog_name='spamcli')"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.stdout == "file,a\n", done.stderr
