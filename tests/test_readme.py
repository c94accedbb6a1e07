"""What the README shows is run and compared."""

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
