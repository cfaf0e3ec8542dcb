from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
import yaml

from tests.docs.pages import ROOT, page_id

if TYPE_CHECKING:
    from pathlib import Path

FORMS = sorted(ROOT.glob(".github/ISSUE_TEMPLATE/[!c]*.yml"))


@pytest.mark.parametrize("path", FORMS, ids=page_id)
def test_issue_forms_are_valid(path: Path) -> None:
    """A form has what GitHub demands: name, description, and inputs with unique ids and labels."""
    form = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert {"name", "description", "body"} <= set(form)
    ids = [item["id"] for item in form["body"]]
    assert len(ids) == len(set(ids))
    for item in form["body"]:
        assert item["type"] in {"textarea", "input", "dropdown", "checkboxes"}
        assert item["attributes"]["label"]
        if item["type"] in {"dropdown", "checkboxes"}:
            assert item["attributes"]["options"]
    assert any(item.get("validations", {}).get("required") for item in form["body"])


def test_pull_request_template_names_what_exists() -> None:
    """There are three forms; paths and make targets of the template exist."""
    assert len(FORMS) == 3
    text = (ROOT / ".github/pull_request_template.md").read_text(encoding="utf-8")
    named = re.findall(r"`(?:python )?([\w/]+(?:\.py|\.md|/))", text)
    assert len(named) >= 4
    for name in named:
        assert (ROOT / name).exists(), name
