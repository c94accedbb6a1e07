"""What `spamcli evaluate` does: chooses what is measured, measures it, and puts what was asked for beside it."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from spamcli import comparison, evaluation, explain, model_dir, modules
from spamcli.elmo import ELMo
from spamcli.errors import SpamcliError
from spamcli.invented import tested
from spamcli.messages import Messages, read_messages
from spamcli.model_config import ModelConfig, also_fingerprint
from spamcli.protocols import Plan, Split, cross_validation, default_protocol, plan_of, plan_with_also, split, with_also
from spamcli.settings import BUILTIN, SEED, ClassifierSettings
from spamcli.training import Progress, silent

DATA = Path("data") / "spam.csv"
EXPLAINED = 50  # wrong verdicts, at most


@dataclass(frozen=True)
class Options:
    """What is asked of an assessment.

    Attributes:
        data: where the file is now that the model was trained on; test: another labelled file, read as `reading` says.
        protocol, folds, repeats, seeds: any of the first, second and last measures the recipe, trained afresh.
        messages: also p_spam of every message, and the errors explained; curve: also the learning curve.
    """

    data: Path | None = None
    test: Path | None = None
    reading: dict | None = None
    protocol: str | None = None
    folds: int | None = None
    repeats: int = 1
    seeds: int | None = None
    seed: int = SEED
    baseline: bool = False
    against: Path | None = None
    attack: bool = False
    messages: bool = False
    curve: bool = False
    trust_module: bool = False


def assess(
    model: Path | None, elmo: str | None, max_batch_tokens: int | None, options: Options, progress: Progress = silent
) -> dict:
    """All figures of a model, or of its recipe, as `evaluate --json` prints them.

    Args:
        model: its directory; None for the default recipe.
    Raises: what loading and reading raise.
    """
    cache = modules.cache_directory() / "pooled"
    if options.protocol or options.folds or options.seeds:
        return _assess_recipe(model, elmo, max_batch_tokens, cache, options, progress)
    trained = model_dir.load(model, elmo, cache, max_batch_tokens, options.trust_module)
    config = trained.config
    own = _own_split(config, options)
    if options.test:
        messages = read_messages(tested(options.test), **options.reading, both_classes=False)
        known = own.train["text"].tolist() if own else trained.memory.texts
        measured = evaluation.evaluate_file(trained, messages, known, progress)
    else:
        measured = evaluation.evaluate(trained, own, progress)
    result = measured.to_dict()
    plan = plan_of(replace(own, test=measured.test)) if own else None
    if options.against or options.baseline or options.attack:
        result["fingerprint"] += f" | beside it seed {options.seed}"
    if options.against:
        same = model_dir.read_config(options.against)[0].elmo["fingerprint"] == trained.elmo.fingerprint
        handle = trained.elmo.handle if same else None
        other = model_dir.load(options.against, handle, cache, max_batch_tokens, options.trust_module)
        result["against"] = comparison.beside_model(measured, trained, other, str(options.against), options.seed)
    if options.baseline:
        result["baselines"] = comparison.beside_baselines(measured, plan, options.seed, progress)
    if options.attack:
        result["attacks"] = comparison.under_attack(trained, measured, plan, options.seed, progress)
    if options.messages:
        result |= {"messages": measured.messages(), "mistakes": _mistakes(measured, trained)}
    if options.curve and plan:
        curve = comparison.learning_curve(trained.elmo, config.settings, plan, config.seed, progress)
        result["learning_curve"] = curve
    return result


def _own_split(config: ModelConfig, options: Options) -> Split | None:
    """What the model was trained and tested on; None, if its file is not there and nothing that is asked for needs it."""
    try:
        return model_dir.read_split(config, options.data or model_dir.data_path(config))
    except SpamcliError:
        if not options.test or options.data or options.baseline or options.attack:
            raise
        return None


def _assess_recipe(model, elmo, max_batch_tokens, cache, options: Options, progress: Progress) -> dict:
    """The figures of what trained the model, or of the defaults where there is none, trained afresh."""
    saved = model_dir.load(model, elmo, cache, max_batch_tokens, options.trust_module) if model else None
    config = saved and saved.config
    messages = read_messages(
        options.data or (model_dir.data_path(config) if config else Path(DATA)), **(config.reading if config else {})
    )
    recipe = evaluation.Recipe(
        saved.elmo if saved else ELMo(elmo or BUILTIN, cache, max_batch_tokens, trust_module=options.trust_module),
        config.settings.unlearned if config else ClassifierSettings(),
        options.seed,
    )
    protocol, about, plan, own = _plan(options, messages, config)
    measured = evaluation.evaluate_recipe(recipe, plan, protocol, about, progress)
    result = measured.to_dict()
    if options.baseline:
        result["baselines"] = comparison.beside_baselines(measured, plan, options.seed, progress)
    if saved and own and own.summary == config.split:
        result["saved"] = asdict(evaluation.evaluate(saved, own, progress).scores)
    if options.messages:
        result |= {"messages": measured.messages(), "mistakes": _mistakes(measured)}
    if options.curve and not options.folds:
        result["learning_curve"] = comparison.learning_curve(recipe.elmo, recipe.settings, plan, options.seed, progress)
    return result


def _plan(options: Options, messages: Messages, config: ModelConfig | None) -> tuple[str, str, Plan, Split | None]:
    """Protocol (the saved model's, unless another is asked for), what else chose the messages, the plan, its split if one."""
    also = model_dir.read_also_again(config) if config else []
    data = {"data": messages.fingerprint, **(also_fingerprint(config.also) if config else {}), "seed": options.seed}
    about = " | ".join(f"{name} {value}" for name, value in data.items())
    if options.folds:
        plan = plan_with_also(cross_validation(messages, options.folds, options.repeats, options.seed), also)
        return "grouped", f"folds {options.folds} | repeats {options.repeats} | {about}", plan, None
    protocol, seeds = options.protocol or (config.protocol if config else default_protocol(messages)), options.seeds or 1
    own = with_also(split(messages, protocol, options.seed), also)
    return protocol, f"seeds {seeds} | {about}", plan_of(own, seeds), own


def _mistakes(measured: evaluation.Evaluation, model: model_dir.TrainedModel | None = None) -> list[dict]:
    """The messages with the wrong verdict, worst first; with a model, the worst with each word's share in it."""
    p_spam, test = measured.p_spam.mean(axis=0), measured.test
    labels = test["label"].to_numpy()
    wrong = np.flatnonzero((p_spam >= measured.threshold) != labels)
    wrong = wrong[np.argsort(-np.abs(p_spam - labels)[wrong], kind="stable")]
    rows = []
    for number, (place, message) in enumerate(zip(wrong, test.iloc[wrong][["row", "text", "label"]].to_dict("records"))):
        words = None
        if model and number < EXPLAINED:
            words = explain.shades(explain.explain(model, message["text"], flip=False))
        rows.append({**message, "p_spam": float(p_spam[place]), "words": words})
    return rows
