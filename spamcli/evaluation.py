"""Measuring a saved model on messages it was not trained on."""

from dataclasses import asdict, dataclass

from spamcli.metrics import Scores, score
from spamcli.model_dir import TrainedModel
from spamcli.protocols import Split
from spamcli.training import Progress, silent, timed


@dataclass(frozen=True)
class Evaluation:
    """Scores on the test messages, on the `unseen` of them (without a near copy in training), and how they were made."""

    model: TrainedModel
    scores: Scores
    unseen: Scores | None  # None, if every test message has a near copy in training
    seconds: dict[str, float]

    def to_dict(self) -> dict:
        """What --json prints; keys are stable, shares are fractions."""
        config = self.model.config
        unseen = self.unseen and {name: getattr(self.unseen, name) for name in ("n", "accuracy", "errors")}
        return {
            "protocol": config.protocol,
            **asdict(self.scores),
            "mixing": config.mixing,
            "elmo": config.elmo,
            "recipe": config.recipe,
            "epochs": config.head["epochs"],
            "seed": config.seed,
            "fingerprint": config.fingerprint,
            "seconds": self.seconds,
            "unseen": unseen or {"n": 0, "accuracy": None, "errors": 0},
        }


def evaluate(model: TrainedModel, split: Split, progress: Progress = silent) -> Evaluation:
    """Measure a model on the test messages of the split it was trained with; nothing is learned."""
    seconds: dict[str, float] = {}
    test, threshold = split.test, model.config.threshold
    with timed(seconds, "test"):
        p_spam = model.p_spam(test["text"].tolist(), lambda done, total: progress("ELMo, test messages", done, total))
    unseen = test["unseen"].to_numpy()
    return Evaluation(
        model=model,
        scores=score(test["label"], p_spam, threshold),
        unseen=score(test["label"][unseen], p_spam[unseen], threshold) if unseen.any() else None,
        seconds=seconds,
    )
