"""The card of a trained model: all that one should know of it, and a command that makes it again."""

import shlex
from dataclasses import replace

import pytest

from spamcli import evaluation, messages, protocols, training
from spamcli.elmo import ELMo
from spamcli.report.card import command, model_card
from spamcli.settings import RECIPES

from conftest import TINY_MESSAGES  # isort: skip


@pytest.fixture(scope="module")
def trained(tiny_elmo):
    read = messages.read_messages(TINY_MESSAGES)
    split = protocols.split(read, "grouped", 1)
    model, _ = training.train(read, split, ELMo(str(tiny_elmo)), replace(RECIPES["wide-and-deep"], epochs=2), seed=1)
    return model, evaluation.evaluate(model, split)


def test_card_says_what_it_is_what_it_learned_from_and_how_well_it_does(trained):
    model, evaluated = trained
    card = model_card(model.config, evaluated.to_dict())
    config = model.config
    for part in (config.elmo["fingerprint"][:16], config.data["sha256"], config.fingerprint, "95 % interval", "## Limits"):
        assert part in card
    assert f"{config.split['train']:,} messages trained it and {config.split['test']:,} others test it" in card
    assert "NUS SMS Corpus" not in card  # which these messages are not from


def test_card_of_the_collection_names_its_limits_and_its_licence(trained):
    model, evaluated = trained
    config = replace(model.config, data={**model.config.data, "form": "spam.csv"})
    card = model_card(config, evaluated.to_dict())
    assert "NUS SMS Corpus" in card and "CC BY 4.0" in card


def test_card_says_whether_it_holds_text(trained):
    model, evaluated = trained
    card, keeping = (model_card(model.config, evaluated.to_dict(), keeps) for keeps in (False, True))
    assert "holds no message text" in card and "--keep-messages" not in card
    assert "holds the text of the training messages" in keeping and f"{command(model.config)} --keep-messages\n" in keeping


def test_its_command_trains_the_same_model(trained, cli):
    model, evaluated = trained
    _, *arguments = shlex.split(command(model.config))
    result = cli(*arguments, "--model", "again", "--json")
    assert result.exit_code == 0, result.stderr
    assert f'"fingerprint": "{evaluated.fingerprint}"' in result.stdout


def test_every_choice_is_in_the_command(trained):
    config = trained[0].config
    data = {
        **config.data,
        "text_column": "body",
        "label_column": "kind",
        "spam_labels": ["promo", "bad"],
        "raw": True,
        "skip_bad": True,
    }
    classifier = {**config.classifier, "precision": "int8"}
    words = shlex.split(command(replace(config, data=data, seed=7, classifier=classifier)))
    for pair in (["--text-column", "body"], ["--label-column", "kind"], ["--spam-label", "promo,bad"], ["--seed", "7"]):
        assert words[words.index(pair[0]) + 1] == pair[1]
    assert {"--raw", "--skip-bad", "--quantize"} <= set(words)
    assert words[words.index("--epochs") + 1] == "2" and words[words.index("--static") + 1] == "ngrams"
