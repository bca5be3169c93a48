"""Names and labels that a user's own overlay gives to everything: what refers to them follows."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.manifests.documents import OVERLAYS, Document, built_in, write_overlay


def _overlay(folder: Path, overlay: str, text: str) -> tuple[Document, ...]:
    """What kustomize makes of an overlay of this project with more lines in one's own."""
    write_overlay(folder, "watchmove", f"overlays/{overlay}")
    with (folder / "kustomization.yaml").open("a") as own:
        own.write(text)
    return built_in(folder)


def _values(value: Any, key: str) -> Iterator[Any]:
    """The values of a key in a document, at any depth."""
    if isinstance(value, dict) and key in value:
        yield value[key]
    for row in value if isinstance(value, list) else value.values() if isinstance(value, dict) else ():
        yield from _values(row, key)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_prefix_reaches_all_that_refer_to_a_name(tmp_path: Path, overlay: str) -> None:
    """Workflows find their templates, service accounts and the Service of ranks under the new names."""
    documents = _overlay(tmp_path, overlay, "namePrefix: my-\nnameSuffix: -too\n")
    workflows = [one for one in documents if one["kind"] in ("WorkflowTemplate", "CronWorkflow")]
    named = {(one["kind"], one["metadata"]["name"]) for one in documents}
    referred = {
        *(
            ("WorkflowTemplate", one["name"])
            for key in ("templateRef", "workflowTemplateRef")
            for one in _values(workflows, key)
        ),
        *(("ServiceAccount", name) for name in _values(workflows, "serviceAccountName")),
        *(
            ("Service", row["value"])
            for rows in _values(workflows, "parameters")
            for row in rows
            if row["name"] == "service"
        ),
    }

    assert {kind for kind, _ in referred} == {"WorkflowTemplate", "ServiceAccount", "Service"}
    assert referred <= named


def test_a_label_that_selectors_have_is_on_the_pods_of_workflows(tmp_path: Path) -> None:
    """The policies and budgets that then ask for the label would else hold for no pod of a workflow."""
    documents = _overlay(tmp_path, "cloud", "labels:\n- {pairs: {team: vision}, includeSelectors: true}\n")
    templates = [one for one in documents if one["kind"] == "WorkflowTemplate"]

    assert {one["spec"]["podMetadata"]["labels"]["team"] for one in templates} == {"vision"}
