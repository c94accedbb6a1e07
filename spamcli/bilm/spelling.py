"""Words misspelt as people misspell them, by a slip or on purpose, so that a biLM learns to see the word all the same."""

import numpy as np

# One character for another, and a word stays one token: digits, accents, letters of other scripts.
LOOK_ALIKES = {
    "a": "4áа", "b": "8", "c": "çс", "e": "3éе", "g": "9", "i": "1íі", "l": "1", "n": "ñ", "o": "0óо", "p": "р",
    "s": "5ѕ", "t": "7", "u": "ü", "x": "х", "y": "у", "z": "2",
}  # fmt: skip


def misspell(token: str, random: np.random.Generator) -> str:
    """A token of three letters or more with one slip (two letters swapped, one lost, doubled or wrong) or in disguise."""
    if len(token) < 3 or not any(map(str.isalpha, token)):
        return token
    kind, k = int(random.integers(5)), int(random.integers(len(token) - 1))
    if kind == 0:
        return token[:k] + token[k + 1] + token[k] + token[k + 2 :]
    if kind == 1:
        return token[:k] + token[k + 1 :]
    if kind == 2:
        return token[:k] + token[k] + token[k:]
    if kind == 3:
        return token[:k] + chr(97 + int(random.integers(26))) + token[k + 1 :]
    return disguise(token, random)


def disguise(token: str, random: np.random.Generator) -> str:
    """A third to all of the letters that have look-alikes are replaced by one."""
    share = 1 / 3 + 2 / 3 * random.random()
    return "".join(_look_alike(c, random) if random.random() < share else c for c in token)


def _look_alike(character: str, random: np.random.Generator) -> str:
    choice = LOOK_ALIKES.get(character.lower(), character)
    return choice[int(random.integers(len(choice)))]
