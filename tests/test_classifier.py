"""The classifier: scalar mix, Dense, sigmoid; heads and n-grams that learn from what the stack does not."""

from dataclasses import replace

import keras
import numpy as np
import onnxruntime
import pytest
from scipy.sparse import csr_matrix
from scipy.special import expit
from sklearn.naive_bayes import MultinomialNB

from spamcli import conversion, ngrams
from spamcli.classifier import (
    SMOOTHING,
    Features,
    ScalarMix,
    _log_ratios,
    build_heads,
    crossentropy,
    fit_classifier,
    fit_heads,
)
from spamcli.settings import BOUND, RECIPES

TUTORIAL, DEFAULT = RECIPES["tutorial"], RECIPES["wide-and-deep"]


def separable(n=200, dim=6, seed=0, gap=2.0):
    """Pooled layers of which only layer 1 tells the classes apart; fewer are on the wrong side the wider the gap."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, n)
    pooled = random.normal(size=[n, 3, dim]).astype(np.float32)
    pooled[:, 1] += gap * labels[:, None]
    return pooled, labels


def features(pooled, texts=None):
    return Features(pooled, ngrams.count(texts or [f"m{i}" for i in range(len(pooled))]), np.zeros(len(pooled), bool))


def scalar_mix(layers, s, gamma):
    """The NumPy twin: layers [b, j, d]."""
    weights = np.exp(s) / np.exp(s).sum()
    return gamma * sum(weight * layers[:, j] for j, weight in enumerate(weights))


def test_scalar_mix_equals_its_numpy_twin():
    layers = np.random.default_rng(0).normal(size=[4, 3, 5]).astype(np.float32)
    mix = ScalarMix(3)
    mix.build(layers.shape)
    np.testing.assert_allclose(mix(layers), layers.mean(axis=1), atol=1e-6)  # untrained: the mean
    mix.set_weights([np.array([0.3, -1.0, 2.0]), np.array(1.7)])
    np.testing.assert_allclose(mix(layers), scalar_mix(layers, np.array([0.3, -1.0, 2.0]), 1.7), atol=1e-5)


def test_scalar_mix_has_four_trainable_numbers_and_refuses_other_inputs():
    mix = ScalarMix(3)
    mix.build([None, 3, 5])
    assert sum(weight.shape.num_elements() or 1 for weight in mix.trainable_weights) == 4
    with pytest.raises(ValueError, match="Received"):
        ScalarMix(3).build([None, 2, 5])


def test_the_tutorials_recipe_is_the_tutorials_architecture_and_nothing_else():
    heads = build_heads(3, 8, TUTORIAL)
    assert [type(layer).__name__ for layer in heads.layers] == ["InputLayer", "ScalarMix", "Dense", "Dense"]
    assert heads.layers[2].units == 256 and heads.layers[2].activation is keras.activations.relu
    assert heads.count_params() == 4 + (8 * 256 + 256) + (256 + 1)
    pooled, labels = separable(50)
    classifier = fit_classifier(features(pooled), labels, np.arange(50), replace(TUTORIAL, epochs=1), seed=1)
    assert classifier.wide is None
    logits = np.asarray(classifier.heads(pooled))[:, 0]
    np.testing.assert_allclose(classifier.p_spam(features(pooled)), expit(logits), atol=1e-6)  # the last Dense's sigmoid


def test_several_heads_share_a_mix_of_four_numbers():
    heads = build_heads(3, 8, DEFAULT)
    trainable = sum(int(np.prod(weight.shape)) for weight in heads.trainable_weights)
    assert trainable == 4 + 5 * ((8 * 256 + 256) + (256 + 1))


def test_training_moves_the_mix_towards_the_layer_that_knows():
    pooled, labels = separable()
    classifier = fit_classifier(features(pooled), labels, np.arange(200), replace(TUTORIAL, epochs=60), seed=1)
    s, gamma = classifier.mixing["s"], classifier.mixing["gamma"]
    assert s[1] > max(s[0], s[2]) and sum(s) == pytest.approx(1) and gamma != 1
    assert ((classifier.p_spam(features(pooled)) > 0.5) == labels).mean() > 0.95


def test_one_seed_one_classifier_another_seed_another():
    pooled, labels = separable()
    settings = replace(DEFAULT, epochs=2)
    first, again, other = (
        fit_classifier(features(pooled), labels, np.arange(200), settings, seed).p_spam(features(pooled)) for seed in (1, 1, 2)
    )
    np.testing.assert_allclose(first, again, atol=1e-5)
    assert np.abs(first - other).max() > 1e-3


def test_a_head_learns_nothing_from_what_is_held_out_from_it():
    """Each learns from one half; where the other's labels are the wrong way round, that head alone is turned."""
    pooled, labels = separable(200, gap=4.0)
    held_out = np.zeros([200, 2], bool)
    held_out[100:, 0] = held_out[:100, 1] = True
    settings = replace(DEFAULT, heads=2, epochs=30, batch_size=20, dropout=0.0, hidden_dropout=0.0)
    flipped = labels.copy()
    flipped[100:] = 1 - flipped[100:]
    right = [
        (np.asarray(fit_heads(pooled, y, held_out, settings, 1)(pooled)) > 0) == labels[:, None] for y in (labels, flipped)
    ]
    assert right[0][:, 0].mean() > 0.9 and right[1][:, 0].mean() > 0.9
    assert right[0][100:, 1].mean() > 0.9 and right[1][100:, 1].mean() < 0.2


def test_crossentropy_by_hand():
    targets, odds = np.array([[1.0, -1.0], [0.0, 1.0]], np.float32), np.array([[0.3, 9.0], [-0.2, 1.5]], np.float32)
    by_hand = [-np.log(expit(0.3)), -np.log(1 - expit(-0.2)) - np.log(expit(1.5))]
    np.testing.assert_allclose(crossentropy(targets, odds), by_hand, rtol=1e-5)


def test_the_stack_believes_what_holds_on_unseen_messages():
    """Each message has a word of its own, which an n-gram model learns by heart; only the layers know of others' classes."""
    pooled, labels = separable(300)
    texts = [
        f"{'spam' if label else 'ham'}{number}x{number}"
        for number, label in enumerate(np.random.default_rng(1).permutation(labels))
    ]
    knows_layers = fit_classifier(features(pooled, texts), labels, np.arange(300), replace(DEFAULT, epochs=20), seed=1)
    assert knows_layers.stack[0] > 0.3 and all(abs(weight) < 1 for weight in knows_layers.stack[1:-1])
    noise = np.random.default_rng(2).normal(size=pooled.shape).astype(np.float32)
    texts = ["free prize claim" if label else "see you at home" for label in labels]
    knows_words = fit_classifier(features(noise, texts), labels, np.arange(300), replace(DEFAULT, epochs=20), seed=1)
    assert np.ptp(knows_words.static(features(noise, texts))[0]) > 5 and abs(knows_words.stack[0]) < 0.5
    assert ((knows_words.p_spam(features(noise, texts)) > 0.5) == labels).all()


def test_naive_bayes_is_scikit_learns():
    """Where there is as much ham as spam, and every n-gram occurs; one that does not has no say."""
    labels, random = np.repeat([0, 1], 20), np.random.default_rng(6)
    counts = random.poisson(0.7, [40, 12])
    ham, spam = MultinomialNB(alpha=SMOOTHING).fit(counts, labels).feature_log_prob_
    np.testing.assert_allclose(_log_ratios(csr_matrix(counts), labels, np.zeros(40, int)), spam - ham)
    with_unknown = csr_matrix(np.hstack([counts, np.zeros([40, 1], int)]))
    np.testing.assert_allclose(_log_ratios(with_unknown, labels, np.zeros(40, int)), [*(spam - ham), 0])


def test_no_word_is_a_sign_of_spam_because_its_file_has_more_of_it():
    """One word says the class, one only which file it is: of one a fifth is spam, of the other four fifths."""
    files, labels = np.repeat([0, 1], 100), np.concatenate([np.arange(100) < 20, np.arange(100) < 80]).astype(int)
    counts = csr_matrix(np.stack([labels, 1 - labels, files == 0, files == 1], axis=1).astype(float))
    spam_word, ham_word, *of_file = _log_ratios(counts, labels, files)
    assert spam_word > 3 and ham_word < -3 and np.allclose(of_file, 0, atol=0.01)
    assert _log_ratios(counts, labels, np.zeros(200, int))[3] > 1


def test_of_a_file_of_one_class_no_word_is_a_sign():
    """What only it holds says which file it is; what the other file holds is weighed as if it were not there."""
    files, labels = np.repeat([0, 1], [20, 10]), np.concatenate([np.tile([0, 1], 10), np.ones(10, int)])
    counts = np.stack([labels * (files == 0), 1 - labels, files == 1], axis=1).astype(float)
    alone = _log_ratios(csr_matrix(counts[:20, :2]), labels[:20], files[:20])
    np.testing.assert_allclose(_log_ratios(csr_matrix(counts), labels, files), [*alone, 0])


def test_near_copies_are_never_torn_apart_between_what_learns_and_what_the_stack_believes():
    """Copies share vector and words, and labels are drawn for each pair: what is learned of one half says all of the other,
    and nothing of new messages. A stack that saw copies apart would believe it."""
    random = np.random.default_rng(5)
    pooled, labels = (
        np.repeat(random.normal(size=[150, 3, 6]), 2, axis=0).astype(np.float32),
        np.repeat(random.integers(0, 2, 150), 2),
    )
    texts = [f"w{number} x{number} y{number}" for number in np.repeat(np.arange(150), 2)]
    settings = replace(DEFAULT, epochs=60, batch_size=20, dropout=0.0, hidden_dropout=0.0)
    apart, together = (
        fit_classifier(features(pooled, texts), labels, groups, settings, seed=1).stack[:-1]
        for groups in (np.arange(300), np.repeat(np.arange(150), 2))
    )
    assert max(map(abs, together)) < 0.4 < max(apart)


def test_the_stack_learns_from_heads_that_have_not_seen_the_message():
    """Heads learn noise by heart; those that have not seen a message know nothing of it, and the stack is told so."""
    noise, labels = separable(200, gap=0.0)
    settings = replace(DEFAULT, static="none", epochs=80, batch_size=20, dropout=0.0, hidden_dropout=0.0)
    classifier = fit_classifier(features(noise), labels, np.arange(200), settings, seed=1)
    log_odds = np.asarray(classifier.heads(noise)).mean(axis=1)
    assert ((log_odds > 0) == labels).mean() > 0.95 and abs(classifier.stack[0]) < 0.1


def test_p_spam_is_calibrated_where_labels_are_noisy():
    """A fifth of the labels is wrong, so no message is surer than four to one; without the stack, heads are much surer."""
    pooled, labels = separable(600, gap=5.0)
    noisy = np.where(np.random.default_rng(3).random(600) < 0.2, 1 - labels, labels)
    settings = replace(DEFAULT, static="none", epochs=30, batch_size=20)
    classifier = fit_classifier(features(pooled), noisy, np.arange(600), settings, seed=1)
    fresh, truth = separable(600, seed=9, gap=5.0)
    p = classifier.p_spam(features(fresh))
    assert classifier.wide is None and p[truth == 1].mean() == pytest.approx(0.8, abs=0.05)
    assert p[truth == 0].mean() == pytest.approx(0.2, abs=0.05)


def test_normalising_makes_scale_and_offset_of_a_number_irrelevant():
    pooled, labels = separable(100)
    scale = np.random.default_rng(4).uniform(0.1, 10, pooled.shape[1:]).astype(np.float32)
    settings = replace(DEFAULT, epochs=3, static="none")
    one, other = (
        fit_classifier(features(x), labels, np.arange(100), settings, seed=1).p_spam(features(x))
        for x in (pooled, pooled * scale + 3)
    )
    np.testing.assert_allclose(one, other, atol=1e-3)


def test_messages_without_tokens_get_the_prior():
    pooled, labels = separable(50)
    classifier = replace(fit_classifier(features(pooled), labels, np.arange(50), replace(DEFAULT, epochs=1), 1), prior=0.134)
    pooled[7] = np.nan
    p = classifier.p_spam(features(pooled))
    assert p[7] == 0.134 and np.isfinite(p).all() and (p >= 0).all() and (p <= 1).all()
    assert classifier.p_spam(features(np.full([2, 3, 0], np.nan, np.float32))).tolist() == [0.134, 0.134]


def test_a_few_messages_of_another_file_do_not_move_the_others():
    """Ten that are all spam have an intercept of their own, which must not be half of everybody's."""
    pooled, labels = separable(300, gap=1.5)
    texts = [f"{'win cash' if label else 'see you'} m{i}" for i, label in enumerate(labels)]
    own = fit_classifier(features(pooled, texts), labels, np.arange(300), DEFAULT, seed=1)
    more, more_texts = np.concatenate([pooled, pooled[labels == 1][:10]]), [*texts, *(f"buy gold k{i}" for i in range(10))]
    more_labels, files = np.concatenate([labels, np.ones(10, int)]), np.repeat([0, 1], [300, 10])
    beside = fit_classifier(features(more, more_texts), more_labels, np.arange(310), DEFAULT, seed=1, files=files)
    means = [classifier.unseen[:300] for classifier in (own, beside)]
    assert abs(np.diff([expit(log_odds).mean() for log_odds in means])[0]) < 0.02


def test_heads_say_no_more_than_their_bound():
    """On both runtimes; the n-grams alone could not be trusted to decide otherwise."""
    pooled, labels = separable(100, gap=9.0)
    classifier = fit_classifier(features(pooled), labels, np.arange(100), replace(DEFAULT, epochs=3), seed=1)
    weights = classifier.heads.get_weights()
    classifier.heads.set_weights([weight * (1000 if weight.shape == (256, 1) else 1) for weight in weights])
    deep = classifier.deep(classifier.normalised(pooled))
    assert np.abs(deep).max() == BOUND and (np.abs(deep) <= BOUND).all()
    converted = conversion._heads(classifier).SerializeToString()
    run = onnxruntime.InferenceSession(converted).run
    p_spam = run(None, {"pooled": pooled, "static": np.zeros(100, np.float32)})[0]
    deep_weight, *_, bias = classifier.stack
    np.testing.assert_allclose(p_spam, expit(deep_weight * deep + bias), atol=1e-5)
