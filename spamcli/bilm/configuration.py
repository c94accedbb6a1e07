"""Sizes and settings of a pretraining from JSON: the fields of two dataclasses, checked one by one."""

import json
import math
from dataclasses import asdict, fields, replace
from pathlib import Path

from spamcli.bilm.export import MAX_SIZE
from spamcli.bilm.layers import ACTIVATIONS
from spamcli.bilm.model import BiLMConfig
from spamcli.characters import TOKENIZERS
from spamcli.errors import DataError, NotFoundError
from spamcli.settings import PretrainingSettings

MAX_WEIGHTS = 10**9
_NAMES = {"tokenizer": TOKENIZERS, "activation": ACTIVATIONS}
_LEAST = {"max_characters": 3}  # a word mark on either side
_MAY_BE_ZERO = {"checkpoint_seconds", "highways", "held_out", "warmup", "misspelt", "dropout"}
_SHARES = {"dropout", "misspelt", "warmup"}
_OPTIONS = {"tokens", "seed"}  # of the command line, which would not know which one holds


def configured(given: str | None, settings: PretrainingSettings) -> tuple[BiLMConfig, PretrainingSettings]:
    """The built-in ELMo's sizes, and `settings`, with some of their fields changed.

    Args:
        given: a JSON object, or the name of a file that holds one; None changes nothing.
    Raises: NotFoundError; DataError, which names the field.
    """
    config, values = BiLMConfig(), {} if given is None else _parsed(given)
    known = {name: value for name, value in {**asdict(config), **asdict(settings)}.items() if name not in _OPTIONS}
    for name, value in values.items():
        if name not in known:
            raise DataError(f"--config: no setting {name!r}; known are {', '.join(known)}")
        _check(name, value, known[name])
    if "filters" in values:
        values["filters"] = tuple(map(tuple, values["filters"]))
    parts = ({f.name: values[f.name] for f in fields(part) if f.name in values} for part in (config, settings))
    config, settings = (replace(part, **changed) for part, changed in zip((config, settings), parts))
    if max(config.max_characters, len(config.filters), config.highways, config.lstm_layers) > MAX_SIZE:
        raise DataError(f"--config: max_characters, filters, highways and lstm_layers are at most {MAX_SIZE:,}")
    if sum(map(math.prod, config.weight_shapes().values())) > MAX_WEIGHTS:
        raise DataError(f"--config: these sizes make more than {MAX_WEIGHTS:,} weights, ten times those of ELMo")
    widest = max(width for width, _ in config.filters)
    if widest > config.max_characters:
        raise DataError(f"--config: a filter of width {widest} is wider than max_characters, {config.max_characters}")
    return config, settings


def _parsed(given: str) -> dict:
    if not given.lstrip().startswith("{"):
        try:
            given = Path(given).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise NotFoundError(f"{given}: cannot be read ({error}); name a JSON file, or write {{...}} itself") from error
    try:
        values = json.loads(given)
    except (ValueError, RecursionError) as error:
        raise DataError(f"--config: not JSON ({error})") from error
    if not isinstance(values, dict):
        raise DataError(f"--config: not an object of settings. Received: {given[:60]}")
    return values


def _check(name: str, value, default) -> None:
    """A value has its default's type and is a size: positive, some also zero; a share is below 1."""
    if name in _NAMES:
        fits, needed = value in list(_NAMES[name]), f"one of {', '.join(_NAMES[name])}"
    elif name == "filters":
        fits, needed = _are_filters(value), "a list of [width, number] pairs, each width once"
    elif isinstance(default, bool):
        fits, needed = isinstance(value, bool), "true or false"
    else:
        kinds = (int, float) if isinstance(default, float) else int
        least = 0 if name in _MAY_BE_ZERO else _LEAST.get(name, 1e-9)
        fits = isinstance(value, kinds) and not isinstance(value, bool) and least <= value < (1 if name in _SHARES else 1e12)
        bound = f"from {least}" if least in (0, 3) else "above 0"
        needed = f"a {'whole ' if kinds is int else ''}number {bound}{' to below 1' if name in _SHARES else ''}"
    if not fits:
        raise DataError(f"--config: {name} must be {needed}. Received: {json.dumps(value)[:60]}")


def _are_filters(value) -> bool:
    pairs = value if isinstance(value, list) else []
    whole = all(isinstance(p, list) and len(p) == 2 and all(type(n) is int and n > 0 for n in p) for p in pairs)
    return bool(pairs) and whole and len({width for width, _ in pairs}) == len(pairs)
