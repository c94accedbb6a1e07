"""The collection's two forms: an invented one whose every oddity is worked by hand, and the real one."""

import csv
import hashlib
import io

import pytest

from spamcli.collection import SPAM_CSV_SHA256, is_spam_csv, is_uci, read_rows, rebuild, repair

# Oddities by line of an invented UCI file. Each comes with the five fields of its row of spam.csv, worked by hand.
ODDITIES = {
    # UTF-8 C2 A3 is "Â£" in cp1252; that is E5 A3 in Mac Roman and "å£" in latin-1.
    3: ("spam", "Win £5 now", ["spam", "Win å£5 now", "", "", ""]),
    # C3 BC is "Ã¼": CC, and no such character in Mac Roman. E2 80 A6 is "â€¦": 89, DB, and no such character.
    4: ("ham", "Wir üben…", ["ham", "Wir Ì_ben\x89Û_", "", "", ""]),
    # C3 A9 is "Ã©", both of which Mac Roman has. C2 92, a control character, is "Â’": E5 D5.
    5: ("ham", "Café, it\x92s late", ["ham", "CafÌ©, itåÕs late", "", "", ""]),
    # Python's cp1252 has nothing at 81: C3 81 loses its second byte.
    6: ("ham", "fin Á", ["ham", "fin Ì_", "", "", ""]),
    # The first inner quote ends the field and leaves its backslash; what follows is taken as it stands.
    7: ("ham", 'Say "hello" to her', ["ham", 'Say \\hello\\" to her"', "", "", ""]),
    8: ("ham", '"maybe"', ["ham", '\\maybe\\""', "", "", ""]),
    # Outside of quotes a comma ends the field: the text spills into the columns without a name.
    9: ("ham", 'He said "yes, of course", and left', ["ham", "He said \\yes", ' of course\\"', ' and left"', ""]),
    10: ("spam", '"A, b" £1, "c", d', ["spam", "\\A", ' b\\" å£1', ' \\"c\\"', ' d"']),
    11: ("ham", "one, two, three", ["ham", "one, two, three", "", "", ""]),
    12: ("ham", "back\\slash", ["ham", "back\\slash", "", "", ""]),
    13: ("ham", "", ["ham", "", "", "", ""]),
    14: ("ham", "a tab\there", ["ham", "a tab\there", "", "", ""]),
    # A quote before the line end stands for a quote, so the field goes on, and the next label's quote ends it.
    98: ("spam", 'so he said"', ["spam", 'so he said\\"\rham"', "", "", ""]),
    99: ("ham", "nobody will read this", None),
    105: ("ham", 'see you £ "', ["ham", 'see you å£ \\"\rspam"', "still, here", "", ""]),
    106: ("spam", "still, here", None),
}
AMBIGUOUS = 6  # the line whose `Ì_` is taken for the usual ü


def lines() -> list[tuple[str, str]]:
    plain = [("spam" if n % 5 == 0 else "ham", f"message number {n}") for n in range(110)]
    return [ODDITIES[n][:2] if n in ODDITIES else line for n, line in enumerate(plain)]


def as_uci(labelled: list[tuple[str, str]]) -> bytes:
    return "".join(f"{label}\t{text}\n" for label, text in labelled).encode("utf-8")


@pytest.fixture(scope="module")
def rows() -> list[list[str]]:
    return read_rows(rebuild(as_uci(lines())))


@pytest.fixture(scope="module")
def real_rows(spam_csv) -> list[list[str]]:
    return read_rows(spam_csv.read_bytes())


@pytest.fixture(scope="module")
def real_messages(real_rows) -> list[tuple[str, str]]:
    return [message for row in real_rows for message in repair(row)]


@pytest.mark.parametrize("line", [line for line, (_, _, fields) in ODDITIES.items() if fields])
def test_rebuild_makes_the_fields_worked_by_hand(rows, line):
    row = line if line < 99 else line - 1  # line 99 has no row of its own
    assert rows[row] == ODDITIES[line][2]


def test_rebuild_loses_one_row_for_each_swallowed_line(rows):
    assert len(rows) == 110 - 2
    assert rows[99] == ["spam", "message number 100", "", "", ""]
    assert rows[-1] == ["ham", "message number 109", "", "", ""]


def test_rebuild_writes_a_spreadsheets_csv():
    data = rebuild(as_uci(lines()))
    assert data.startswith(b"v1,v2,,,\r\nspam,message number 0,,,\r\n")
    assert data.endswith(b"\r\nham,message number 109,,,")
    assert data.count(b"\n") == data.count(b"\r\n") == 108
    assert b"\r\nspam,Win \xe5\xa35 now,,,\r\n" in data
    assert b'\r\nham,"one, two, three",,,\r\n' in data
    assert b'\r\nham,"Say \\hello\\"" to her""",,,\r\n' in data
    assert b'\r\nham,He said \\yes," of course\\"""," and left""",\r\n' in data
    assert b'\r\nspam,"so he said\\""\rham""",,,\r\n' in data


def test_repair_gives_back_all_but_the_lost_line(rows):
    repaired = [message for row in rows for message in repair(row)]
    kept = [line for n, line in enumerate(lines()) if n != 99]
    assert len(repaired) == len(kept) == 109
    assert [n for n in range(109) if repaired[n] != kept[n]] == [AMBIGUOUS]
    assert repaired[AMBIGUOUS] == ("ham", "fin ü")


def test_repair_reads_each_garbled_character_once():
    """`åÛ` is garbled as `Ì´ÌÝ`; were the outcome of one repair read by the next, `åÛ` would turn into U+0080."""
    letters = "£©é¡ÌåúèÛ"
    pairs = " ".join(first + second for first in letters for second in letters)
    labelled = lines()
    labelled[20] = ("ham", pairs)
    assert repair(read_rows(rebuild(as_uci(labelled)))[20]) == [("ham", pairs)]


@pytest.mark.parametrize(
    "row, messages",
    [
        (["ham", "plain", "", "", ""], [("ham", "plain")]),
        (["ham", "", "", "", ""], [("ham", "")]),
        (["ham", "a", "", " b", ""], [("ham", "a,, b")]),
        (["spam", 'x\\"\rham"', "next", "", ""], [("spam", 'x"'), ("ham", "next")]),
        (["spam", 'x\\"\rham"', "", "", ""], [("spam", 'x"')]),
        (["ham", "no closing \\ quote", "", "", ""], [("ham", "no closing \\ quote")]),
    ],
)
def test_repair_of_one_row(row, messages):
    assert repair(row) == messages


def test_only_the_pinned_bytes_are_the_collection(spam_csv):
    data = spam_csv.read_bytes()
    assert is_spam_csv(data)
    assert not is_spam_csv(data + b"\r\n")
    assert not is_uci(data)
    assert not is_uci(as_uci(lines()))


def test_real_spam_csv_has_the_rows_the_tutorial_counts(real_rows):
    assert len(real_rows) == 5572
    assert {len(row) for row in real_rows} == {5}
    assert sum(row[0] == "spam" for row in real_rows) == 747
    assert sum(any(row[2:]) for row in real_rows) == 50  # 49 spilled, one kept the neighbour it swallowed


def test_real_messages_repaired(real_messages):
    assert len(real_messages) == 5573
    assert sum(label == "spam" for label, _ in real_messages) == 747
    assert {label for label, _ in real_messages} == {"ham", "spam"}
    assert not [text for _, text in real_messages if "\r" in text or text.endswith(('ham"', 'spam"'))]


def test_real_characters_are_those_of_the_uci_file(real_messages):
    everything = "".join(text for _, text in real_messages)
    counts = {character: everything.count(character) for character in "£üÜ…‘–"}
    assert counts == {"£": 329, "ü": 120, "Ü": 53, "…": 16, "‘": 37, "–": 9}
    for garbled in ("å£", "Ì_", "Ì", "\x89Û"):
        assert garbled not in everything
    left = [n for n, (_, text) in enumerate(real_messages) if any(c in text for c in "\x89\x8b\x8eÛÓ")]
    assert left == [5401]  # three Chinese characters, taken for nothing that a repair would look for


def test_real_rows_known_by_hand(real_rows):
    ((label, spilled),) = repair(real_rows[95])
    assert label == "spam"
    assert 'password "MIX" to' in spilled
    assert "FML, PO Box" in spilled
    assert spilled.endswith("450Ppw 16")
    ((_, quoted),) = repair(real_rows[281])
    assert quoted.startswith('"Wen u miss')
    assert quoted.endswith('Keep-in-touch" gdeve..')
    ((label, text),) = repair(real_rows[98])
    assert label == "ham"
    assert text.endswith('prob for u?"')
    (label, first), (next_label, second) = repair(real_rows[2791])
    assert (label, next_label) == ("ham", "ham")
    assert first.startswith("… we r")
    assert first.endswith('c u soon "')
    assert second.startswith("Well there's still")


def test_real_messages_rebuild_the_real_file(real_messages):
    """Repair lost nothing that matters: what it gives, written as UCI does, makes the tutorial's bytes again."""
    label, text = real_messages[5401]
    garbled = {"\x8eö´": "\u9225", "\x89Ó_": "\u253e", "\x8bÛ¬": "\u3028"}
    for sequence, character in garbled.items():
        assert text.count(sequence) == 1
        text = text.replace(sequence, character)
    lost = ("ham", "its text is nowhere in spam.csv")
    labelled = [*real_messages[:99], lost, *real_messages[99:5401], (label, text), *real_messages[5402:]]
    rebuilt = rebuild(as_uci(labelled))
    assert hashlib.sha256(rebuilt).hexdigest() == SPAM_CSV_SHA256


def test_read_rows_is_what_a_csv_reader_sees(spam_csv, real_rows):
    reader = csv.DictReader(io.StringIO(spam_csv.read_bytes().decode("latin-1"), newline=""))
    assert [row["v2"] for row in reader] == [row[1] for row in real_rows]
