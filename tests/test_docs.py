"""The documents are true: links lead somewhere, and files and names that they mention are in the tree."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = (
    "hallmark",
    "domains",
    "components",
    "pipelines",
    "inference_services",
    "local_cluster",
    "tools",
    "synthetic",
)
DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix()
    for place in ("*.md", "docs/**/*.md", "terraform/**/*.md", "domains/*/*.md", "domains/*/features/*.md")
    for path in ROOT.glob(place)
    if path.name != "CHANGELOG.md"  # names in it are those of its day
)
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)\s]*)?\)")
PATH = re.compile(
    rf"(?<![\w/.$<-])((?:{'|'.join((*FOLDERS, 'docs', 'benchmarks', 'tests', 'manifests'))})/[\w./*-]*[\w*])"
)
MODULE = re.compile(rf"`((?:{'|'.join(set(FOLDERS) - {'domains'})})(?:\.\w+)+)`")
ELSEWHERE = re.compile(
    r"hallmark/hallmark-system/[\w-]+|hallmark/(?:[\w-]+/)?(?:mlflow|grafana|oauth2-proxy|pipelines-database|watch|domains|platform|training-python)"
    r"|(?:tests/)?domains/(?:returns|rent)(?:/.*)?|inference_services/\w+/inferenceservice\.yaml"
)
"""Secrets, the claim of a token, images; the domain that a document makes; what the first release renders."""


def text_of(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    links = [link for link in LINK.findall(text_of(document)) if not re.match(r"[a-z]+:", link)]
    assert not [link for link in links if not ((ROOT / document).parent / link).exists()]


def test_the_site_is_made_and_each_of_its_links_and_anchors_leads_somewhere(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert {path.stem for path in (ROOT / "docs").glob("*.md")} <= {path.stem for path in tmp_path.glob("*.html")}
    assert (tmp_path / "search" / "search_index.json").stat().st_size > 100_000


@pytest.mark.parametrize("document", DOCUMENTS)
def test_paths_are_in_the_tree(document: str) -> None:
    found = {path.rstrip(".") for path in PATH.findall(text_of(document))}
    assert not {path for path in found if not is_there(path, beside=(ROOT / document).parent)}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_modules_and_their_names_are_in_the_tree(document: str) -> None:
    assert not {
        name for name in MODULE.findall(text_of(document)) if not name.endswith(".py") and not is_importable(name)
    }


def test_what_is_not_there_is_found() -> None:
    assert not is_there("hallmark/local/cluster.py", beside=ROOT) and is_there("docs/decisions/0004", beside=ROOT)
    assert PATH.findall("see hallmark/local/cluster.py.") == ["hallmark/local/cluster.py"]
    assert not is_importable("hallmark.training.closure.nothing") and is_importable("hallmark.rollout.decision.decide")
    assert len(DOCUMENTS) > 50


def is_there(path: str, *, beside: Path) -> bool:
    """A file or folder from the root or beside the document, a pattern that fits one, or a decision by its number."""
    if ELSEWHERE.fullmatch(path):
        return True
    pattern = f"{path}*" if re.fullmatch(r"docs/decisions/\d{4}", path) else path
    return any(next(base.glob(pattern), None) is not None for base in (ROOT, beside))


def is_importable(name: str) -> bool:
    """A module, or a name that the module's file binds; entry points and labels with dots are declared as text."""
    parts = name.split(".")
    for known in range(len(parts), 0, -1):
        place = ROOT.joinpath(*parts[:known])
        source = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
        if source.exists():
            rest = parts[known:]
            declared = f'"{name}"' in (ROOT / "pyproject.toml").read_text() or name in LABELS
            return (
                not rest
                or declared
                or re.search(rf"^\s*(?:def |class )?{rest[0]}\b", source.read_text(), re.M) is not None
            )
    return False


LABELS = {"hallmark.correlation", "hallmark.registry.folder.Output"}
"""A tag of MLflow; a name that a decision says is gone."""
