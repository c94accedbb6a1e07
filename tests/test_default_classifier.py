"""The classifier inside the package: whole, on its own, and fair to what it has not learned from."""

import os
import subprocess
import sys

import pandas as pd
import pytest

from spamcli import SpamClassifier, invented
from spamcli.memory import Memory
from spamcli.messages import read_messages
from spamcli.model_config import DEFAULT_CLASSIFIER, check_files, read_config
from spamcli.modules import fingerprint

from conftest import ROOT  # isort: skip

MAX_BYTES = 45_000_000  # of the wheel, and so of what it holds

# Invented; what somebody would type first.
HAM = [
    "Ok, see you at the station at six",
    "Your code is 482913. Do not share it with anyone.",
    "Your appointment is on Tuesday 14 May at 9:20. Reply CANCEL to cancel.",
    "Can you bring milk and the good bread? Kids are starving",
    "Parcel delivered to your neighbour at number 14. Have a nice day!",
]
SPAM = [
    "URGENT! You have WON a guaranteed £1000 prize. Call 09061 700 000 now to claim, 150p per min",
    "Your parcel is held at our depot. Pay the £1.99 fee at redeliver.parcel-desk.example to release it",
    "Hi mum, my phone broke, this is my new number. Can you send me 800 for rent today?",
]
OTHER_LANGUAGES = [
    "On mange à quelle heure ce soir ?",
    "Ihr Termin beim Zahnarzt ist am Montag um 10 Uhr",
    "Te dejo las gafas donde siempre, gracias",
    "Завтра не забудь полить цветы на балконе",
    "会议改到明天下午三点",
    "هل وصلت الصورة؟ أرسلها مرة أخرى من فضلك",
    "Yarın pazara birlikte gidelim mi?",
    "Din tid hos tandläkaren är bokad till fredag kl 13",
    "कल सुबह दस बजे मिलते हैं",
    "Tomorrow la, we makan at the usual place, ok anot?",
]


@pytest.fixture(scope="module")
def config():
    return read_config(DEFAULT_CLASSIFIER)


def test_it_is_whole_and_made_on_the_elmo_inside(config):
    check_files(DEFAULT_CLASSIFIER, config[2].values())
    assert config[0].elmo["fingerprint"] == fingerprint(ROOT / "spamcli" / "assets" / "elmo") and "onnx" in config[2]
    assert config[0].data["path"] == "data/spam.csv" and config[0].protocol == "tutorial"
    assert [file["name"] for file in config[0].also] == ["invented"]
    assert config[0].also[0]["sha256"] == read_messages(invented.TRAINING).sha256
    assert (DEFAULT_CLASSIFIER / "README.md").is_file()


def test_what_is_written_in_other_languages_is_hardly_ever_spam():
    """Invented, all ham: ten languages in other scripts, and ten in English's."""
    messages = pd.read_csv(ROOT / "tests" / "other_languages.csv")
    verdicts = SpamClassifier.load().predict(messages["text"])
    spam = pd.Series([verdict.label == "spam" for verdict in verdicts]).groupby(messages["script"]).sum()
    assert len(messages) == 200 and spam["other"] <= 3 and spam["latin"] <= 4


def test_what_the_package_holds_is_small_enough():
    assert sum(path.stat().st_size for path in (ROOT / "spamcli" / "assets").rglob("*") if path.is_file()) < MAX_BYTES


def test_it_has_not_learned_from_what_measures_it(config, spam_csv):
    from spamcli.protocols import split, unseen_by

    memory = Memory.load(DEFAULT_CLASSIFIER / config[2]["memory"], files=2, dim=512)
    measuring = read_messages(invented.MEASURING).frame["text"]
    assert not memory.knows(measuring).any() and memory.knows(read_messages(invented.TRAINING).frame["text"]).all()
    tutorial = split(read_messages(spam_csv), "tutorial", 1)
    learned = [*tutorial.train["text"], *read_messages(invented.TRAINING).frame["text"]]
    assert len(memory.rows) == len(learned) and memory.texts is None
    assert unseen_by(learned, measuring.tolist()).all()


def test_it_judges_as_a_person_would():
    classifier = SpamClassifier.load()
    assert [verdict.label for verdict in classifier.predict(HAM + SPAM)] == ["ham"] * len(HAM) + ["spam"] * len(SPAM)


@pytest.mark.parametrize("text", HAM + SPAM)
def test_what_no_one_sees_changes_no_verdict(text):
    """Zero-width characters or controls between all others, fillers for spaces, all backwards under an override."""
    ways = [text, "\u200b".join(text), "\x01".join(text), text.replace(" ", "\u3164"), "\u202e" + text[::-1] + "\u202c"]
    plain, *others = (verdict.p_spam for verdict in SpamClassifier.load().predict(ways))
    assert others == pytest.approx([plain] * len(others), abs=1e-6)


def test_what_it_cannot_read_is_not_confident_spam():
    verdicts = SpamClassifier.load().predict(OTHER_LANGUAGES)
    assert all(verdict.label != "spam" and verdict.p_spam < 0.85 for verdict in verdicts), verdicts


def test_it_needs_no_training_no_data_and_no_home(tmp_path):
    nowhere = tmp_path / "file"
    nowhere.write_text("")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("SPAMCLI_", "XDG_"))}
    environment = {
        **clean,
        "HOME": str(nowhere / "home"),
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "HTTP_PROXY": "http://127.0.0.1:9",
    }
    done = subprocess.run(
        [sys.executable, "-m", "spamcli", "predict", *SPAM[:1], *HAM[:1]],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and [line.split("\t")[0] for line in done.stdout.splitlines()] == ["spam", "ham"]
    assert done.stderr.count("\n") == 1 and "spamcli's own classifier" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_model_of_ones_own_comes_first(cli, tmp_path):
    (tmp_path / "model").mkdir()
    result = cli("predict", "hello")
    assert result.exit_code == 66 and "own classifier" not in result.stderr  # what stands there is meant, and is no model


@pytest.mark.slow
def test_a_verdict_alone_is_the_same_on_every_message(spam_csv):
    classifier = SpamClassifier.load()
    texts = [*read_messages(spam_csv).frame["text"], *read_messages(invented.MEASURING).frame["text"]]
    alone = classifier.predict(texts, verdict_only=True)
    assert [verdict.label for verdict in alone] == [verdict.label for verdict in classifier.predict(texts)]
