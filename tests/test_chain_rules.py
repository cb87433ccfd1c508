"""The rules in the documents and the rules that the code names are the same list."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
RULE = re.compile(r"\b[DL]\d{1,2}\b")


def stated(name: str) -> list[str]:
    return re.findall(r"^\*\*([DL]\d+)\*\* ", (ROOT / "docs" / name).read_text(), re.M)


def named() -> set[str]:
    sources = (ROOT / "chain").glob("*.py")
    return {rule for path in sources for rule in RULE.findall(path.read_text())}


def test_code_names_every_rule_and_no_other() -> None:
    assert named() == set(stated("dpos.md")) | set(stated("lbft.md"))


@pytest.mark.parametrize(("name", "letter"), [("dpos.md", "D"), ("lbft.md", "L")])
def test_rules_are_numbered_once_and_in_order(name: str, letter: str) -> None:
    rules = stated(name)
    numbers = [int(rule[1:]) for rule in rules]
    assert all(rule.startswith(letter) for rule in rules)
    assert numbers == sorted(set(numbers))


def test_every_refusal_names_a_rule() -> None:
    calls = 0
    for path in (ROOT / "chain").glob("*.py"):
        text = path.read_text()
        for call in re.findall(r"(?:Refused|require)\(\s*(?:[^()]|\([^()]*\))*?\)", text):
            if "Code." in call:
                assert RULE.search(call) or "rule" in call, f"{path.name}: {call}"
                calls += 1
    assert calls > 80


def test_every_constant_of_the_chain_that_a_rule_names_exists() -> None:
    from chain.parameters import Parameters

    fields = set(Parameters.__dataclass_fields__)
    named = set()
    for name in ("dpos.md", "lbft.md"):
        named |= set(
            re.findall(r"`([a-z]+_[a-z_]+|unbonding)`", (ROOT / "docs" / name).read_text())
        )
    assert named - fields <= {"max_candidates"}
    assert len(named & fields) > 25
