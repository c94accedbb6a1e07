"""What `evaluate --json` prints, as one HTML page that needs nothing else: no script, no network, no other file."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from spamcli.errors import WriteError
from spamcli.files import destination, finish, unfinished
from spamcli.report import figures, points
from spamcli.report.text import LEVELS, shaded, visible

LISTED = 200  # messages whose text is shown, at most, ...
ROOM = 600_000  # ... and the characters of HTML that they may take together
HERE = Path(__file__).parent
_PATHS = {"file": "path", "against": "model"}  # where the data may have some


def render(data: dict, redact: bool = False) -> str:
    """The page, complete; the same data and the same versions give the same characters.

    Args:
        data: what `evaluate --json` prints. A part that is not in it is not on the page.
        redact: mask names, numbers and links in the text of messages, and the folders of files.
    """
    data = _without_folders(data) if redact else data
    differ = data["against"]["differ"] if "against" in data else []
    mistakes, differing = listed(data["mistakes"], redact, LISTED), listed(differ, redact, LISTED // 4)
    return _template().render(
        data=data,
        redact=redact,
        css=Markup((HERE / "page.css").read_text(encoding="utf-8")),
        sections=sections(data),
        matrix=confusion(data),
        columns=columns(data),
        mistakes=mistakes,
        differing=differing,
        shown=len(mistakes) + len(differing),
        levels=range(1, LEVELS + 1),
        ours_seconds=_own_seconds(data),
        **drawn(data),
    )


def write(data: dict, path: Path, redact: bool = False) -> None:
    """Write the page, all of it or nothing, also when interrupted.

    Raises: WriteError, if it cannot be written.
    """
    final = check_place(path)
    page = render(data, redact).encode("utf-8")
    try:
        with unfinished(final.parent) as partial:
            partial.write_bytes(page)
            finish(partial, final)
    except OSError as error:
        raise WriteError(f"{path}: the report cannot be written: {error.strerror}; name another place") from error


def check_place(path: Path) -> Path:
    """The file that the path leads to. Raises: WriteError, if no page can be written there."""
    final = destination(path, "name another place for the report")
    if not os.path.isdir(final.parent):
        raise WriteError(f"{path}: there is no folder {final.parent}; make it, or name another place for the report")
    if not os.access(final.parent, os.W_OK):
        raise WriteError(f"{path}: {final.parent} cannot be written; name another place for the report")
    return final


def sections(data: dict) -> dict[str, str]:
    """Id and heading of each part that this page has, in order."""
    both = 0 < data["spam"] < data["n"]
    every = {
        "verdicts": ("Verdicts", True),
        "ranking": ("Other thresholds", both),
        "scores": ("Scores", True),
        "calibration": ("Calibration", True),
        "length": ("Message length", True),
        "learning": ("Learning curve", data.get("learning_curve")),
        "mixing": ("Mixing weights", data.get("mixing")),
        "attacks": ("Attacks", data.get("attacks")),
        "baselines": ("Baselines", data.get("baselines")),
        "against": ("Against another model", data.get("against")),
        "mistakes": ("Errors", True),
        "making": ("How this was made", True),
    }
    return {name: heading for name, (heading, there) in every.items() if there}


def drawn(data: dict) -> dict:
    """The figures and the numbers beside them."""
    labels, p_spam, lengths = (np.array([m[key] for m in data["messages"]]) for key in ("label", "p_spam", "length"))
    threshold, unsure = data["threshold"], data.get("unsure")
    band = (unsure["threshold_ham"], unsure["threshold_spam"]) if unsure else None
    by_score = points.calibration_bins(labels, p_spam)
    by_length = points.length_bins(lengths, (p_spam >= threshold) == labels)
    values = {
        "histogram": figures.scores(labels, p_spam, threshold, band),
        "calibration": figures.calibration(by_score),
        "by_score": by_score,
        "accuracy_by_length": figures.accuracy_by_length(by_length),
        "by_length": by_length,
    }
    if 0 < data["spam"] < data["n"]:
        values["roc"] = figures.roc(labels, p_spam, data["ham_blocked"], data["spam_caught"])
        values["precision_recall"] = figures.precision_recall(labels, p_spam, data["recall"], data["precision"])
    if data.get("learning_curve"):
        values["learning_curve"] = figures.learning_curve(data["learning_curve"])
    if band:
        inside = (p_spam >= band[0]) & (p_spam < band[1])
        values["num_unsure"], values["sure_errors"] = int(inside.sum()), int(((p_spam >= band[1]) != labels)[~inside].sum())
    return values


def confusion(data: dict) -> list[list[float]]:
    """Messages by label (ham, spam) and verdict (ham, spam); of several runs the mean, as the other figures are."""
    spam, ham = data["spam"], data["n"] - data["spam"]
    caught, blocked = spam * (data["spam_caught"] or 0), ham * (data["ham_blocked"] or 0)  # None of none
    return [[ham - blocked, blocked], [spam - caught, caught]]


def columns(data: dict) -> dict[str, dict]:
    """The same figures on other messages or at another threshold, by name."""
    others = {
        "no near copy in training": data["unseen"] if data["unseen"]["n"] else None,
        "threshold 0.5": data.get("at_half"),
        "known ones, too": data["known"]["with_them"] if "known" in data else None,
        "saved model": data.get("saved"),
    }
    return {"all messages": data} | {name: scores for name, scores in others.items() if scores}


def _without_folders(data: dict) -> dict:
    """The data with the last part alone of what may be a path: whose computer it was is nobody's business."""
    elmo = {name: Path(value).name if name == "handle" else value for name, value in data["elmo"].items()}
    named = {key: data[key] | {name: Path(data[key][name]).name} for key, name in _PATHS.items() if key in data}
    return {**data, "elmo": elmo, **named}


def listed(messages: Sequence[dict], redact: bool, limit: int) -> list[dict]:
    """The first of the messages, as many as there is room for, with their text as HTML under `html`."""
    rows, room = [], ROOM * limit // LISTED
    for message in messages[:limit]:
        html = shaded(message["text"], message.get("words"), redact)
        room -= len(html.encode("utf-8"))
        if room < 0:
            break
        rows.append({**message, "html": html})
    return rows


def _own_seconds(data: dict) -> str:
    """Of a run; a saved model was trained at another time."""
    seconds, runs = data["seconds"], len(data.get("runs", [0]))
    train, test = (_decimals(seconds[name] / runs, 1) if name in seconds else "–" for name in ("train", "test"))
    return f"{train} + {test}"


def _template():
    """Whatever the template puts out is made visible and escaped, unless it is Markup of ours."""
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: value if isinstance(value, Markup) else visible(str(value)),
    )
    environment.filters |= FILTERS | {"apply": lambda value, name: FILTERS[name](value)}
    return environment.get_template("page.html")


def _percent(share: float | None, digits: int = 2) -> str:
    return "–" if share is None or share != share else f"{100 * share:.{digits}f}\xa0%"


def _interval(bounds: Sequence[float], digits: int = 2, to: str = " to ") -> str:
    return f"{100 * bounds[0]:.{digits}f}{to}{_percent(bounds[1], digits)}"


def _difference(bounds: Sequence[float]) -> str:
    if bounds[0] == bounds[1] == 0:
        return "none seen"
    low, high = (f"{100 * bound:+.2f}".replace("-", "−") for bound in bounds)
    return f"{low} to {high} points"


def _of(counts: Sequence[float]) -> str:
    return f"{_count(counts[0])} of {_count(counts[1])}"


def _count(number: float) -> str:
    """A mean over runs keeps one decimal."""
    return f"{round(number, 1):,.1f}".removesuffix(".0")


def _decimals(number: float | None, digits: int = 3) -> str:
    return "–" if number is None else f"{number:.{digits}f}".replace("-", "−")


FILTERS = {
    "percent": _percent,
    "interval": _interval,
    "span": lambda bounds, digits=2: _interval(bounds, digits, "–"),
    "of": _of,
    "count": _count,
    "decimals": _decimals,
    "short": lambda number: f"{number:.6g}",
    "fine": lambda number: _decimals(number, 4),
    "difference": _difference,
    "chance": lambda p: "below 0.001" if p < 0.001 else f"{p:.3f}",
}
