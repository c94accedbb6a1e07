"""What `make` installs is what setup.cfg asks for, and nothing else, each with the hashes of its files."""

import re
from configparser import ConfigParser
from importlib.metadata import requires

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from conftest import ROOT  # isort: skip


@pytest.fixture(scope="module")
def locked() -> dict[str, Requirement]:
    """By name, of those that this Python and platform take; each is exactly one version, with hashes."""
    blocks = re.split(r"\n(?=\S)", (ROOT / "requirements.lock").read_text().strip())
    found = {}
    for block in (block for block in blocks if not block.startswith("#")):
        first, *hashes = block.replace("\\\n", "\n").splitlines()
        assert hashes and all(re.fullmatch(r"\s+--hash=sha256:[0-9a-f]{64}\s*", line) for line in hashes), block
        requirement = Requirement(first)
        assert re.fullmatch(r"==[^,*]+", str(requirement.specifier)), first
        if wanted(requirement):
            assert requirement.name not in found, first
            found[canonicalize_name(requirement.name)] = requirement
    return found


def wanted(requirement: Requirement, extras: set[str] = frozenset()) -> bool:
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in {"", *extras})


@pytest.fixture(scope="module")
def asked() -> list[Requirement]:
    """By setup.cfg, for use and for tests."""
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    lines = config["options"]["install_requires"] + config["options.extras_require"]["test"]
    return [Requirement(line) for line in lines.splitlines() if line and not line.startswith("#")]


def test_all_that_is_asked_for_is_locked_in_a_version_that_will_do(locked, asked):
    for requirement in filter(wanted, asked):
        (version,) = locked[canonicalize_name(requirement.name)].specifier
        assert requirement.specifier.contains(version.version), requirement


def test_nothing_is_locked_that_nothing_asks_for(locked, asked):
    """What is no longer in setup.cfg would else still be installed here, and be missing at a user's."""
    needed, new = set(), list(filter(wanted, asked))
    while new:
        requirement = new.pop()
        key = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if key not in needed:
            needed.add(key)
            new += [other for other in map(Requirement, requires(key[0]) or ()) if wanted(other, requirement.extras)]
    assert {name for name, _ in needed} == set(locked)
