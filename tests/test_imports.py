"""The shape: imports point one way, and only cli knows click."""

import ast
from pathlib import Path

import spamcli

PACKAGE = Path(spamcli.__file__).parent
ORDER = (
    "errors files fetching settings model_config characters rows tables records collection messages invented sources protocols "
    "metrics budget memory saved_model modules bilm elmo ngrams word_vectors runtime classifier onnx_graph conversion "
    "model_dir training evaluation attacks baselines comparison prediction explain assessment doctor report cli "
    "__main__"
).split()


def imported(path):
    """Names of our modules that a file imports, and of the others."""
    ours, others = set(), set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "spamcli":
            ours |= {alias.name for alias in node.names} & set(ORDER)
        elif isinstance(node, ast.ImportFrom) and node.module.startswith("spamcli."):
            ours.add(node.module.split(".")[1])
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            others |= {(node.module if isinstance(node, ast.ImportFrom) else alias.name).split(".")[0] for alias in node.names}
    return ours, others


def test_every_module_has_its_place_and_imports_only_what_stands_before_it():
    for path in PACKAGE.rglob("*.py"):
        name = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if name == "__init__":
            continue
        ours, others = imported(path)
        allowed = set(ORDER[: ORDER.index(name)]) | ({name} if path.parent != PACKAGE else set())
        assert ours <= allowed, f"{name} imports {ours - allowed}"
        assert name == "cli" or "click" not in others, f"{name} and click"
        assert not {"pickle", "joblib", "dill"} & others
