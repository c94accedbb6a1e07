"""Explanations mean what they say: words are really left out, flips flip, strengths lie on the text, neighbours are near."""

import json
from dataclasses import replace
from itertools import combinations

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit

from spamcli import characters, messages, model_dir, prediction, protocols, training
from spamcli.classifier import Features, build_heads
from spamcli.elmo import ELMo
from spamcli.explain import PAIRED_WORDS, explain, runs, shades, token_spans, without
from spamcli.prediction import Wanted
from spamcli.report.lines import explanation_lines
from spamcli.settings import RECIPES

from conftest import TINY_MESSAGES  # isort: skip

ANY_TEXT = st.text(st.characters(exclude_categories=()) | st.sampled_from("aZ9é'’.!?-_#£@\t\n \x00\xa0😀\ud83d\ude00"))
CALL = "URGENT!! You've WON (a prize), call 0900-555-0101 now..."


@pytest.fixture(scope="module")
def split():
    return protocols.split(messages.read_messages(TINY_MESSAGES), "grouped", 1)


@pytest.fixture(scope="module")
def model(tiny_elmo, split):
    read = messages.read_messages(TINY_MESSAGES)
    slow_learner = replace(RECIPES["tutorial"], epochs=60, learning_rate=1e-2)
    return training.train(read, split, ELMo(str(tiny_elmo)), slow_learner, seed=1)[0]


@pytest.fixture(scope="module")
def wide(tiny_elmo, split):
    """The default recipe."""
    read = messages.read_messages(TINY_MESSAGES)
    return training.train(read, split, ELMo(str(tiny_elmo)), replace(RECIPES["wide-and-deep"], epochs=5), seed=1)[0]


@pytest.fixture(scope="module")
def wild(model, split):
    """The same model with random hidden units, under which words act together so much that greedy search errs."""
    pooled, random = model.elmo.pooled_layers(split.train["text"].tolist()), np.random.default_rng(0)
    kernel = random.normal(size=[pooled.shape[2], 256]) / pooled.mean(axis=1).std(axis=0)[:, None]
    heads = keras.models.clone_model(model.classifier.heads)
    weights = [kernel, -pooled.mean(axis=(0, 1)) @ kernel, random.normal(scale=0.3, size=[256, 1]), np.zeros(1)]
    heads.set_weights([np.zeros(3), np.ones(()), *weights])
    return with_heads(model, heads)


def certain(model):
    """The same model, but for a spam logit so large that p_spam is 1 in float32."""
    return replace(model, classifier=replace(model.classifier, stack=(1.0, 60.0)))


def with_heads(model, heads):
    return replace(model, classifier=replace(model.classifier, heads=heads))


def brute_force(model, text):
    """Contribution of each token, one message at a time, from p_spam and the other tokens alone."""
    tokens = model.elmo.tokenize(text)
    odds = [logit(model.p_spam([" ".join(left)])[0]) for left in [tokens, *leave_one_out(tokens)]]
    return odds[0] - np.array(odds[1:])


def cut_out(model, explanation):
    """The same, from the text itself, where n-grams are judged: what stands between tokens is theirs, too."""
    left = p_without(model, explanation, [[word] for word in range(len(explanation.words))])
    return logit(model.p_spam([explanation.text])[0]) - logit(left)


def leave_one_out(tokens):
    return [tokens[:i] + tokens[i + 1 :] for i in range(len(tokens))]


def p_without(model, explanation, deletions):
    """p_spam of the message without some of its words, cut out of the text one after the other, from the end."""
    texts = []
    for words in deletions:
        text = explanation.text
        for word in sorted((explanation.words[i] for i in words), key=lambda word: -word.start):
            text = f"{text[: word.start]} {text[word.end :]}"
        texts.append(text)
    return model.p_spam(texts)


def check_flip(model, explanation):
    """The other verdict without the words, the present one when any of them is put back."""
    flip, words = explanation.flip, set(explanation.flip.words)
    assert flip.tokens == [explanation.words[i].token for i in sorted(words)]
    without_all, *put_back = p_without(model, explanation, [words, *(words - {word} for word in words)])
    assert flip.p_spam == pytest.approx(without_all, abs=1e-4)
    label = explanation.label == "spam"
    assert (without_all >= explanation.threshold) != label
    assert all((p >= explanation.threshold) == label for p in put_back)


@pytest.mark.parametrize("text", ["Claim your prize now", CALL, "WIN", "ring\tring\nring", "it's 9 o'clock... (ok)"])
def test_contributions_are_those_of_leaving_out_one_by_one(model, text):
    explanation = explain(model, text)
    assert [word.token for word in explanation.words] == model.elmo.tokenize(text)
    assert [text[word.start : word.end] for word in explanation.words] == model.elmo.tokenize(text)
    assert explanation.words_together == 1
    np.testing.assert_allclose([word.contribution for word in explanation.words], brute_force(model, text), atol=1e-4)
    assert explanation.log_odds == pytest.approx(logit(model.p_spam([text])[0]), abs=1e-4)


@pytest.mark.parametrize("tokenizer", characters.TOKENIZERS)
@given(ANY_TEXT, st.data())
def test_leaving_out_words_leaves_the_other_tokens(tokenizer, text, data):
    tokenize = characters.TOKENIZERS[tokenizer]
    text = characters.replace_surrogates(text)
    spans, tokens = token_spans(text, tokenize), tokenize(text)
    left_out = data.draw(st.sets(st.integers(0, len(tokens) - 1))) if tokens else set()
    assert tokenize(without(text, spans, left_out)) == [token for i, token in enumerate(tokens) if i not in left_out]


def test_verdict_is_predicts_own(model):
    for text in [CALL, "See you at six", "", "\ud83d"]:
        for threshold in (None, 0.0, 0.3, 0.9, 1.0):
            explanation, (verdict,) = explain(model, text, threshold), prediction.predict(model, [text], Wanted(threshold))
            assert explanation.label == verdict.label and explanation.p_spam == pytest.approx(verdict.p_spam, abs=1e-5)


def test_additive_or_not_both_sums_are_stated(model):
    one = explain(model, "WIN")
    assert one.sum_of_contributions == pytest.approx(one.log_odds - one.prior_log_odds)
    assert one.prior_log_odds == pytest.approx(logit(model.classifier.prior))
    many = explain(model, CALL)
    assert many.sum_of_contributions == pytest.approx(brute_force(model, CALL).sum(), abs=1e-3)
    assert abs(many.sum_of_contributions - (many.log_odds - many.prior_log_odds)) > 0.1


def test_log_odds_are_those_of_p_spam(model):
    texts = ["See you at six", "WIN a prize now", ""]
    features = Features.of(model.elmo, texts)
    np.testing.assert_allclose(expit(model.classifier.log_odds(features)), model.p_spam(texts), atol=1e-6)
    assert replace(model.classifier, prior=0.0).log_odds(features)[2] < -30


def test_log_odds_still_tell_where_p_spam_is_rounded_to_1(model):
    sure, odds = certain(model), explain(model, CALL)
    explanation = explain(sure, CALL)
    assert explanation.p_spam == sure.p_spam([CALL])[0] == 1
    assert explanation.log_odds == pytest.approx(odds.log_odds + 60, abs=1e-4)
    contributions = [[word.contribution for word in e.words] for e in (explanation, odds)]
    np.testing.assert_allclose(*contributions, atol=1e-4)


@pytest.mark.parametrize("max_words", [14, 200])
@pytest.mark.parametrize("threshold", [0.02, 0.5, 0.98])
def test_a_flip_flips_and_each_of_its_words_is_needed(wild, split, threshold, max_words):
    texts = [*split.test["text"], *split.train["text"][:16]]
    explanations = [explain(wild, text, threshold, max_words) for text in texts]
    flips = [explanation for explanation in explanations if explanation.flip]
    for explanation in flips:
        check_flip(wild, explanation)
    assert {2, 3} < {len(explanation.flip.words) for explanation in flips}


def test_a_flip_that_is_called_the_smallest_is(wild, split):
    sizes = []
    for text in [*split.test["text"], *split.train["text"][:16]]:
        explanation = explain(wild, text)
        flip, words = explanation.flip, range(len(explanation.words))
        size = len(flip.words) if flip else 4
        assert not flip or flip.smallest == (size <= 3)
        fewer = [deletion for n in range(1, min(size, 3)) for deletion in combinations(words, n)]
        assert all((p_without(wild, explanation, fewer) >= 0.5) == (explanation.label == "spam"))
        sizes.append(size)
    assert {1, 2, 3, 4} <= set(sizes)


@pytest.mark.parametrize("max_words", [50, 200])
def test_a_flip_of_a_message_with_too_many_words_to_try_all_pairs(wild, split, max_words):
    for start in range(0, 30, 6):
        explanation = explain(wild, " ".join(split.train["text"][start : start + 6]), max_words=max_words)
        assert len(explanation.words) * explanation.words_together > PAIRED_WORDS
        check_flip(wild, explanation)
        assert not explanation.flip.smallest or len(explanation.flip.words) < 3 and explanation.words_together == 1


@pytest.mark.parametrize("words, max_words", [(40, 40), (60, 60), (80, 60), (60, 20), (200, 30)])
def test_the_work_is_bounded(model, words, max_words):
    class CountingELMo(ELMo):
        tokens = []

        def _call(self, tokens):
            self.tokens.append(sum(map(len, tokens)))
            return super()._call(tokens)

    elmo = CountingELMo(model.elmo.handle)
    text = " ".join(f"word{i}" for i in range(words))
    explain(replace(model, elmo=elmo), text, threshold=0.0, max_words=max_words, flip=False)
    alone = sum(elmo.tokens)
    assert alone <= max_words**2 + words
    explanation = explain(replace(model, elmo=elmo), text, threshold=0.0, max_words=max_words)  # whose verdict never changes
    pairs = 40 * 39 // 2 * 38 if words <= PAIRED_WORDS else 0
    assert explanation.flip is None and sum(elmo.tokens) - 2 * alone <= 2 * max_words**2 + pairs


def test_no_flip_where_the_verdict_never_changes(model):
    assert explain(model, CALL, threshold=0.0).flip is None
    assert explain(certain(model), "WIN a prize", threshold=min(model.classifier.prior, 0.5)).flip is None


def test_layers_by_hand(model):
    explanation, pooled = explain(model, CALL), model.elmo.pooled_layers([CALL])
    s = np.array([layer.s for layer in explanation.layers])
    assert explanation.gamma == model.config.mixing["gamma"] and s.tolist() == model.config.mixing["s"]
    for j, layer in enumerate(explanation.layers):
        weights = np.where(np.arange(3) == j, 0, s) / (1 - s[j])
        mixed = np.einsum("j,jd->d", weights, pooled[0])
        alone = np.stack([mixed] * 3)[None]  # any mix of three equal layers is that layer
        assert layer.contribution == pytest.approx(explanation.log_odds - model.classifier.deep(alone)[0], abs=1e-4)


def test_a_layer_that_is_not_mixed_in_contributes_nothing(model):
    heads = build_heads(3, model.config.elmo["dim"], RECIPES["tutorial"])
    heads.get_layer("scalar_mix").s.assign([-40.0, 0.0, 0.0])
    layers = explain(with_heads(model, heads), CALL).layers
    assert layers[0].contribution == pytest.approx(0, abs=1e-5) and abs(layers[1].contribution) > 1e-4


def test_parts_of_the_default_recipe_by_hand(wide):
    """Log-odds are the heads' and the n-grams' shares and a bias; a layer's share is of the normalised layers."""
    explanation, features = explain(wide, CALL), Features.of(wide.elmo, [CALL])
    deep, *_, bias = wide.classifier.stack
    heads = np.asarray(wide.classifier.heads(features.pooled)).mean()
    assert explanation.log_odds == pytest.approx(deep * heads + explanation.static + bias, abs=1e-4)
    assert explain(wide, "日本語").static == 0  # which training never showed
    np.testing.assert_allclose([word.contribution for word in explanation.words], cut_out(wide, explanation), atol=1e-4)
    normalised, s = wide.classifier.normalised(features.pooled), np.array([layer.s for layer in explanation.layers])
    weights = np.array([0, *s[1:]]) / (1 - s[0])
    alone = np.stack([np.einsum("j,jd->d", weights, normalised[0])] * 3)[None]
    lost = deep * (heads - wide.classifier.deep(alone)[0])
    assert explanation.layers[0].contribution == pytest.approx(lost, abs=1e-4)


@pytest.mark.parametrize("max_words", [3, 200])
@pytest.mark.parametrize("text", ["", "  ", "WIN", f" \t{CALL}\n", "a\ud83d\ude00b \ude00"])
def test_shades_cover_the_text_exactly(model, text, max_words):
    explanation = explain(model, text, max_words=max_words)
    pieces = shades(explanation)
    assert "".join(piece for piece, _ in pieces) == explanation.text == characters.as_seen(text)
    assert [piece for piece, strength in pieces if strength] == [word.token for word in explanation.words]
    largest = max([abs(word.contribution) for word in explanation.words], default=1)
    for word, (_, strength) in zip(explanation.words, [piece for piece in pieces if piece[1]]):
        assert strength == pytest.approx(word.contribution / largest) and -1 <= strength <= 1


def test_words_of_a_long_message_are_left_out_together(model):
    text = " ".join(f"word{i}" for i in range(25))
    explanation = explain(model, text, max_words=10)
    assert explanation.words_together == 7 and [word.token.count(" ") + 1 for word in explanation.words] == [7, 7, 7, 4]
    for number, word in enumerate(explanation.words):
        left = logit(p_without(model, explanation, [[number]])[0])
        assert word.contribution == pytest.approx(explanation.log_odds - left, abs=1e-4)
    if explanation.flip:
        assert not explanation.flip.smallest


@given(st.integers(0, 3000), st.integers(1, 50))
def test_no_more_is_read_than_the_square_of_max_words(n, max_words):
    spans = [(i, i + 1) for i in range(n)]
    parts, together = runs(spans, max_words)
    assert len(parts) <= max_words and (len(parts) * n <= max_words**2 or len(parts) == 1)
    assert (together == 1) == (n <= max_words or n <= 1)
    assert [start for start, _ in parts] == list(range(0, n, together)) and (not n or parts[-1][1] == n)


def test_max_words_is_at_least_one(model):
    with pytest.raises(ValueError, match="Received: 0"):
        explain(model, CALL, max_words=0)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ANY_TEXT)
def test_any_text_is_explained_and_is_json(model, text):
    explanation = explain(model, text)
    values = json.loads(json.dumps(explanation.to_dict(), allow_nan=False))
    assert len(values["words"]) == len(model.elmo.tokenize(characters.as_seen(text))) and len(values["layers"]) == 3
    assert "".join(piece for piece, _ in shades(explanation)) == values["text"]
    values["text"].encode("utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("text", ["x" * 10**6, " " * 10**6, f"{'w' * 22} " * 43_000])
def test_a_megabyte(model, text):
    explanation = explain(model, text)
    assert len(explanation.words) <= 1 and "".join(piece for piece, _ in shades(explanation)) == text


def test_nothing_is_said_of_a_message_without_tokens(model):
    explanation = explain(model, " \n")
    assert explanation.words == [] and explanation.flip is None and explanation.nearest == []
    assert explanation.log_odds == explanation.prior_log_odds and explanation.sum_of_contributions == 0
    assert [layer.contribution for layer in explanation.layers] == [0, 0, 0]


def test_a_foreign_message_is_said_to_be_one(model, wide):
    """Its p_spam is held, and the explanation says why."""
    sure = replace(wide, classifier=replace(wide.classifier, stack=(*wide.classifier.stack[:-1], 60.0)))
    explanation = explain(sure, "엄마 나 오늘 늦어요 저녁 먼저 드세요")
    assert explanation.foreign and explanation.log_odds == explanation.prior_log_odds
    assert "foreign" in "\n".join(explanation_lines(explanation.to_dict()))
    for other in (explain(sure, CALL), explain(model, "엄마 나 오늘 늦어요")):
        assert not other.foreign and "foreign" not in "\n".join(explanation_lines(other.to_dict()))
    silent = explain(sure, "\x80\x81")  # no tokens, but n-grams
    assert silent.static == 0 and not silent.foreign and silent.log_odds == silent.prior_log_odds


def test_shortened_messages_stay_out_of_the_cache(model, tiny_elmo, tmp_path):
    cached = replace(model, elmo=ELMo(str(tiny_elmo), tmp_path))
    explain(cached, CALL)
    tokens = model.elmo.tokenize(CALL)
    assert not cached.elmo.cache.read([CALL, " ".join(tokens), *(" ".join(left) for left in leave_one_out(tokens))])
    assert cached.elmo.pooled_layers([CALL]).size and cached.elmo.cache.read([CALL])


def test_a_training_message_is_its_own_nearest(model, split):
    for text, label, row in split.train[["text", "label", "row"]].itertuples(index=False):
        first, second, third = explain(model, text, max_words=1).nearest
        assert (first.row, first.label, first.text) == (row, ("ham", "spam")[label], None)
        assert first.cosine == pytest.approx(1, abs=1e-3) and first.cosine >= second.cosine >= third.cosine


def test_nearest_is_by_cosine_of_the_mixes(model, split):
    mixes = np.einsum("j,njd->nd", model.config.mixing["s"], model.elmo.pooled_layers([CALL, *split.train["text"]]))
    mixes /= np.linalg.norm(mixes, axis=1, keepdims=True)
    cosines = [neighbour.cosine for neighbour in explain(model, CALL).nearest]
    np.testing.assert_allclose(cosines, np.sort(mixes[1:] @ mixes[0])[:-4:-1], atol=1e-3)


def test_texts_of_neighbours_if_kept_or_from_the_users_own_file(model, split, tmp_path):
    texts = split.train["text"].tolist()
    by_row = dict(zip(split.train["row"], texts))
    keeping = replace(model, memory=replace(model.memory, texts=texts))
    model_dir.save(keeping, tmp_path / "keeping")
    model_dir.save(model, tmp_path / "model")
    for explanation in (
        explain(model_dir.load(tmp_path / "keeping"), CALL),
        explain(model_dir.load(tmp_path / "model"), CALL, training_texts=texts),
    ):
        assert [near.text for near in explanation.nearest] == [by_row[near.row] for near in explanation.nearest]
    assert [near.text for near in explain(model_dir.load(tmp_path / "model"), CALL).nearest] == [None] * 3
    with pytest.raises(ValueError, match="Received: 2"):
        explain(model, CALL, training_texts=texts[:2])


def test_a_message_without_tokens_is_nobodys_neighbour(model):
    vectors = model.memory.vectors.copy()
    vectors[1:] = 0
    (near,) = explain(replace(model, memory=replace(model.memory, vectors=vectors)), CALL).nearest
    assert near.row == model.memory.rows[0]


@pytest.mark.slow
def test_with_the_builtin_elmo_and_the_real_collection(spam_csv, tmp_path_factory):
    collection = messages.read_messages(spam_csv)
    split = protocols.split(collection, "tutorial", 1)
    small = replace(split, train=split.train[:1500])
    elmo = ELMo("builtin", tmp_path_factory.mktemp("pooled"))
    model, _ = training.train(collection, small, elmo, replace(RECIPES["wide-and-deep"], epochs=5), seed=1)
    text = "URGENT! You have won a FREE prize, txt CLAIM to 81010 (150p/msg)"
    explanation = explain(model, text)
    assert explanation.label == "spam" and all(near.label == "spam" for near in explanation.nearest)
    np.testing.assert_allclose([word.contribution for word in explanation.words], cut_out(model, explanation), atol=1e-3)
    check_flip(model, explanation)
    by_contribution = sorted(explanation.words, key=lambda word: word.contribution)
    assert {word.token for word in by_contribution[-6:]} & {"81010", "150p", "FREE", "CLAIM", "prize", "txt"}
