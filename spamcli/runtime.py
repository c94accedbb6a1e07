"""A trained model on ONNX Runtime: the same verdicts as on TensorFlow, and nothing that is slow to load."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime

from spamcli.characters import TOKENIZERS, batches, encode_tokens, first_tokens, in_another_script
from spamcli.errors import DataError
from spamcli.model_config import check_files, read_config, reading, undisturbed, verified
from spamcli.ngrams import Wide
from spamcli.settings import BOUND

MAX_BATCH_TOKENS = 1024  # larger ones are no faster, and threads wait longer for the last of a window
COUNTED = 2048  # messages whose n-grams are counted together
SLACK = 1e-2  # of log-odds: far more than single precision can be off
ROUNDING = 1e-6  # of p_spam: the same


class Session:
    """The ONNX file of a model: tokens of messages and their static scores -> p_spam, pooled layers. Threads may share it."""

    def __init__(self, file: bytes, name: Path = Path("the ONNX file")):
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = 1  # each batch has a thread; sharing one's products among several wastes a third
        self.name = name
        with reading(name):
            self._session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
            (ids,) = (value for value in self._session.get_inputs() if value.name == "char_ids")
            self.max_characters = ids.shape[1]
            if self.max_characters not in range(3, 1001):
                raise ValueError("no number of characters")

    def run(self, tokens: Sequence[Sequence[str]], static: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of messages that have tokens, static: float [b]: p_spam, float32 [b]; pooled layers, float32 [b, 3, dim].

        Raises: DataError, if the file does not take them.
        """
        numbers: dict[str, int] = {}
        places = np.full([len(tokens), max(map(len, tokens))], -1, np.int32)
        for row, message in zip(places, tokens):
            row[: len(message)] = [numbers.setdefault(token, len(numbers)) for token in message]
        char_ids = encode_tokens(list(numbers), self.max_characters)
        feeds = {"char_ids": char_ids, "places": places, "static": static.astype(np.float32)}
        with reading(self.name):
            return tuple(self._session.run(["p_spam", "pooled_layers"], feeds))


class Runtime:
    """A trained model, read from its directory.

    Args:
        max_batch_tokens: padded tokens that go through the ELMo at once; bounds the memory. A longer message goes alone.
    Raises: NotFoundError; DataError, if anything in it is damaged or unknown, or it has no ONNX file.
    """

    def __init__(self, directory: Path, max_batch_tokens: int | None = None):
        self.max_batch_tokens = max_batch_tokens or MAX_BATCH_TOKENS
        undisturbed(directory, self._read)

    def _read(self, directory: Path) -> None:
        self.config, learned, files = read_config(directory)
        if "onnx" not in files:
            raise DataError(f"{directory}: has no ONNX file; `spamcli predict` runs its ELMo on TensorFlow")
        if self.config.elmo["tokenizer"] not in TOKENIZERS:
            raise DataError(f"{directory}: unknown tokenizer {self.config.elmo['tokenizer']!r}; train again")
        self.prior, self._stack = float(learned["prior"]), learned["stack"]
        with ThreadPoolExecutor(1) as beside:  # hashing and unpacking leave Python to the other
            wide = beside.submit(self._read_wide, directory, files) if "wide" in files else None
            self.session = Session(verified(directory / files["onnx"]), directory / files["onnx"])
        self.wide = wide.result() if wide else None

    def _read_wide(self, directory: Path, files: dict[str, str]) -> Wide:
        check_files(directory, [files["wide"]])
        return Wide.load(directory / files["wide"], len(self._stack) - 2)

    def p_spam(self, texts: Sequence[str], certain: Callable[[np.ndarray], np.ndarray] | None = None) -> np.ndarray:
        """Probability of spam of each message: float64 [messages]; the prior for one without tokens, at most that for a
        foreign one.

        Args:
            certain: least and largest p_spam that the ELMo can make of messages, float64 [2, m] -> for which that is enough
                to know, bool [m]; these do not go through the ELMo, and have the least.
        """
        first = first_tokens(texts, self.config.elmo["tokenizer"])
        tokens = [first[text] for text in texts]
        result, open_ = np.full(len(texts), self.prior), np.array([bool(message) for message in tokens], bool)
        beside = None
        if certain and self.wide:
            beside = self._static(texts)
            bounds = self._bounds(*beside)
            known = certain(bounds) & open_
            result[known], open_ = bounds[0, known], open_ & ~known
        order = np.array(sorted(np.flatnonzero(open_), key=lambda i: len(tokens[i])), int)
        rows = [order[batch.start : batch.stop] for batch in batches([len(tokens[i]) for i in order], self.max_batch_tokens)]

        def judge(batch: np.ndarray) -> np.ndarray:
            static, foreign = self._static([texts[i] for i in batch]) if beside is None else (part[batch] for part in beside)
            p_spam = self.session.run([tokens[i] for i in batch], static)[0].astype(np.float64)
            if p_spam.shape != batch.shape or not ((p_spam >= 0) & (p_spam <= 1)).all():
                raise DataError(f"{self.session.name}: gives no probabilities; train again")
            return np.where(foreign, np.minimum(p_spam, self.prior), p_spam)

        with ThreadPoolExecutor(os.cpu_count()) as threads:
            for batch, p_spam in zip(rows, threads.map(judge, rows)):
                result[batch] = p_spam
        return result

    def _static(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """What the linear parts add to the log-odds, float64 [messages]; which of them are foreign, bool [messages]."""
        if not self.wide:
            return np.zeros(len(texts)), np.zeros(len(texts), bool)
        some = [texts[start : start + COUNTED] for start in range(0, len(texts) or 1, COUNTED)]  # bounds the memory
        read = [self.wide.read(self.wide.count(part), len(part)) for part in some]
        scores, unfamiliar = (np.concatenate(parts) for parts in zip(*read))
        foreign = [strange and in_another_script(text) for strange, text in zip(unfamiliar, texts)]
        return scores @ self._stack[1:-1], np.array(foreign, bool)

    def _bounds(self, static: np.ndarray, foreign: np.ndarray) -> np.ndarray:
        """Least and largest p_spam, whatever the heads say, each of which says at most BOUND: float64 [2, n]."""
        deep_weight, *_, bias = self._stack
        reach = abs(deep_weight) * BOUND + SLACK
        centre = static + bias
        with np.errstate(over="ignore"):  # what is infinitely unlikely has p_spam 0
            least, largest = 1 / (1 + np.exp(np.stack([reach - centre, -reach - centre])))
        bounds = np.stack([np.maximum(least - ROUNDING, 0), np.minimum(largest + ROUNDING, 1)])
        return np.where(foreign, np.minimum(bounds, self.prior), bounds)
