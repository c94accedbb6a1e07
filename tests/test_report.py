"""The page: it shows what the data says, and nothing of the data is markup."""

import json
import os
import re
import resource
import subprocess
import sys
from dataclasses import asdict
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spamcli.errors import WriteError
from spamcli.metrics import mean_scores, score, wilson
from spamcli.report import figures, render, write
from spamcli.report.page import LISTED, listed
from spamcli.report.points import calibration_bins, length_bins, operating_points
from spamcli.report.text import LONGEST, redacted, shaded, visible

SPAM = "URGENT! You have WON a guaranteed £1000 prize. Call 09061 700 000 now to claim, or see www.win.example/now".split()
HAM = "Ok lar, see you at the station at 6 then. Tell Maria that Tom can come with me, I'll be home late".split()

# What somebody could send to whoever reads the page; each would set `hacked`, load something, or hide something.
INJECTIONS = [
    "<script>window.hacked=1</script>",
    "</script><script>window.hacked=1</script>",
    "<img src=x onerror=window.hacked=1>",
    "<img src=https://example.com/pixel.png>",
    "<svg onload=window.hacked=1>",
    "<svg><script href=data:text/javascript,window.hacked=1 /></svg>",
    "</title><script>window.hacked=1</script>",
    "</style><style>body{display:none}</style>",
    "</p></li></ol></section></main></body></html><script>window.hacked=1</script>",
    "--><script>window.hacked=1</script><!--",
    "]]><script>window.hacked=1</script>",
    "\" onmouseover=window.hacked=1 x=\"",
    "' autofocus onfocus=window.hacked=1 x='",
    "><body onload=window.hacked=1>",
    "<iframe src=\"javascript:parent.hacked=1\"></iframe>",
    "<iframe srcdoc=\"<script>parent.hacked=1</script>\">",
    "<a href=\"javascript:window.hacked=1\" autofocus>click</a>",
    "javascript:window.hacked=1",
    "<meta http-equiv=refresh content=\"0;url=https://example.com/\">",
    "<link rel=stylesheet href=https://example.com/x.css>",
    "<base href=https://example.com/><object data=https://example.com/x></object>",
    "<form action=https://example.com/><input autofocus onfocus=window.hacked=1>",
    "<details open ontoggle=window.hacked=1>",
    "<math><mtext></form><form><mglyph><style></math><img src onerror=window.hacked=1>",
    "{{ 7 * 191 }}{% raw %}${7*191}#{7*191}<%= 7*191 %>",
    "&lt;script&gt;window.hacked=1&lt;/script&gt; &#x3c;script&#x3e;",
    "＜script＞window.hacked=1＜/script＞",
    "\x00<\x00script>window.hacked=1</script>",
    "\x1b[2J\x1b]0;hacked\x07\x9b31m red",
    "\u202egnp.exe\u202c \u2066isolated\u2069 \u200fmark",
    "a\u200bb\u200dc\ufeffd\u2028e\u2029f\xadg\u2800h\U000e0041i",
    "\ud800 lone \udfff",
    "line\r\nfeed\ttab\x0bvertical",
    "Z̷͔̈́ạ̴̀l̷̰͂g̶̯̀o̴͚͝ " * 3,
]  # fmt: skip


def words_of(text, sign, random):
    """Pieces with shades, as an explanation has them: mostly of one sign, white space neutral."""
    pieces = []
    for word in text.split(" "):
        pieces += [[word, float(np.clip(sign * random.normal(0.3, 0.45), -1, 1))], [" ", 0.0]]
    return pieces[:-1]


def sample(size=400, seed=1, runs=3, without=(), **changes):
    """What `evaluate --json` could print of n invented messages, with every optional part but those of `without`."""
    data = json.loads(invented(size, seed, runs))
    return {key: value for key, value in (data | changes).items() if key not in without}


@cache
def invented(n, seed, runs):
    random = np.random.default_rng(seed)
    labels = (random.random(n) < 0.13).astype(int)
    labels[:2] = 0, 1
    log_odds = np.where(labels == 1, random.normal(4.5, 2.4, n), random.normal(-5.5, 2.0, n))
    log_odds[:2] = 2.0, -4.0  # one error of each kind, at least
    of_runs = 1 / (1 + np.exp(-log_odds - random.normal(0, 0.6, [runs, n])))
    p_spam = of_runs.mean(0)
    lengths = random.geometric(0.06, n)
    texts = [" ".join(random.choice(SPAM if label else HAM, length)) for label, length in zip(labels, lengths[:5000])]

    def figures_of(rows=slice(None)):
        return asdict(mean_scores([score(labels[rows], p[rows], 0.5) for p in of_runs]))

    unseen = random.random(n) < 0.9
    mistakes = []
    for row in np.flatnonzero((p_spam >= 0.5) != labels):
        text = texts[row % len(texts)]
        about = {"row": int(row), "text": text, "label": int(labels[row]), "p_spam": float(p_spam[row])}
        mistakes.append(about | {"words": words_of(text, 1 - 2 * labels[row], random)})

    def rates(caught, blocked):
        return {"spam_caught": float(caught), "ham_blocked": float(blocked)}

    attacks = [{"tactic": "none", "share": 0.0, "ours": rates(0.935, 0.004), "baseline": rates(0.912, 0.003)}]
    for tactic in "look-alikes leetspeak spacing swaps drops zero-width punctuation padding splitting accents emoji".split():
        fall, theirs = random.uniform(0.1, 1.5), random.uniform(0.3, 2.2)
        for share in (0.1, 0.2, 0.3):
            ours, baseline = rates(0.935 - share * fall, 0.004 + share / 50), rates(0.912 - share * theirs, 0.003)
            attacks.append({"tactic": tactic, "share": share, "ours": ours, "baseline": baseline})
    attacks = [attack | {"ours_at_their_ham_blocked": attack["ours"]["spam_caught"] - 0.01} for attack in attacks]

    def baseline(name, settings, errors, best=False):
        about = {"name": name, "settings": settings, "errors": errors, "accuracy": 1 - errors / n, "mcc": 0.951, "best": best}
        times = {"train_seconds": 41.3, "predict_seconds": 0.4, "mcnemar": 0.031, "difference_interval": [-0.0007, 0.0151]}
        return about | rates(0.92, 0.002) | {"caught_at_our_ham_blocked": 0.925} | times

    curve = [(50, 0.91), (100, 0.94), (200, 0.955), (400, 0.968), (800, 0.974), (1600, 0.979)]
    data = {
        "protocol": "grouped",
        **figures_of(),
        "mixing": {"s": [0.512, 0.301, 0.187], "gamma": 1.234},
        "elmo": {"handle": "builtin", "fingerprint": "a1b2c3d4e5f60718", "dim": 256},
        "recipe": "tutorial",
        "seed": 1,
        "epochs": 12,
        "fingerprint": "protocol grouped | seed 1 | threshold 0.5 | elmo a1b2c3d4 | recipe tutorial | epochs 12 | spamcli 0.9",
        "seconds": {"encode": 12.34, "train": 3.21, "test": 4.5},
        "unseen": figures_of(unseen),
        "messages": [
            {"row": row, "label": int(label), "p_spam": float(p), "unseen": bool(new), "length": int(length)}
            for row, (label, p, new, length) in enumerate(zip(labels, p_spam, unseen, lengths))
        ],
        "mistakes": sorted(mistakes, key=lambda mistake: -abs(mistake["p_spam"] - mistake["label"])),
        "at_half": figures_of(),
        "runs_of": "folds 5 | repeats 3",
        "file": {"path": "my messages.csv", "sha256": "c0ffee"},
        "saved": figures_of(),
        "runs": [asdict(score(labels, p, 0.5)) for p in of_runs],
        "known": {"n": 12, "with_them": figures_of(slice(n // 2))},
        "learning_curve": [
            {"n": size, "errors": n - n * share, "accuracy": share, "accuracy_interval": wilson(round(n * share), n)}
            for size, share in curve
        ],
        "baselines": [
            baseline("words", {"C": 1, "class_weight": None}, 17),
            baseline("chars", {"C": 5, "class_weight": "balanced"}, 11, best=True),
            baseline("naive Bayes", {"alpha": 0.1}, 23),
        ],
        "against": {
            "model": "models/last-week",
            "fingerprint": "protocol grouped | seed 2",
            **figures_of(),
            "ours": figures_of(),
            "known": {"n": 31, "theirs": figures_of(), "ours": figures_of()},
            "mcnemar": 0.0004,
            "difference_interval": [-0.0012, 0.0111],
            "differ": [
                {"row": i, "text": texts[i], "label": int(labels[i]), "ours": 0.1234, "theirs": 0.8765} for i in range(3)
            ],
        },
        "attacks": attacks,
        "unsure": {"threshold_ham": 0.3, "threshold_spam": 0.7},
    }
    return json.dumps(data)


def mistake(text, words=None, **changes):
    return {"row": 7, "text": text, "label": 1, "p_spam": 0.25, "words": words} | changes


def hostile(texts=INJECTIONS):
    """Data whose every string is an injection."""
    halves = [mistake(text, [[text[:5], 1], [text[5:], -1]]) for text in texts]
    data = sample(mistakes=[mistake(text) for text in texts] + halves)
    together = " ".join(texts)
    data |= {"protocol": together, "recipe": together, "fingerprint": together}
    data |= {"elmo": {together: together}, "seconds": {together: 1.0}}
    data["baselines"][1] |= {"name": together, "settings": {together: together}}
    data["against"] |= {"model": together}
    data["against"]["differ"][0]["text"] = together
    data["attacks"][1]["tactic"] = together
    return data


class Page(HTMLParser):
    """What a browser would find: all elements with their attributes, headings by id, tables by name, texts of messages."""

    def __init__(self, html):
        super().__init__()
        self.elements, self.sections, self.tables, self.messages, self.text = [], {}, {}, [], ""
        self.cell = self.message = None
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.elements.append((tag, attributes))
        if tag == "h2":
            self.sections[attributes["id"]] = ""
        elif attributes.get("role") == "region":
            self.tables[attributes["aria-label"]] = self.table = []
        elif tag == "tr":
            self.table.append([])
        elif tag in ("td", "th"):
            self.table[-1].append("")
            self.cell = True
        elif tag == "p" and attributes.get("dir") == "auto":
            self.messages.append("")
            self.message = True

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.cell = None
        elif tag == "p":
            self.message = None

    def handle_data(self, data):
        if self.elements and self.elements[-1][0] != "style":
            self.text += data
        if self.elements and self.elements[-1][0] == "h2":
            self.sections[self.elements[-1][1]["id"]] += data
        if self.cell:
            self.table[-1][-1] += data
        if self.message:
            self.messages[-1] += data


@pytest.fixture(scope="module")
def page():
    return Page(rendered())


@cache
def rendered():
    return render(sample())


def percent(share, digits=2):
    return f"{100 * share:.{digits}f}\xa0%"


def test_page_is_one_file_without_scripts_or_anything_from_elsewhere(page):
    assert not {tag for tag, _ in page.elements} & {
        "script",
        "img",
        "iframe",
        "object",
        "embed",
        "form",
        "base",
        "audio",
        "video",
    }
    policy = next(a["content"] for tag, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:")
    for tag, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on") or name in ("src", "srcset", "action", "style.src")]
        if tag not in ("use", "link"):
            assert attributes.get("href", "#").startswith("#")
    assert [attributes for tag, attributes in page.elements if tag == "link"] == [{"rel": "icon", "href": "data:,"}]
    html = rendered()
    assert "url(" not in html.replace("url(#", "") and "@import" not in html and "@font-face" not in html


def test_page_has_a_language_a_title_and_headings_in_order(page):
    assert ("html", {"lang": "en"}) in page.elements
    assert page.text.lstrip().startswith(f"{percent(sample()['accuracy'])} of 400 messages judged rightly – spamcli")
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(levels, levels[1:]))


def test_no_id_occurs_twice_and_every_reference_has_its_target(page):
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    html = rendered()
    targets = set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', html))
    assert {a or b for a, b in targets} <= set(ids)


def test_every_figure_has_a_name_and_a_caption(page):
    names = [attributes["aria-label"] for tag, attributes in page.elements if tag == "svg"]
    assert len(names) == len(set(names)) == 6
    tags = [tag for tag, _ in page.elements]
    assert tags.count("figure") == tags.count("figcaption") == 6
    assert all(attributes["role"] == "img" for tag, attributes in page.elements if tag == "svg")


OPTIONAL = {  # what the page then does not say
    "learning_curve": "Accuracy after training on fewer messages",
    "mixing": "Mixing weights",
    "attacks": "by the baseline",
    "baselines": "The baseline with the fewest errors",
    "against": "Messages judged differently",
    "unsure": "is unsure",
    "runs": "Each run",
    "known": "that the model was trained on",
    "epochs": "epochs12",
    "file": "my messages.csv, sha256 c0ffee",
    "runs_of": "folds 5 | repeats 3",
    "saved": "saved model",
}
HEADED = {
    "learning_curve": "learning",
    "mixing": "mixing",
    "attacks": "attacks",
    "baselines": "baselines",
    "against": "against",
}


@pytest.mark.parametrize("key", OPTIONAL)
def test_a_part_without_data_is_left_out_and_the_others_stay(page, key):
    partial = Page(render(sample(without=[key])))
    assert OPTIONAL[key] in page.text and OPTIONAL[key] not in partial.text
    assert list(partial.sections) == [name for name in page.sections if name != HEADED.get(key)]


def test_with_nothing_optional_only_what_is_always_known_is_shown():
    bare = Page(render(sample(mistakes=[], without=[*OPTIONAL, "at_half"])))
    assert list(bare.sections) == ["verdicts", "ranking", "scores", "calibration", "length", "mistakes", "making"]
    assert [len(row) for row in bare.tables["All figures"]] == [3] * 21
    assert "This page contains no message text." in bare.text


@pytest.mark.parametrize("kind", [0, 1])
def test_messages_of_one_class_have_no_curves(kind):
    data = sample()
    messages = [message for message in data["messages"] if message["label"] == kind]
    one_class = asdict(score([kind] * len(messages), [message["p_spam"] for message in messages], 0.5))
    shown = Page(
        render(sample(messages=messages, unseen={"n": 0, "accuracy": None, "errors": 0}, without=["runs"], **one_class))
    )
    assert "ranking" not in shown.sections and "calibration" in shown.sections
    assert "all have a near copy in training" in shown.text


def test_a_single_message_is_enough():
    figure = asdict(score([0], [0.0], 0.5))
    message = {"row": 0, "label": 0, "p_spam": 0.0, "unseen": True, "length": 0}
    assert "1 messages judged rightly" in render(sample(messages=[message], mistakes=[], unseen=figure, **figure))


def test_headline_and_tiles_say_what_the_data_says(page):
    data = sample()
    low, high = data["accuracy_interval"]
    assert (
        f"{round(data['errors'], 1):g} errors, the mean of 3 runs.\nWith 95\xa0% confidence, {100 * low:.2f} to {percent(high)}"
        in page.text
    )
    assert data["fingerprint"] in page.text
    for value in (
        percent(data["spam_caught"]),
        percent(data["ham_blocked"]),
        f"{data['mcc']:.3f}",
        percent(data["unseen"]["accuracy"]),
    ):
        assert value in page.text[: page.text.index("How this was made")]


def test_confusion_matrix_agrees_with_the_figures():
    data = sample(runs=1)
    matrix = Page(render(data)).tables["Confusion matrix"]
    verdicts = [(message["label"], int(message["p_spam"] >= 0.5)) for message in data["messages"]]
    for label in (0, 1):
        for verdict, cell in enumerate(matrix[1 + label][1:]):
            assert int(re.match(r"\d+", cell)[0]) == verdicts.count((label, verdict))


def test_confusion_matrix_of_several_runs_is_their_mean(page):
    matrix, data = page.tables["Confusion matrix"], sample()
    wrong = [float(re.match(r"[\d.]+", cell)[0]) for cell in (matrix[1][2], matrix[2][1])]
    assert sum(wrong) == pytest.approx(data["errors"], abs=0.11)


def test_table_of_all_figures_equals_the_data(page):
    data, table = sample(), {}
    for row in page.tables["All figures"]:
        table.setdefault(row[0], row[1:])
    columns = [data, data["unseen"], data["at_half"], data["known"]["with_them"], data["saved"]]
    assert table["accuracy"] == [percent(scores["accuracy"]) for scores in columns]
    assert table["precision"] == [percent(scores["precision"]) for scores in columns]
    for name, key, digits in ("F1", "f1", 3), ("MCC", "mcc", 3), ("ROC area", "roc_auc", 4), ("Brier score", "brier", 4):
        assert table[name] == [f"{scores[key]:.{digits}f}" for scores in columns]
    low, high = data["accuracy_interval"]
    assert table["95\xa0% interval"][0] == f"{100 * low:.2f}–{percent(high)}"


def test_tables_equal_the_data(page):
    data = sample()
    assert [row[1] for row in page.tables["Each run"][1:]] == [str(run["errors"]) for run in data["runs"]]
    assert [row[2] for row in page.tables["Learning curve"][1:]] == [percent(p["accuracy"]) for p in data["learning_curve"]]
    assert [row[1].strip() for row in page.tables["Mixing weights"]] == [percent(s, 1) for s in data["mixing"]["s"]]
    for row, attack in zip(page.tables["Attacks"][1:], data["attacks"], strict=True):
        assert row[0] == attack["tactic"]
        values = attack["ours"]["spam_caught"], attack["baseline"]["spam_caught"], attack["ours"]["ham_blocked"]
        assert [row[column].strip() for column in (2, 3, 5)] == [percent(value, 1) for value in values]
    for row, baseline in zip(page.tables["Baselines"][2:], data["baselines"], strict=True):
        assert row[1:4] == [str(baseline["errors"]), percent(baseline["accuracy"]), "0.951"]
        assert row[6:] == ["92.50\u00a0%", "−0.07 to +1.51 points", "0.031", "41.3 + 0.4"]
    assert sum(int(row[1]) for row in page.tables["Accuracy by message length"][1:]) == data["n"]
    assert sum(int(row[1]) for row in page.tables["Share of spam by p_spam"][1:]) == data["n"]


def test_attacks_without_a_baseline_have_no_columns_for_it():
    attacks = [{name: attack[name] for name in ("tactic", "share", "ours")} for attack in sample()["attacks"]]
    attacks = [attack | {"baseline": None} for attack in attacks]
    assert [len(row) for row in Page(render(sample(attacks=attacks))).tables["Attacks"]] == [4] * len(attacks) + [4]


def test_unsure_band_counts_what_is_in_it(page):
    inside = [m for m in sample()["messages"] if 0.3 <= m["p_spam"] < 0.7]
    outside = [m for m in sample()["messages"] if m not in inside and (m["p_spam"] >= 0.5) != m["label"]]
    assert f"from 0.3 to 0.7 is unsure: {len(inside)} messages\n" in page.text
    assert f"Of the others, {len(outside)} are judged wrongly" in page.text


def test_mistakes_are_shown_in_their_order_with_all_of_their_text(page):
    data = sample()
    assert page.messages == [m["text"] for m in data["against"]["differ"]] + [m["text"] for m in data["mistakes"]]


def test_nothing_in_the_data_becomes_markup():
    """The elements and their attributes are those of harmless data, and all text arrives as its visible characters."""

    def structure(page):
        return [(tag, sorted(attributes)) for tag, attributes in page.elements]

    html = render(hostile())
    page = Page(html)
    assert structure(page) == structure(Page(render(hostile(["x" * len(text) for text in INJECTIONS]))))
    assert page.messages[3:] == [visible(text) for text in INJECTIONS] * 2
    assert "1337" not in html  # of 7 * 191
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b\u202a-\u202e\u2066-\u2069\ud800-\udfff]", html)


def test_what_nobody_sees_is_written_out():
    assert visible("a\u202eb\x00c\x1bd\te\nf\x9bg\ud800h\ufeffi\U000e0041") == (
        r"a\u202eb\x00c\x1bd\te\nf\x9bg\ud800h\ufeffi\U000e0041"
    )
    assert visible("fr\u200dee f\u200cree") == r"fr\u200dee f\u200cree"
    ordinary = "Ünïcödé – “quotes” €5 مرحبا שלום 你好 नमस्ते می\u200cخواهم 👨\u200d👩\u200d👧 ❤\ufe0f a\xa0b"
    assert visible(ordinary) == ordinary


def test_words_are_shaded_by_sign_and_strength():
    words = [["win", 1.0], [" ", 0.0], ["home", -0.5], [" <now>", 0.1]]
    assert shaded("win home <now>", words, False) == ("<span class=s4>win</span> <span class=h2>home</span> &lt;now&gt;")


def test_shading_survives_redaction_and_a_link_across_pieces_is_masked_once():
    words = [["Ask", 0.0], [" John", 1.0], [" http://a.", -1.0], ["example/1", 1.0], [" 12", 0.5]]
    assert shaded("", words, True) == ("Ask<span class=s4> [name]</span><span class=h4> [link]</span><span class=s2> ##</span>")


@given(st.text(), st.lists(st.integers(0, 30)), st.booleans())
def test_cutting_a_text_into_pieces_changes_nothing(text, cuts, redact):
    cuts = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    words = [[text[start:end], 1.0] for start, end in zip(cuts, cuts[1:])]
    assert re.sub("</?span[^>]*>", "", shaded(text, words, redact)) == shaded(text, None, redact)


def test_long_messages_are_cut():
    shown = shaded("ab " * LONGEST, [["ab ", 1.0]] * LONGEST, False)
    assert str(shown).endswith(f"<em>… and {2 * LONGEST:,} more characters</em>")
    assert shown.count("ab") == pytest.approx(LONGEST / 3, abs=1)
    assert "more" not in shaded("a" * LONGEST, None, False)


def mask(text):
    return "".join(redacted(text))


@pytest.mark.parametrize(
    "text, shown",
    [
        ("Call 09061 700 000 by 6pm, £1,000 or ½ or ②!", "Call ##### ### ### by #pm, £#,### or # or #!"),
        ("See http://a.example/x?y=1 or www.win.example now", "See [link] or [link] now"),
        ("Mail me@there.example, bit.ly/2x or javascript:x.yz", "Mail [link] [link] or [link]"),
        ("Tell Maria and O'Brien that Jean-Luc came", "Tell [name] and [name] that [name] came"),
        ("Please come. Then I'll go. I am late", "Please come. Then I'll go. I am late"),
        ("hi john, dear mum, from @anna and Mr. smith", "hi [name], dear [name], from @[name] and [name]. [name]"),
        ("Ok... Joking wif u oni. URGENT! You WON", "Ok... [name] wif u oni. URGENT! You WON"),
        ("Привет, скажи Ивану", "Привет, скажи [name]"),
        ("", ""),
    ],
)
def test_names_numbers_and_links_are_masked(text, shown):
    assert mask(text) == shown


@given(st.text())
def test_no_number_survives_redaction(text):
    shown = redacted(text)
    assert len(shown) == len(text)
    assert not [character for character in "".join(shown) if character.isdigit() or character.isdecimal()]


LINKS = ["http://a.example", "https://b.example/c?d=e", "www.f.example", "g@h.example", "i.co/j", "ftp://k", "//l.com", "M.COM"]


@given(
    st.lists(st.one_of(st.sampled_from(LINKS), st.text(max_size=8)), max_size=8),
    st.sampled_from([" ", "\n", ", ", " (", "\xa0"]),
)
def test_no_link_survives_redaction(parts, between):
    shown = mask(between.join(parts))
    assert not re.search(r"://|www\.|[a-z0-9]@[a-z0-9]|[a-z0-9]\.[a-z]{2}", shown, re.IGNORECASE | re.ASCII)


@given(st.lists(st.sampled_from(["and", "Maria", "Tom", "saw", "ok", "then", "I'll"]), max_size=20))
def test_no_name_inside_a_sentence_survives_redaction(words):
    assert not {"Maria", "Tom"} & set(mask(" ".join(["we", *words])).split())


def test_redacted_page_says_so_and_keeps_no_number_link_or_name():
    text = "I told Maria that 07700900123 is at www.there.example"
    data = sample(40, mistakes=[mistake(text, [[text[:11], 0.4], [text[11:], -0.4]])])
    data["against"]["differ"] = [{"row": 3, "text": text, "label": 0, "ours": 0.2, "theirs": 0.9}]
    masked = Page(render(data, redact=True))
    assert masked.messages == ["I told [name] that ########### is at [link]"] * 2
    assert "07700" not in render(data, redact=True) and "Maria" not in render(data, redact=True)
    assert "This page contains message text, redacted." in masked.text and "Rules do not understand" in masked.text
    assert "This page contains message text, as it was sent" in Page(render(data)).text


def test_redacted_page_names_no_folders():
    data = sample(file={"path": "/home/maria/my messages.csv", "sha256": "c0ffee"})
    data["elmo"] |= {"handle": "/home/maria/elmo"}
    data["against"] |= {"model": "/home/maria/models/last-week"}
    assert "maria" in render(data) and "maria" not in render(data, redact=True)
    assert all(name in render(data, redact=True) for name in ("my messages.csv", "last-week", ">elmo<"))


def test_page_of_100_000_messages_stays_small():
    worst = "\U000e0041a" * 20_000
    words = [[worst[i : i + 2], 1.0 if i % 4 else -1.0] for i in range(0, len(worst), 2)]
    data = sample(100_000)
    assert len(data["mistakes"]) > LISTED
    assert len(render(data).encode()) < 1_500_000
    data["mistakes"] = [mistake(worst, words)] * 300
    data["against"]["differ"] = [{"row": 3, "text": worst, "label": 0, "ours": 0.2, "theirs": 0.9}] * 300
    page = render(data)
    assert len(page.encode()) < 1_500_000
    shown = Page(page).messages
    assert f"{600 - len(shown)}" == str(sum(int(n) for n in re.findall(r"<p>(\d+) more are not listed", page)))


def test_no_more_than_so_many_mistakes_are_listed_and_the_rest_is_counted():
    data = sample(40, mistakes=[mistake(f"message {i}") for i in range(1234)], without=["against"])
    page = Page(render(data))
    assert page.messages == [f"message {i}" for i in range(LISTED)]
    assert "1,034 more are not listed." in page.text and "1,234 messages are judged wrongly" in page.text
    assert listed([], False, 5) == []


def test_same_data_same_bytes_whatever_the_user_has_set_up(tmp_path):
    (tmp_path / "matplotlibrc").write_text("font.size: 30\naxes.facecolor: red\nsvg.fonttype: path\n")
    (tmp_path / "data.json").write_text(json.dumps(sample(40)))
    command = "import json, sys; from spamcli.report import render; sys.stdout.write(render(json.load(open('data.json'))))"
    environment = os.environ | {"PYTHONHASHSEED": "7", "MPLCONFIGDIR": str(tmp_path), "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run([sys.executable, "-c", command], cwd=tmp_path, env=environment, capture_output=True, check=True)
    assert done.stdout.decode("utf-8") == render(sample(40))
    assert not done.stderr


def test_data_is_left_as_it_was():
    data = sample(40)
    render(data, redact=True)
    assert data == sample(40)


def test_importing_the_page_loads_no_matplotlib_and_drawing_no_pyplot():
    command = """
import sys, numpy
from spamcli.report import figures
assert "matplotlib" not in sys.modules
figures.calibration([])
assert "matplotlib.pyplot" not in sys.modules and "tensorflow" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", command], check=True)


def test_figures_have_the_colours_of_the_page_and_real_text(page):
    svg = figures.roc(np.array([0, 1, 0, 1]), np.array([0.1, 0.9, 0.6, 0.4]), 0.5, 0.5)
    assert "<text" in svg and "ham blocked" in svg and "currentColor" in svg and "var(--spam)" in svg
    assert not re.search("#[0-9a-f]{6}|font-family|<style|<metadata|DejaVu|Matplotlib", svg)


def test_write_replaces_the_page_whole(tmp_path):
    path = tmp_path / "report.html"
    path.write_text("yesterday's")
    write(sample(40), path, redact=True)
    assert path.read_bytes() == render(sample(40), redact=True).encode("utf-8")
    assert list(tmp_path.iterdir()) == [path]


def test_full_disk_keeps_the_last_page(tmp_path):
    """No file may grow past 1,000 bytes, which stops the writing in the middle as a full disk would."""
    path = tmp_path / "report.html"
    path.write_text("yesterday's")
    render(sample(40))  # matplotlib's own caches are written by now
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(WriteError, match="report.html: the report cannot be written: [^\n]+$"):
            write(sample(40), path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_text() == "yesterday's" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("place", ["missing/report.html", "file/report.html", "folder", "/dev/null"])
def test_places_that_cannot_hold_a_page(tmp_path, place):
    (tmp_path / "file").write_text("precious")
    (tmp_path / "folder").mkdir()
    with pytest.raises(WriteError, match="^[^\n]*name[^\n]*$"):
        write(sample(40), tmp_path / place)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]
    assert (tmp_path / "file").read_text() == "precious" and not Path("/dev/null").is_file()


def test_operating_points_by_hand():
    """Spam at .9 and .4, ham at .6, .4 and .1: of thresholds .9, .6, .4 and .1."""
    blocked, caught, precision = operating_points(np.array([1, 0, 1, 0, 0]), np.array([0.9, 0.6, 0.4, 0.4, 0.1]))
    np.testing.assert_allclose(blocked, [0, 1 / 3, 2 / 3, 1])
    np.testing.assert_allclose(caught, [1 / 2, 1 / 2, 1, 1])
    np.testing.assert_allclose(precision, [1, 1 / 2, 2 / 4, 2 / 5])


def test_calibration_bins_by_hand():
    """Half of the bin from .2 is spam; 1.0 belongs to the last bin, and bins without messages are left out."""
    bins = calibration_bins(np.array([0, 1, 1, 1]), np.array([0.2, 0.28, 0.95, 1.0]))
    assert [(b.n, b.share) for b in bins] == [(2, 0.5), (2, 1.0)]
    np.testing.assert_allclose([b.at for b in bins], [0.24, 0.975])
    assert (bins[1].low, bins[1].high) == wilson(2, 2)


def test_length_bins_by_hand():
    bins = length_bins(np.array([0, 5, 6, 50, 51, 900]), np.array([True, False, True, True, False, False]))
    assert [(b.at, b.n, b.share) for b in bins] == [("0–5", 2, 0.5), ("6–10", 1, 1.0), ("31–50", 1, 1.0), ("51+", 2, 0.0)]
