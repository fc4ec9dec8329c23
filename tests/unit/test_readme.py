"""The README shows what is there: its snippets, links and commands are held against the tree."""

import re
from pathlib import Path

from gateway.cli import _parser

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_rego_snippets_stand_in_the_policy() -> None:
    """A rule that is shown is the rule that is shipped, to the letter."""
    policy = "".join(path.read_text() for path in (ROOT / "policies").glob("*.rego"))
    snippets = re.findall(r"```rego\n(.*?)\n```", README, re.DOTALL)
    assert len(snippets) == 2
    for snippet in snippets:
        assert snippet in policy


def test_links_lead_somewhere() -> None:
    """Every relative link of the README and the documents exists."""
    for page in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")):
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), (page.name, target)


def test_commands_exist() -> None:
    """Every `sluice` command that README and guide show is one that the parser knows."""
    text = README + (ROOT / "docs" / "guide.md").read_text()
    shown = set(re.findall(r"^(?:\.venv/bin/)?sluice ([a-z]+)", text, re.MULTILINE))
    commands = _parser()._subparsers._group_actions[0].choices  # type: ignore[union-attr]
    assert shown
    assert shown <= set(commands or ())


def test_every_figure_has_its_ratio() -> None:
    """No figure stands in the README without its reference from the same run."""
    assert "@@" not in README
