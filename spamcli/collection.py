"""The SMS Spam Collection (Almeida, Gomez Hidalgo and Yamakami 2011) in its two forms, and the way between them.

UCI's `SMSSpamCollection` is UTF-8 TSV without quoting. The tutorial's `spam.csv` was once made from it by a spreadsheet
and a Macintosh: quotes were taken for field ends, and the bytes of UTF-8 for cp1252, then Mac Roman. `rebuild` does the
same again, byte for byte; `repair` undoes what can be undone.
"""

import csv
import hashlib
import io
import re
from collections.abc import Sequence

SPAM_CSV_SHA256 = "440e6ea9fa825578abfdd7b7932ef8393d72ef86c0c33f64676705ce40b1dfc2"
UCI_SHA256 = "7d039a24a6083ed9ef0f806ebad56bbb976e3aeb8de05669173bfdc4996c239d"
_HEADER = ["v1", "v2", "", "", ""]
_BLANKED_ROW = 98  # whose third field, a whole message, is missing from spam.csv
_FIRST_OF_COLLISION = "ü…"  # several characters became `Ì_` and `‰Û_`; these are the usual ones


def is_spam_csv(data: bytes) -> bool:
    """Whether these are the bytes of the tutorial's spam.csv."""
    return hashlib.sha256(data).hexdigest() == SPAM_CSV_SHA256


def is_uci(data: bytes) -> bool:
    """Whether these are the bytes of UCI's SMSSpamCollection."""
    return hashlib.sha256(data).hexdigest() == UCI_SHA256


def rebuild(uci: bytes) -> bytes:
    """The tutorial's spam.csv from UCI's SMSSpamCollection, the same bytes."""
    lines = (line.split("\t", 1) for line in uci.decode("utf-8").removesuffix("\n").split("\n"))
    quoted = "".join('"{}","{}"\n'.format(label, text.replace('"', '\\"')) for label, text in lines)
    rows = list(csv.reader(io.StringIO(quoted, newline="")))
    rows[_BLANKED_ROW][2] = ""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(_HEADER)
    writer.writerows([_garble(field.replace("\n", "\r")) for field in row] + [""] * (5 - len(row)) for row in rows)
    return out.getvalue().removesuffix("\r\n").encode("latin-1")


def _garble(text: str) -> str:
    """UTF-8 bytes taken for cp1252, written as Mac Roman (`_` where it has no such character), read as latin-1."""
    as_cp1252 = "".join(bytes([byte]).decode("cp1252", "replace") for byte in text.encode("utf-8"))
    as_mac = b"".join(c.encode("mac_roman") if _in_mac_roman(c) else b"_" for c in as_cp1252)
    return as_mac.decode("latin-1")


def _in_mac_roman(character: str) -> bool:
    try:
        return bool(character.encode("mac_roman"))
    except UnicodeEncodeError:
        return False


def read_rows(spam_csv: bytes) -> list[list[str]]:
    """The 5,572 data rows of spam.csv, five fields each, as the tutorial reads them: latin-1."""
    return list(csv.reader(io.StringIO(spam_csv.decode("latin-1"), newline="")))[1:]


def repair(row: Sequence[str]) -> list[tuple[str, str]]:
    """The messages of one row of spam.csv as (label, text): one, or two where the row swallowed its neighbour.

    Spilled fields are joined again, quotes and mojibake restored towards what UCI's file says. A swallowed neighbour
    whose text is gone is left out.
    """
    label, text, *spilled = row
    first, swallowed, _ = text.partition('\\"\r')
    if swallowed:  # a message that ended in a quote took the line end and the next label for its own text
        next_label, next_text = text[len(first) + len(swallowed) :].rstrip('"'), spilled[0]
        messages = [(label, first + '"')] + ([(next_label, next_text)] if next_text else [])
    else:
        fields = [text, *spilled]
        while len(fields) > 1 and not fields[-1]:
            fields.pop()
        messages = [(label, ",".join(fields))]
    return [(label, _ungarble(_requote(text))) for label, text in messages]


def _requote(text: str) -> str:
    r"""Undo the quoting: the first inner quote became `\`, later ones `\"`, and the closing quote stayed at the end."""
    opened = text.find("\\")
    if opened < 0 or not text.endswith('"'):
        return text
    return text[:opened] + '"' + text[opened + 1 : -1].replace('\\"', '"')


def _ungarble(text: str) -> str:
    return _GARBLED.sub(lambda garbled: _UNGARBLED[garbled[0]], text)


def _ungarbled_pairs() -> dict[str, str]:
    """Garbled sequence -> character, for control characters, Latin letters, general punctuation and the euro."""
    characters = [chr(c) for c in (*range(0x80, 0x180), *range(0x2010, 0x2040), 0x20AC)]
    pairs = {_garble(c): c for c in reversed(characters)}
    return pairs | {_garble(c): c for c in reversed(_FIRST_OF_COLLISION)}


_UNGARBLED = _ungarbled_pairs()
_GARBLED = re.compile("|".join(map(re.escape, sorted(_UNGARBLED, key=len, reverse=True))))
