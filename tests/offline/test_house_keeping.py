"""The project's own files agree with each other: those that GitHub reads, and the versions and names in them."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

import pgnotify
from pgnotify import registry

ROOT = Path(__file__).parents[2]
GITHUB = ROOT / ".github"
FORMS = GITHUB / "ISSUE_TEMPLATE"
REPOSITORY = "https://github.com/pgnotify/pgnotify"
PYPROJECT = (ROOT / "pyproject.toml").read_text()
NOXFILE = ast.parse((ROOT / "noxfile.py").read_text())


def loaded(path):
    return yaml.safe_load((ROOT / path).read_text())


def entry(name):
    """Return the text of an entry of pyproject.toml; tomllib is not in Python 3.10."""
    return re.search(rf"^{re.escape(name)} = (.*?)(?=^\S+ = |^\[|\Z)", PYPROJECT, re.DOTALL | re.MULTILINE)[1]


def requirements(entry_name):
    """Return the requirements in a list of strings, with double quotes."""
    return [Requirement(found) for found in re.findall(r'"([^"]+)"', entry(entry_name))]


def steps(workflow):
    return [(name, step) for name, job in workflow["jobs"].items() for step in job["steps"]]


WORKFLOW = loaded(".github/workflows/ci.yml")


# The citation


@pytest.fixture
def citation():
    return loaded("CITATION.cff")


def test_a_citation_names_this_version(citation):
    assert citation["version"] == pgnotify.__version__


@pytest.mark.parametrize(("key", "name"), [("title", "name"), ("abstract", "description"), ("license", "license")])
def test_a_citation_says_what_the_distribution_says(citation, key, name):
    assert citation[key].strip() == entry(name).strip().strip('"')


def test_a_citation_has_the_keywords_of_the_distribution(citation):
    assert citation["keywords"] == re.findall(r'"([^"]+)"', entry("keywords"))


# The addresses


@pytest.mark.parametrize(
    "path",
    [
        "SECURITY.md",
        "CODE_OF_CONDUCT.md",
        "CITATION.cff",
        *(f".github/ISSUE_TEMPLATE/{each.name}" for each in FORMS.iterdir()),
    ],
)
def test_a_file_for_github_names_this_repository_only(path):
    """The others would be left behind when it moves."""
    found = re.findall(r"https://github\.com/[\w.-]+/[\w.-]+", (ROOT / path).read_text())

    assert set(found) <= {REPOSITORY}


def test_the_distribution_names_the_same_repository():
    assert set(re.findall(r"https://github\.com/[\w.-]+/[\w.-]+", PYPROJECT)) == {REPOSITORY}


def test_security_fixes_are_promised_for_the_newest_minor_release():
    newest = ".".join(pgnotify.__version__.split(".")[:2])

    assert re.findall(r"^\| (\S+)\.x \| yes \|$", (ROOT / "SECURITY.md").read_text(), re.MULTILINE) == [newest]


# The forms


def test_the_form_for_bugs_offers_each_driver():
    (drivers,) = (each for each in loaded(FORMS / "bug.yml")["body"] if each.get("id") == "driver")

    assert drivers["attributes"]["options"] == [*registry.DRIVERS, "asyncpg", "a backend of a third party"]


def test_the_form_for_bugs_asks_for_all_that_is_always_asked_later():
    fields = {each["id"]: each for each in loaded(FORMS / "bug.yml")["body"] if "id" in each}

    assert {"driver", "pooler", "provider", "doctor", "program"} <= fields.keys()
    assert fields["doctor"]["validations"] == {"required": True}


# Dependabot


def test_dependabot_groups_releases_and_waits_with_each():
    updates = loaded(".github/dependabot.yml")["updates"]

    assert [each["package-ecosystem"] for each in updates] == ["pip", "github-actions"]
    for each in updates:
        assert each["cooldown"] == {"default-days": 7}
        assert [group["patterns"] for group in each["groups"].values()] == [["*"]]


def test_dependabot_leaves_the_oldest_releases_of_the_drivers_as_they_are():
    python = loaded(".github/dependabot.yml")["updates"][0]
    pinned = {
        Requirement(found).name
        for found in re.findall(r'"([^"]+==[^"]+)"', PYPROJECT.partition("oldest-psycopg = ")[2])
    }

    assert {each["dependency-name"] for each in python["ignore"]} == pinned
    assert python["versioning-strategy"] == "increase-if-necessary"


# The workflow


def test_the_workflow_tests_each_python_and_each_driver():
    matrix = WORKFLOW["jobs"]["matrix"]["strategy"]["matrix"]

    assert matrix["python"] == re.findall(r":: (3\.\d+)\"", entry("classifiers"))
    assert matrix["driver"] == [*registry.DRIVERS]


def test_the_workflow_tests_each_postgresql_from_14_to_19():
    jobs = WORKFLOW["jobs"]
    versions = {version for name in ("matrix", "next") for version in jobs[name]["strategy"]["matrix"]["postgresql"]}

    assert versions == {str(version) for version in range(14, 20)}


def test_only_the_future_may_fail_in_the_workflow():
    may_fail = [name for name, job in WORKFLOW["jobs"].items() if job.get("continue-on-error")]

    assert may_fail == ["next"]
    assert {*WORKFLOW["jobs"]["publish"]["needs"]} == {*WORKFLOW["jobs"]} - {"next", "publish"}


def test_every_action_is_pinned_to_a_commit_and_its_version_named():
    used = re.findall(r"uses: (\S+)(.*)", (GITHUB / "workflows" / "ci.yml").read_text())

    assert len(used) == sum("uses" in step for _, step in steps(WORKFLOW))
    assert [each for each in used if not re.search(r"@[0-9a-f]{40} # v\d+\.\d+\.\d+$", "".join(each))] == []
    assert len({action.partition("@")[0] for action, _ in used}) == len({*used})  # one version of each


def test_every_session_that_the_workflow_runs_is_in_the_noxfile():
    commands = "\n".join(step["run"] for _, step in steps(WORKFLOW) if "run" in step)
    run = {
        name
        for line in re.findall(r"nox -s ([^#\n]*?)(?: -- .*)?$", commands, re.MULTILINE)
        for name in re.findall(r"\b([a-z_]+)(?:\(.*?\))?\"?(?= |$)", line)
    }

    assert {"offline", "newest", "oldest", "coverage", "lowest"} <= run
    assert run <= {node.name for node in NOXFILE.body if isinstance(node, ast.FunctionDef)}


# The hooks


def test_a_hook_has_a_release_that_the_session_lint_allows():
    hooks = [hook for repo in loaded(".pre-commit-config.yaml")["repos"] for hook in repo["hooks"]]
    pinned = {Requirement(each) for hook in hooks for each in hook["additional_dependencies"]}
    allowed = {each.name: each.specifier for each in requirements("lint")}

    assert allowed.keys() <= {each.name for each in pinned}
    for each in pinned:
        (release,) = each.specifier
        assert release.operator == "=="
        assert each.name not in allowed or allowed[each.name].contains(release.version)


def test_every_hook_comes_from_pypi():
    """So that it can be installed wherever `make test` runs."""
    repos = loaded(".pre-commit-config.yaml")["repos"]

    assert [repo["repo"] for repo in repos] == ["local"]
    assert {hook["language"] for hook in repos[0]["hooks"]} == {"python"}
