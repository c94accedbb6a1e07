"""Message text as it may be shown: what commands a terminal or turns letters round is visible, and private parts masked."""

import re
import unicodedata

from markupsafe import Markup

LONGEST = 1000  # characters of a message that are shown
LEVELS = 4  # of shading, each way

# Controls, what has no width, what turns the direction of writing, separators, lone surrogates and tags. Joiners between
# two characters beyond ASCII are spelling (Persian, Hindi, emoji) and stay.
_HIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164"
    "\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff\ud800-\udfff\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
    "|(?<![^\x00-\x7f])[\u200c\u200d]|[\u200c\u200d](?![^\x00-\x7f])"
)
_SHORT = {"\t": "\\t", "\n": "\\n", "\r": "\\r"}

_RUN = re.compile(r"\S+")
_LINK = re.compile(r"://|\S@\S|\w\.[^\W\d_]{2}", re.IGNORECASE)
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_SENTENCE_START = re.compile(r"(?:^|(?<!\.)[.!?](?=\s))[\s\"'“”‘’(]*")
_ADDRESS = re.compile(r"(?:\b(?:hi|hey|hello|dear|mr|mrs|ms|miss|dr|sir)\b\.?,?\s+|@\s*)", re.IGNORECASE)


def visible(text: str) -> str:
    r"""Write each control, bidirectional override and other character that nobody sees as \n, \x1b, \u202e or \U000e0041."""
    return _HIDDEN.sub(lambda hidden: _SHORT.get(hidden[0]) or _escape(ord(hidden[0])), text)


def _escape(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def redacted(text: str) -> list[str]:
    """What stands for each character of a text whose links, numbers and names are masked.

    A link is a run without white space that has `://`, an @ inside, or two letters after a dot. Every digit (also ½ or ②)
    becomes #. A name is a word that begins with a capital, is not all capitals, and does not begin a sentence; and any word
    after @ or after such as hi, dear or mrs. So what a sentence begins with, names all in small letters or all in capitals
    and numbers in words stay.
    """
    shown = ["#" if unicodedata.category(character)[0] == "N" else character for character in text]
    sentence_starts = {match.end() for match in _SENTENCE_START.finditer(text)}
    addressed = {match.end() for match in _ADDRESS.finditer(text)}
    names = [m for m in _WORD.finditer(text) if m.start() in addressed or (_titled(m[0]) and m.start() not in sentence_starts)]
    links = [match for match in _RUN.finditer(text) if _LINK.search(match[0])]
    for matches, mask in (names, "[name]"), (links, "[link]"):
        for match in matches:
            shown[match.start() : match.end()] = [mask, *[""] * (len(match[0]) - 1)]
    return shown


def _titled(word: str) -> bool:
    return word[0].isupper() and not word.isupper() and not re.match("I['’]", word)


def shaded(text: str, words: list | None, redact: bool) -> Markup:
    """A message as HTML, each word shaded by its contribution.

    Args:
        words: [piece, shade] pairs whose pieces joined are the text; a shade is from -1 (ham) to 1 (spam).
    """
    words = words or [[text, 0]]
    text = "".join(piece for piece, _ in words)
    shown, parts, end = redacted(text) if redact else text, [], 0
    for piece, shade in words:
        start, end = end, end + len(piece)
        part = visible("".join(shown[start : min(end, LONGEST)]))
        level = round(abs(shade) * LEVELS)
        kind = f"{'s' if shade > 0 else 'h'}{level}"
        parts.append(Markup("<span class={}>{}</span>").format(kind, part) if level and part else Markup.escape(part))
        if end > LONGEST:
            parts.append(Markup(" <em>… and {:,} more characters</em>").format(len(text) - LONGEST))
            break
    return Markup("").join(parts)
