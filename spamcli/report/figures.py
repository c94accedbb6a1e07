"""The figures of the page, as SVG that lives inside HTML.

No string of the data gets into a figure, only numbers. Their colours are the page's, so that they follow it into the dark.
"""

import io
import logging
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from markupsafe import Markup

from spamcli.report.points import Bin, operating_points

STYLE = Path(__file__).with_name("figure.mplstyle")
EDGE = 1e-4  # a p_spam nearer to 0 or 1 is drawn here

# In a figure these stand for the page's colours; figure.mplstyle has the first three, too.
INK, MUTED, LINE, HAM, SPAM = "#010101", "#020202", "#030303", "#040404", "#050505"
_COLOURS = {INK: "currentColor", MUTED: "var(--muted)", LINE: "var(--line)", HAM: "var(--ham)", SPAM: "var(--spam)"}


def roc(labels: np.ndarray, p_spam: np.ndarray, blocked: float, caught: float) -> Markup:
    """Spam caught against ham blocked, the latter logarithmic from less than one message on; a dot at the threshold."""

    def draw(axes):
        floor = 10 ** np.floor(np.log10(0.5 / (labels == 0).sum()))
        x, y, _ = operating_points(labels, p_spam)
        axes.set(xscale="log", xlim=(floor, 1), ylim=(0, 1.02), xlabel="ham blocked", ylabel="spam caught")
        axes.plot(np.clip([0, *x], floor, 1), [0, *y], color=SPAM, drawstyle="steps-post")
        axes.plot(max(blocked, floor), caught, "o", color=INK, clip_on=False)
        _percent(axes.xaxis, axes.yaxis)

    return _draw("ROC curve", draw)


def precision_recall(labels: np.ndarray, p_spam: np.ndarray, recall: float, precision: float) -> Markup:
    """Precision against recall; a dot at the threshold."""

    def draw(axes):
        _, x, y = operating_points(labels, p_spam)
        axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="spam caught (recall)", ylabel="precision")
        axes.axhline(labels.mean(), color=MUTED, linestyle=":", linewidth=1)
        axes.plot([0, *x], [1, *y], color=SPAM, drawstyle="steps-pre")
        axes.plot(recall, precision, "o", color=INK, clip_on=False)
        _percent(axes.xaxis, axes.yaxis)

    return _draw("Precision-recall curve", draw)


def scores(labels: np.ndarray, p_spam: np.ndarray, threshold: float, unsure: tuple[float, float] | None) -> Markup:
    """How many messages have which p_spam, on the scale of log-odds: spam upwards, ham downwards."""
    ticks, edges = [0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999], np.linspace(_log_odds(EDGE), _log_odds(1 - EDGE), 41)

    def draw(above, below):
        for axes, label, colour in (above, 1, SPAM), (below, 0, HAM):
            counts, _ = np.histogram(_log_odds(p_spam[labels == label]), edges)
            axes.set(yscale="log", xlim=edges[[0, -1]], ylim=(0.7, max(10, 1.5 * counts.max())))
            axes.stairs(np.maximum(counts, 0.7), edges, baseline=0.7, fill=True, color=colour)
            axes.axvline(_log_odds(threshold), color=INK, linestyle="--", linewidth=1.2)
            if unsure:
                axes.axvspan(*_log_odds(np.array(unsure)), color=MUTED, alpha=0.25, linewidth=0)
            axes.yaxis.set_major_formatter("{x:g}")
            axes.set_ylabel("spam" if label else "ham", color=colour)
        below.invert_yaxis()
        below.set_xticks(_log_odds(np.array(ticks)), [f"{tick:g}" for tick in ticks])
        below.set_xlabel("p_spam")

    return _draw("Histogram of p_spam, spam above ham", draw, rows=2)


def calibration(bins: Sequence[Bin]) -> Markup:
    def draw(axes):
        axes.plot([0, 1], [0, 1], color=MUTED, linestyle=":", linewidth=1)
        _dots(axes, [b.at for b in bins], bins)
        axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), xlabel="mean p_spam", ylabel="share of spam")
        _percent(axes.yaxis)

    return _draw("Share of spam by p_spam", draw)


def accuracy_by_length(bins: Sequence[Bin]) -> Markup:
    def draw(axes):
        _dots(axes, range(len(bins)), bins)
        axes.set(xlim=(-0.5, len(bins) - 0.5), xlabel="words in the message", ylabel="accuracy")
        axes.set_xticks(range(len(bins)), [str(b.at) for b in bins])
        _percent(axes.yaxis)

    return _draw("Accuracy by message length", draw)


def learning_curve(points: Sequence[dict]) -> Markup:
    def draw(axes):
        bins = [Bin(point["n"], point["n"], point["accuracy"], *point["accuracy_interval"]) for point in points]
        axes.plot([b.at for b in bins], [b.share for b in bins], color=HAM)
        _dots(axes, [b.at for b in bins], bins)
        axes.set(xlabel="training messages", ylabel="accuracy")
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.locator_params(axis="x", nbins=5)
        _percent(axes.yaxis)

    return _draw("Learning curve", draw)


def _log_odds(p):
    p = np.clip(p, EDGE, 1 - EDGE)
    return np.log(p / (1 - p))


def _dots(axes, at: Sequence[float], bins: Sequence[Bin]) -> None:
    """A dot for each bin and its interval as a line."""
    axes.vlines(at, [b.low for b in bins], [b.high for b in bins], color=HAM, alpha=0.55)
    axes.plot(at, [b.share for b in bins], "o", color=HAM, clip_on=False)


def _percent(*axes) -> None:
    for axis in axes:
        axis.set_major_formatter(lambda share, _: f"{100 * share:.6g} %")


def _draw(title: str, draw: Callable, rows: int = 1) -> Markup:
    """A figure without what would tell when, by what and with which font it was drawn."""
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # its caches are nobody's business
    from matplotlib import style
    from matplotlib.figure import Figure

    with style.context([STYLE, {"svg.hashsalt": title}], after_reset=True):
        figure, file = Figure(), io.StringIO()
        draw(*figure.subplots(rows, sharex=True, squeeze=False)[:, 0])
        figure.savefig(file, format="svg", metadata={"Date": None})
    svg = re.sub(r"<metadata>.*?</metadata>|<defs>\s*<style.*?</defs>", "", file.getvalue(), flags=re.DOTALL)
    svg = re.sub(r' id="[^"]*_\d+"|font-family: [^;"]*;? ?|(?<=\n) +', "", svg)
    svg = re.sub("#0[1-5]0[1-5]0[1-5]", lambda colour: _COLOURS[colour[0]], svg)
    drawing = svg[svg.index("<svg") :].partition(">")[2]
    return Markup(f'<svg role="img" aria-label="{title}" viewBox="0 0 360 259.2">{drawing}')
