"""The house's one rule about rooms: service imports pipeline, never the other way round."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OUTSIDE = {"service", "boto3", "botocore", "prometheus_client", "kubernetes", "argo_workflows", "typer"}


@pytest.mark.parametrize("path", sorted((ROOT / "pipeline").rglob("*.py")), ids=lambda path: path.stem)
def test_the_science_knows_no_service(path: Path) -> None:
    """No module of pipeline/ imports a bucket, a cluster, a metric or a command line."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module]

    assert OUTSIDE.isdisjoint(name.split(".")[0] for name in names)
