"""What must hold of any message and any file; `make fuzz` looks for one of which it does not, guided by coverage (atheris).

python tests/fuzz.py messages|files MODEL [libFuzzer's options and folders]; test_fuzz.py checks what is in tests/fuzz.
"""

import json
import re
import sys
import tempfile
import warnings
from pathlib import Path

CORPUS = Path(__file__).parent / "fuzz"
# What a file is called is how it is read; a case names one by its first byte.
NAMES = ("a.csv", "a.tsv", "a.jsonl", "a.txt", "a.parquet", "a.csv.gz", "a.jsonl.zst", "a.parquet.gz", "SMSSpamCollection")
COMMANDS = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")  # and what ends a terminal's line or turns it round


def check_message(model, text: str) -> None:
    """One verdict in [0, 1], the same tokens whatever reads them, one line of output that commands nothing."""
    from spamcli.characters import MAX_TOKENS, TOKENIZERS, as_seen, encode_tokens, first_tokens
    from spamcli.cli.verdicts import row, verdict_line
    from spamcli.prediction import predict
    from spamcli.records import Record, json_line

    for name, tokenize in TOKENIZERS.items():
        tokens = first_tokens([text], name)[text]
        assert tokens == tokenize(as_seen(text))[:MAX_TOKENS] and all(tokens)
        ids = encode_tokens(tokens, 20)
        assert ids.shape == (len(tokens), 20) and ((ids > 0) & (ids < 262)).all()
    (verdict,) = predict(model, [text])
    assert verdict.label in ("ham", "spam", "unsure") and 0 <= verdict.p_spam <= 1 and verdict.text == text
    line, parsed = verdict_line(Record(text), verdict), json_line(row(Record(text), verdict, True))
    assert line.count("\t") == 2 and not COMMANDS.search(line.replace("\t", "")) and not COMMANDS.search(parsed)
    assert json.loads(parsed)["text"] == text.encode("utf-8", "replace").decode("utf-8")


def check_file(path: Path) -> None:
    """A text or a reason for every record, or one line that says what is wrong; strictly read it is leniently read, too."""
    from spamcli.errors import SpamcliError
    from spamcli.messages import read_messages
    from spamcli.records import json_line, read

    try:
        for record in read(str(path)):
            assert (record.text is None) == bool(record.error) and not COMMANDS.search(json_line(record.values))
    except SpamcliError as error:
        assert len(str(error).splitlines()) == 1
    found = {}
    for skip_bad in (False, True):
        try:
            found[skip_bad] = read_messages(path, both_classes=False, skip_bad=skip_bad)
        except SpamcliError as error:
            assert len(str(error).splitlines()) == 1
    if False in found:
        assert found[True].frame.equals(found[False].frame) and found[True].skipped == found[False].skipped == 0
    elif True in found:
        assert found[True].skipped > 0 and len(found[True]) > 0


def message_of(case: bytes) -> str:
    """UTF-8; any other byte is a lone surrogate."""
    return case.decode("utf-8", "surrogateescape")


def file_of(case: bytes, folder: Path) -> Path:
    path = folder / NAMES[case[0] % len(NAMES) if case else 0]
    path.write_bytes(case[1:])
    return path


def main() -> None:
    import atheris

    what, model, options = sys.argv[1], Path(sys.argv[2]), sys.argv[3:]
    with atheris.instrument_imports(include=["spamcli"]):
        from spamcli.cli import verdicts  # noqa: F401
        from spamcli.messages import read_messages  # noqa: F401
        from spamcli.runtime import Runtime
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        runtime = Runtime(model)
        checks = {
            "messages": lambda case: check_message(runtime, message_of(case)),
            "files": lambda case: check_file(file_of(case, Path(folder))),
        }
        atheris.Setup([sys.argv[0], *options], checks[what])
        atheris.Fuzz()


if __name__ == "__main__":
    main()
