"""Sizes and settings from JSON: what is given changes, nothing else, and what makes no sense is refused by name."""

import json
from dataclasses import asdict, fields, replace

import pytest

from spamcli.bilm.configuration import configured
from spamcli.bilm.model import BiLM, BiLMConfig
from spamcli.errors import DataError, NotFoundError
from spamcli.settings import PretrainingSettings

SETTINGS = PretrainingSettings(tokens=77, seed=5)
CHANGES = {"cells": 32, "filters": [[1, 4], [3, 8]], "tokenizer": "space", "residual": False, "dropout": 0.25, "misspelt": 0}


def test_nothing_given_changes_nothing():
    for given in (None, "{}", " {} "):
        assert configured(given, SETTINGS) == (BiLMConfig(), SETTINGS)


def test_fields_of_both_are_changed_and_no_other(tmp_path):
    expected = (
        BiLMConfig(cells=32, filters=((1, 4), (3, 8)), tokenizer="space", residual=False),
        replace(SETTINGS, dropout=0.25, misspelt=0),
    )
    assert configured(json.dumps(CHANGES), SETTINGS) == expected
    (tmp_path / "config.json").write_text(json.dumps(CHANGES, indent=4), encoding="utf-8")
    assert configured(str(tmp_path / "config.json"), SETTINGS) == expected


def test_every_field_can_be_named():
    """All that a card lists, given back, is the same biLM and the same pretraining."""
    values = asdict(BiLMConfig()) | asdict(SETTINGS)
    assert len(values) == len(fields(BiLMConfig)) + len(fields(PretrainingSettings))  # no name means two things
    named = {name: value for name, value in values.items() if name not in ("tokens", "seed")}  # which have options
    assert configured(json.dumps(named), SETTINGS) == (BiLMConfig(), SETTINGS)


@pytest.mark.parametrize(
    "values",
    [
        {"max_characters": 3, "filters": [[3, 1]]},
        {"highways": 0, "dropout": 0, "warmup": 0, "held_out": 0, "misspelt": 0},
        {"learning_rate": 1, "clip": 1e-3, "clip_norm": 5},
        {"activation": "tanh", "tokenizer": "punctuation", "residual": True},
        {"dropout": 0.99, "vocabulary": 1, "lstm_layers": 1, "cells": 1, "projection": 1},
    ],
    ids=str,
)
def test_what_is_at_the_edge_is_taken(values):
    config, settings = configured(json.dumps(values), SETTINGS)
    assert json.loads(json.dumps({**asdict(config), **asdict(settings)})) == {
        **json.loads(json.dumps({**asdict(BiLMConfig()), **asdict(SETTINGS)})),
        **values,
    }
    small = replace(config, cells=2, projection=2)
    assert BiLM(small).token_vectors(BiLM(small).mark_char_ids()).shape == (2, 2)  # and there is such a biLM


@pytest.mark.parametrize(
    "given, message",
    [
        ('{"cell": 32}', "no setting 'cell'; known are tokenizer, .*cells, .*, held_out"),
        ('{"seed": 3}', "no setting 'seed'; known are"),  # --seed it is
        ('{"tokens": 3}', "no setting 'tokens'; known are"),
        ('{"cells": 32, "Cells": 32}', "no setting 'Cells'"),
        ('{"cells": true}', "cells must be a whole number above 0. Received: true"),
        ('{"cells": "32"}', 'cells must be a whole number above 0. Received: "32"'),
        ('{"cells": 1.5}', "cells must be a whole number above 0. Received: 1.5"),
        ('{"cells": 32.0}', "cells must be a whole number above 0. Received: 32.0"),
        ('{"cells": null}', "cells must be a whole number above 0. Received: null"),
        ('{"cells": [32]}', "cells must be a whole number above 0"),
        ('{"cells": 0}', "cells must be a whole number above 0. Received: 0"),
        ('{"cells": -1}', "cells must be a whole number above 0"),
        ('{"cells": 1e400}', "cells must be .* Received: Infinity"),
        ('{"cells": 10000000000000}', "cells must be a whole number above 0"),
        ('{"highways": -1}', "highways must be a whole number from 0. Received: -1"),
        ('{"max_characters": 2}', "max_characters must be a whole number from 3. Received: 2"),
        ('{"clip": 0}', "clip must be a number above 0. Received: 0"),
        ('{"clip": true}', "clip must be a number above 0"),
        ('{"clip": "3"}', "clip must be a number above 0"),
        ('{"clip": NaN}', "clip must be a number above 0. Received: NaN"),
        ('{"clip": Infinity}', "clip must be a number above 0. Received: Infinity"),
        ('{"learning_rate": -Infinity}', "learning_rate must be a number above 0. Received: -Infinity"),
        ('{"dropout": 1}', "dropout must be a number from 0 to below 1. Received: 1"),
        ('{"dropout": 1.0}', "dropout must be a number from 0 to below 1"),
        ('{"misspelt": 2.5}', "misspelt must be a number from 0 to below 1"),
        ('{"misspelt": NaN}', "misspelt must be a number from 0 to below 1"),
        ('{"warmup": -0.1}', "warmup must be a number from 0 to below 1"),
        ('{"residual": 1}', "residual must be true or false. Received: 1"),
        ('{"residual": "yes"}', "residual must be true or false"),
        ('{"tokenizer": "letters"}', 'tokenizer must be one of space, punctuation. Received: "letters"'),
        ('{"tokenizer": ["space"]}', "tokenizer must be one of space, punctuation"),
        ('{"activation": "gelu"}', "activation must be one of .*relu"),
        ('{"activation": true}', "activation must be one of .*relu"),
        ('{"filters": []}', r"filters must be a list of \[width, number\] pairs, each width once. Received: \[\]"),
        ('{"filters": 3}', "filters must be a list"),
        ('{"filters": [3, 32]}', "filters must be a list"),
        ('{"filters": [[3, 32], [3, 64]]}', "filters must be .* each width once"),
        ('{"filters": [[3, 32, 1]]}', "filters must be a list"),
        ('{"filters": [[3]]}', "filters must be a list"),
        ('{"filters": [[3, true]]}', "filters must be a list"),
        ('{"filters": [[3.0, 32]]}', "filters must be a list"),
        ('{"filters": [[3, NaN]]}', "filters must be a list"),
        ('{"filters": [[0, 32]]}', "filters must be a list"),
        ('{"filters": [[3, 0]]}', "filters must be a list"),
        ('{"filters": {"3": 32}}', "filters must be a list"),
        ('{"filters": ["33"]}', "filters must be a list"),
        ('{"filters": [[1, 100000000000]]}', "these sizes make more than 1,000,000,000 weights"),
        ('{"cells": 100000000000}', "these sizes make more than 1,000,000,000 weights"),
        ('{"char_dim": 100000000000}', "these sizes make more than 1,000,000,000 weights"),
        ('{"max_characters": 100000000000}', "max_characters, filters, highways and lstm_layers are at most 1,000"),
        ('{"lstm_layers": 100000000000}', "max_characters, filters, highways and lstm_layers are at most 1,000"),
        ('{"filters": [[21, 8]]}', "a filter of width 21 is wider than max_characters, 20"),
        ('{"max_characters": 5}', "a filter of width 6 is wider than max_characters, 5"),
        ('{"cells": 32', "not JSON .Expecting ',' delimiter"),
        ("{'cells': 32}", "not JSON"),
        ('{"cells": ' + "9" * 5000 + "}", "not JSON"),
        ('{"cells": ' + "[" * 100_000, "not JSON"),
    ],
    ids=lambda given: given[:40],
)
def test_nonsense_is_refused_by_its_name(given, message):
    with pytest.raises(DataError, match=f"^--config: {message}") as raised:
        configured(given, SETTINGS)
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 500


@pytest.mark.parametrize(
    "content, message", [("[1, 2]", "not an object of settings. Received: .1, 2."), ("512", "not an obj"), ("", "not JSON")]
)
def test_file_that_holds_something_else(tmp_path, content, message):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(DataError, match=f"^--config: {message}"):
        configured(str(tmp_path / "config.json"), SETTINGS)


@pytest.mark.parametrize("name", ["missing.json", "", "."])
def test_file_that_is_not_there(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotFoundError, match=r"cannot be read .*name a JSON file, or write \{...\} itself"):
        configured(name, SETTINGS)


def test_file_that_is_no_text(tmp_path):
    (tmp_path / "config.json").write_bytes(b'{"cells": "caf\xe9"}')
    with pytest.raises(NotFoundError, match="cannot be read"):
        configured(str(tmp_path / "config.json"), SETTINGS)
