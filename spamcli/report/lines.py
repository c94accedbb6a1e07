"""An evaluation as lines for a terminal. Never a bare number: errors of n, intervals, and the fingerprint."""

from collections.abc import Iterator, Sequence
from statistics import stdev

DIFFERENCES = 20  # messages on which two models differ that are listed
STRONGEST = 10  # words of a message that are listed


def lines(data: dict) -> Iterator[str]:
    """Lines of what `evaluate --json` prints."""
    for name, value in _headline(data).items():
        yield f"{name:<12} {value}"
    yield from _known(data)
    yield from _against(data)
    yield from _baselines(data)
    yield from _attacks(data)


def _headline(data: dict) -> dict[str, str]:
    unseen, runs, half = data["unseen"], data.get("runs"), data.get("at_half")
    rows = {"accuracy": _accuracy(data)}
    if runs:
        errors = [run["errors"] for run in runs]
        spread = f"{min(errors)} to {max(errors)}, standard deviation {stdev(errors):.1f}"
        rows["runs"] = f"{', '.join(map(str, errors))} errors ({spread}); the figures and intervals here are their means"
    if "saved" in data:
        rows["saved model"] = _accuracy(data["saved"])
    if unseen["n"] is None:
        rows["unseen only"] = "unknown without the messages that the model was trained on; name their file with --data"
    elif not unseen["n"]:
        rows["unseen only"] = "every test message has a near copy in training"
    elif unseen["n"] != data["n"]:
        rows["unseen only"] = f"{unseen['accuracy']:.2%}  ({_errors(unseen)} without a near copy in training)"
    if half:
        rows["at 0.5"] = f"{half['accuracy']:.2%}  ({_errors(half)}; the other rows are at {data['threshold']:g})"
    ham = data["n"] - data["spam"]
    if data.get("int8"):
        int8 = data["int8"]
        rows["in int8"] = (
            f"{int8['errors']:,} errors, {int8['differ']:,} other verdicts; p_spam differs by {int8['largest']:.2g} at most"
        )
    if "budget" in data:
        rows["budget"] = _budget(data["budget"])
    if "unsure" in data:
        unsure = data["unsure"]
        band = f"p_spam from {unsure['threshold_ham']:.3g} to {unsure['threshold_spam']:.3g}"
        rows["unsure"] = f"{unsure['n']:,} messages, {unsure['spam']:,} of them spam: {band}; here they count as let through"
    if data["spam"]:
        rows["spam caught"] = _share(
            data["spam_caught"], data["spam"], "spam", data["spam_groups"], data["spam_caught_interval"]
        )
    if ham:
        rows["ham blocked"] = _share(data["ham_blocked"], ham, "ham", data["ham_groups"], data["ham_blocked_interval"])
    if data["spam"] and ham:
        rows["MCC"] = f"{data['mcc']:.3f}  (ROC AUC {data['roc_auc']:.4f}, average precision {data['average_precision']:.4f})"
    rows["p_spam"] = f"log loss {data['log_loss']:.4f}, Brier {data['brier']:.4f}"
    if data["calibration_slope"] is not None:
        rows["p_spam"] += f", calibration slope {data['calibration_slope']:.2f}, intercept {data['calibration_intercept']:+.2f}"
    if "mixing" in data:
        s = ", ".join(f"{weight:.3f}" for weight in data["mixing"]["s"])
        rows["mixing"] = f"s {s} (char-CNN, LSTM 1, LSTM 2), gamma {data['mixing']['gamma']:.3f}"
    rows["seconds"] = ", ".join(f"{phase} {value:.1f}" for phase, value in data["seconds"].items())
    return rows | {"fingerprint": data["fingerprint"]}


def _accuracy(data: dict) -> str:
    return f"{data['accuracy']:.2%}  ({_errors(data)}; 95 % interval {_interval(data['accuracy_interval'])})"


def _errors(data: dict) -> str:
    return f"{_count(data['errors'])} errors of {data['n']:,}"


def _count(number: float) -> str:
    """A mean over runs keeps one decimal."""
    return f"{number:,.0f}" if number == int(number) else f"{number:,.1f}"


def _share(share: float, n: int, kind: str, groups: Sequence[float], bounds: Sequence[float]) -> str:
    """Of messages; with its interval, which is of groups where near copies are counted together."""
    counted = "" if groups[1] == n else f"of groups of near copies {_count(groups[0])} of {groups[1]:,.0f}, "
    return f"{share:.2%}  (of {n:,} {kind}; {counted}{_interval(bounds)})"


def _interval(bounds: Sequence[float]) -> str:
    return f"{bounds[0]:.2%} to {bounds[1]:.2%}"


def _points(bounds: Sequence[float]) -> str:
    """A 95 % interval of a difference, in percentage points."""
    if bounds[0] == bounds[1] == 0:
        return "none seen"  # which is not to say that there is none
    return f"{100 * bounds[0]:+.2f} to {100 * bounds[1]:+.2f} points"


def _budget(budget: dict) -> str:
    return (
        f"at most {budget['max_ham_blocked']:.2%} of ham like the training ham is blocked, 95 % sure: out of fold "
        f"{budget['blocked']:,} of {budget['ham']:,} were, near copies counted once, so {budget['bound']:.2%} at most"
    )


def _known(data: dict) -> Iterator[str]:
    known = data.get("known")
    if known and known["n"]:
        yield f"{'with known':<12} {_accuracy(known['with_them'])}, the {known['n']:,} that the model was trained on included"


def _against(data: dict) -> Iterator[str]:
    other = data.get("against")
    if not other:
        return
    yield ""
    yield (
        f"{other['model']}: {_errors(other)}, ours {_errors(other['ours'])}; its error rate minus ours "
        f"{_points(other['difference_interval'])}, McNemar p {other['mcnemar']:.3g}"
    )
    known = other["known"]
    if known["n"]:
        yield (
            f"Left out are {known['n']:,} messages that one of them was trained on; with these it makes "
            f"{_errors(known['theirs'])}, ours {_errors(known['ours'])}."
        )
    yield f"Its fingerprint: {other['fingerprint']}"
    yield f"They differ on {len(other['differ']):,} messages, the known ones included:"
    for message in other["differ"][:DIFFERENCES]:
        kind = "spam" if message["label"] else "ham"
        yield f"  {kind:<4}  ours {message['ours']:.3f}  theirs {message['theirs']:.3f}  {message['text']}"


def _baselines(data: dict) -> Iterator[str]:
    if not data.get("baselines"):
        return
    difference = "its error rate minus ours"
    columns = f"errors    MCC  caught  blocked  *caught   train  predict  {difference:<28}  McNemar p  settings"
    yield from ("", f"baseline      {columns}")
    yield f"{'ours':<12}  {_beside(data)}  {_rate(data['spam_caught'], 7, 2)}  {_seconds(data)}"
    for row in data["baselines"]:
        settings = ", ".join(f"{name} {value}" for name, value in row["settings"].items() if value is not None)
        best = " (the fewest errors on these messages)" if row["best"] else ""
        equal = _rate(row["caught_at_our_ham_blocked"], 7, 2)
        yield (
            f"{row['name']:<12}  {_beside(row)}  {equal}  {row['train_seconds']:5.1f}s  {row['predict_seconds']:6.2f}s  "
            f"{_points(row['difference_interval']):<28}  {row['mcnemar']:9.3g}  {settings}{best}"
        )
    yield "*caught: where each may block as much ham of these messages as ours does"


def _beside(row: dict) -> str:
    """The columns that ours and the baselines have in common."""
    mcc = f"{row['mcc']:.3f}" if row["mcc"] is not None else "    –"
    return f"{_count(row['errors']):>6}  {mcc}  {_rate(row['spam_caught'], 6, 2)}  {_rate(row['ham_blocked'], 7, 2)}"


def _rate(share: float | None, width: int, digits: int) -> str:
    return f"{share:{width}.{digits}%}" if share is not None else f"{'–':>{width}}"


def _seconds(data: dict) -> str:
    """Seconds of a run; a saved model was trained at another time, and vectors of its ELMo may come from the cache."""
    runs, seconds = len(data.get("runs", [0])), data["seconds"]
    train = f"{seconds['train'] / runs:5.1f}s" if "train" in seconds else f"{'–':>6}"
    return f"{train}  {seconds['test'] / runs:6.2f}s" + (
        f"  and {seconds['encode']:.1f}s of ELMo" if "encode" in seconds else ""
    )


def _attacks(data: dict) -> Iterator[str]:
    if not data.get("attacks"):
        return
    yield from ("", "attack               share  ours: caught  blocked  baseline: caught  blocked  ours at its ham blocked")
    for row in data["attacks"]:
        rates = [row[who][what] for who in ("ours", "baseline") for what in ("spam_caught", "ham_blocked")]
        shown = [_rate(rate, width, 1) for rate, width in zip([*rates, row["ours_at_their_ham_blocked"]], (12, 7, 16, 7, 23))]
        yield f"{row['tactic']:<20} {row['share']:5.0%}  {'  '.join(shown)}"


def explanation_lines(data: dict) -> Iterator[str]:
    """Lines of what `explain --json` prints."""
    words = sorted(data["words"], key=lambda word: -abs(word["contribution"]))
    odds = f"log-odds {data['log_odds']:+.2f}, without any word {data['prior_log_odds']:+.2f}"
    yield f"{data['label']}, p_spam {data['p_spam']:.4f}: {odds}"
    if data["foreign"]:
        yield "foreign      training had hardly any of its n-grams, so p_spam is at most that of a message without words"
    for word in words[:STRONGEST]:
        yield f"  {word['contribution']:+7.2f}  {word['token']}"
    if len(words) > STRONGEST:
        yield f"  {sum(word['contribution'] for word in words[STRONGEST:]):+7.2f}  the other {len(words) - STRONGEST}"
    together = f"{data['words_together']} words left out together; " if data["words_together"] > 1 else ""
    yield (
        f"What the log-odds lose without a word ({together}above 0 speaks for spam). Words act together: these add up to "
        f"{data['sum_of_contributions']:+.2f}, and all of them make {data['log_odds'] - data['prior_log_odds']:+.2f}."
    )
    if data["flip"]:
        without = " ".join(data["flip"]["tokens"])
        found = "" if data["flip"]["smallest"] else " (the fewest found)"
        yield f"flips        to {data['flip']['label']}, p_spam {data['flip']['p_spam']:.4f}, without: {without}{found}"
    elif data["words"]:
        yield "flips        by no deletion that was found"
    layers = zip(("char-CNN", "LSTM 1", "LSTM 2"), data["layers"])
    shares = (f"{name} s {layer['s']:.3f} ({layer['contribution']:+.2f})" for name, layer in layers)
    yield f"layers       {', '.join(shares)}"
    if data["static"] is not None:
        yield f"static       adds {data['static']:+.2f}"
    for near in data["nearest"]:
        place = f"row {near['row']} of {near['file']}"
        yield f"near         {near['label']:<4} {place}, cosine {near['cosine']:.3f}  {near['text'] or ''}".rstrip()
