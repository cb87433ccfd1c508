"""Files that an earlier version wrote say for ever what they said then."""

from __future__ import annotations

import pytest

import gvm
from gvm import cbor
from gvm.model import Model
from tests.fixtures import semantics


def test_every_fixture_is_known() -> None:
    assert set(semantics.known()) == set(semantics.OPTIMIZERS)


@pytest.mark.parametrize("name", semantics.OPTIMIZERS)
@pytest.mark.parametrize("backend", [b for b in gvm.backends() if b.startswith("cpu")])
def test_a_file_leads_where_it_led(name: str, backend: str) -> None:
    level = gvm.backends().index(backend) - 1
    assert semantics.follows(name, backend, level) == semantics.known()[name]


@pytest.mark.parametrize("name", semantics.OPTIMIZERS)
def test_a_file_is_written_as_it_was(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = semantics.FOLDER / name / semantics.FILES[0]
    model: Model = gvm.load(path)
    again = tmp_path_factory.mktemp(name) / "again.dmodel"
    model.save(again)
    assert again.read_bytes() == path.read_bytes()
    assert cbor.decode(model.program.encode())["semantics"] == 1
