from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING

import pytest

import moeplace
from moeplace import errors
from moeplace.placement.score import SCALARS
from tests.docs.pages import DOCS, ROOT, all_pages, load_script, page_id

if TYPE_CHECKING:
    from pathlib import Path

LINK = re.compile(r"(?<!\\)\[[^\]\n]+\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)
FENCED = re.compile(r"```.*?```", re.DOTALL)
# A path of somebody's machine, not one like docs/work.md.
MACHINE = re.compile(r"(?<![\w.~/])/(?:work|tmp|root|home|Users|mnt)/\w|\bC:\\")
WRITTEN = [page for page in all_pages() if "Written by" not in page.read_text(encoding="utf-8")]


def _anchors(page: Path) -> set[str]:
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    slugs = set()
    for heading in HEADING.findall(text):
        plain = re.sub(r"[^\w\s-]", "", heading.lower()).strip()
        slugs.add(re.sub(r"[\s-]+", "-", plain))
    return slugs


def _targets(page: Path) -> list[str]:
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    return [t for t in LINK.findall(text) if not re.match(r"[a-z]+:", t)]


@pytest.mark.parametrize("page", all_pages(), ids=page_id)
def test_links_resolve(page: Path) -> None:
    """Every relative link leads to a file, and to a heading where it names one."""
    for target in _targets(page):
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), f"{target}: no such file"
        if anchor:
            assert anchor in _anchors(file), f"{target}: no such heading"


def test_every_page_is_in_the_navigation() -> None:
    """No page of docs/ is left out of mkdocs.yml, and none is named that does not exist."""
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    named = set(re.findall(r": ([\w/-]+\.md)$", text, re.MULTILINE))
    assert named == {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")}


@pytest.mark.parametrize(
    "page",
    [
        *all_pages(),
        *(ROOT / name for name in ("NOTICE", "Makefile", "mkdocs.yml", ".ci/run")),
        *sorted(ROOT.glob("examples/*.py")),
        *sorted(ROOT.glob("benchmarks/*.py")),
    ],
    ids=page_id,
)
def test_no_machine_paths(page: Path) -> None:
    """Nothing in the documentation names a folder of the machine it was written on."""
    found = MACHINE.search(page.read_text(encoding="utf-8"))
    assert found is None, f"{found[0]!r}"


def test_machine_paths_are_recognized() -> None:
    """The pattern of the test above finds such paths and leaves relative ones alone."""
    assert MACHINE.search("wrote /" + "tmp/x.json")
    assert MACHINE.search("in /" + "home/somebody")
    assert not MACHINE.search("docs/tmp/x.json and ./home/y and and/or")


@pytest.mark.parametrize("page", WRITTEN, ids=page_id)
def test_outputs_are_filled(page: Path) -> None:
    """No block of output is empty: `python docs/refresh_outputs.py` fills them."""
    assert "```text\n```" not in page.read_text(encoding="utf-8")


def test_generated_reference_is_current() -> None:
    """The pages made from the registries and the app are what would be made now."""
    stale = load_script(DOCS / "generate_reference.py").stale_pages()
    assert not stale, f"{stale}: run `python docs/generate_reference.py`"


@pytest.mark.parametrize("name", [n for n in moeplace.__all__ if n != "__version__"])
def test_public_names_are_documented(name: str) -> None:
    """Every public name has a docstring, and its home is in the Python reference."""
    public = getattr(moeplace, name)
    assert public.__doc__
    assert not public.__doc__.startswith(f"{name}("), "only the dataclass's own signature"
    page = (DOCS / "reference" / "api.md").read_text(encoding="utf-8")
    home = f"::: {public.__module__}"
    assert f"{home}.{name}\n" in page or f"{home}\n" in page


def test_exit_codes_are_those_of_the_errors() -> None:
    """The page of exit codes names every error class with its code."""
    text = (DOCS / "reference" / "exit-codes.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| (\d+) \|.*\| `(\w+)` \|$", text, re.MULTILINE))
    kinds = [errors.MoeplaceError, *errors.MoeplaceError.__subclasses__()]
    assert {int(code): name for code, name in rows.items()} == {
        kind.exit_code: kind.__name__ for kind in kinds
    }


def test_result_page_names_every_key() -> None:
    """The page of result.json has every key of a real result and of its score."""
    problem = moeplace.make_problem(
        moeplace.load_model("deepseek-v2-lite"),
        moeplace.load_system("h100-sxm", 8),
        moeplace.default_workloads("deepseek-v2-lite")["prefill"].select_layers([0]),
    )
    document = moeplace.solve(problem, "lpt").to_dict()
    page = (DOCS / "reference" / "result-json.md").read_text(encoding="utf-8")
    top, score = page.split("A score:")
    named = re.findall(r"`([\w.]+)`", top)
    wanted = {*document, *document["problem"], *document["objective"]}
    known = {name.removeprefix("problem.") for name in named}
    assert wanted <= known, sorted(wanted - known)
    assert set(SCALARS) <= set(re.findall(r"`(\w+)`", score))
    assert set(document["score"]) == set(SCALARS)


def test_version_is_one() -> None:
    """pyproject.toml and the package name the same version, and the changelog knows it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == moeplace.__version__
    assert f"## [{moeplace.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


GLOSSARY = (  # the words of the design: these and no others
    "expert", "slot", "replica", "redundant expert", "rank", "node", "ep_size", "expert group",
    "shared expert", "top_k", "dispatch", "combine", "load", "co-activation", "transition",
    "traffic", "hops", "balancedness", "imbalance", "dispatch policy", "migration", "problem",
    "instance", "formulation", "backend", "solver", "incumbent", "lower bound", "gap", "holdout",
    "phase",
)  # fmt: skip


@pytest.mark.parametrize("word", GLOSSARY)
def test_glossary_is_complete(word: str) -> None:
    """Every word that the project uses in a meaning of its own is explained."""
    text = (DOCS / "glossary.md").read_text(encoding="utf-8")
    assert re.search(rf"^{re.escape(word)}\n: \S", text, re.MULTILINE), word


def test_glossary_is_in_order() -> None:
    """Words are sorted, and each has a sentence that ends."""
    text = (DOCS / "glossary.md").read_text(encoding="utf-8")
    entries = re.findall(r"^(\S.*)\n: (.+)$", text, re.MULTILINE)
    words = [word.replace("λ (lambda)", "lambda").replace("_", " ").lower() for word, _ in entries]
    assert words == sorted(words)
    assert all(meaning.rstrip().endswith((".", ")")) for _, meaning in entries)
