"""The ELMo in the package: it knows words by their context, and misspelt words by their letters."""

import numpy as np
import pytest
import tensorflow as tf
from elmo_trials import misspelt_ranks, sense_accuracy, senses, word_vectors

from spamcli.bilm.export import ELMoModule, read_bilm
from spamcli.elmo import ELMo

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def elmo() -> ELMo:
    return ELMo("builtin")


def test_there_are_eight_sentences_for_each_sense_of_six_words():
    for word, labelled in senses().items():
        names = [sense for sense, _ in labelled]
        assert min(names.count(name) for name in set(names)) >= 8 and len(set(names)) == 2, word
    assert list(senses()) == ["bank", "bat", "light", "match", "spring", "bass"]


def test_its_weights_can_go_on_learning(elmo):
    """What --init builtin reads is what the module computes with."""
    texts = tf.constant(["see you at six", "WIN £1000 now"])
    module = tf.saved_model.load(str(elmo.directory))
    np.testing.assert_allclose(ELMoModule(read_bilm(elmo.directory))(texts), module(texts), atol=1e-6)


def test_layer_0_is_blind_to_the_context(elmo):
    for word, labelled in senses().items():
        vectors = word_vectors(elmo, [sentence for _, sentence in labelled], word, "word_emb")
        np.testing.assert_allclose(vectors, np.broadcast_to(vectors[0], vectors.shape), atol=1e-5)


def test_top_layer_tells_the_senses_apart(elmo):
    """The nearest other sentence names the sense; by chance, half of them would."""
    accuracies = sense_accuracy(elmo)
    assert np.mean(list(accuracies.values())) >= 0.70, accuracies


def test_misspelt_words_lie_near_their_originals(elmo):
    """In layer 0, of all five hundred words of our sentences, the original is among the five nearest."""
    ranks = misspelt_ranks(elmo)
    assert max(ranks["doggy"], ranks["acc0unt"]) <= 5, ranks
    assert np.mean([rank <= 5 for rank in ranks.values()]) > 0.85, ranks
