"""Programs as the core reads them: what it accepts, what ids cover, what was published."""

from __future__ import annotations

import numpy as np
import pytest

from gvm import _core, cbor
from tests.hand_written import (
    INPUTS,
    OUTPUTS,
    PARAMETERS,
    STATE,
    TOTALS,
    Body,
    Nodes,
    buffer,
    changed,
    inference,
    integers,
    load,
    put,
    refused,
    session,
    tensor,
    train,
    trained,
)
from tests.vectors import programs, runs

# -- what is accepted


def test_inference_is_accepted() -> None:
    program = load(inference())
    info = program.info()
    assert (info["segments"], info["has_apply"], info["sites"], info["totals"]) == (0, False, 0, 0)
    assert info["train_id"] == bytes(32)
    assert (info["parameter_bytes"], info["state_bytes"]) == (64, 0)
    x = np.array([[256, 256], [512, -256]], dtype=np.int16)
    made = _core.Session(program)
    made.write(PARAMETERS, np.array([256, -128], "<i2").tobytes() + bytes(60))
    assert made.predict([x])[0].tolist() == [[128], [640]]
    assert program.parameters_id(made.read(PARAMETERS)).hex() == (
        "b300a0d5dd91753c2a04f6bb2934e12ba75b48818b69695714a691185fee6b47"
    )


def test_the_example_of_the_manual() -> None:
    body = inference(16)
    data = cbor.encode(body)
    assert data.hex() == (
        "a7646c6f7373f666696e7075747381830108822002666c6162656c7380677072"
        "6564696374a2656e6f6465738283038200018200008301810283010800676f75"
        "74707574738103696d61785f6261746368106973656d616e74696373016a7061"
        "72616d657465727381830108820201"
    )
    assert _core.Program(data).info()["graph_id"].hex() == (
        "8a5122c2417a071cca0567c4e4acd36fb37e9a83d0a01fa81e534ac679e0800c"
    )


def test_trained_is_accepted() -> None:
    program = load(trained())
    info = program.info()
    assert (info["segments"], info["loss_outputs"], info["has_apply"]) == (2, 3, True)
    # convert (two), divide_by_count, convert, softmax_cross_entropy_grad; momentum (two), sgd.
    assert info["sites"] == 8
    assert [str(t) for t, _, _ in program.tensors(TOTALS)] == [
        "i64.12[3]",
        "i64.0[]",
        "i64.22[2, 3]",
        "i64.14[3]",
    ]
    assert [(at, segment) for _, at, segment in program.tensors(TOTALS)] == [
        (0, 0),
        (3, 0),
        (4, 1),
        (10, 1),
    ]
    assert [at for _, at, _ in program.tensors(PARAMETERS)] == [0, 64]


def test_totals_carry_the_bound_of_the_largest_batch() -> None:
    for batch in (1, 8, 4096):
        totals = [t for t, _, _ in load(trained(batch)).tensors(TOTALS)]
        assert [t.bound for t in totals] == [batch << 31, batch, batch << 30, batch << 15]


def test_a_gradient_without_apply_is_accepted() -> None:
    body = trained() | {"apply": None, "state": []}
    program = load(body)
    assert (program.info()["has_apply"], program.info()["segments"]) == (False, 2)
    assert program.info()["train_id"] != bytes(32)


def test_a_loss_without_gradient_is_accepted() -> None:
    body = {k: v for k, v in trained().items() if k not in ("grad", "apply", "state")}
    assert load(body).info()["loss_outputs"] == 3
    put("loss", "outputs", body["loss"]["outputs"][:2])(body)
    refused(body, "bad_graph", "no result of it is used")


def test_outputs_may_name_given_values() -> None:
    body = changed(put("predict", {"nodes": [], "outputs": [0, 1, 0]}), inference())
    program = load(body)
    made = session(program)
    (x,) = integers(program.tensors(INPUTS), 3, 1)
    first, w, second = made.predict([x])
    assert first.tolist() == second.tolist() == x.tolist()
    assert w.tobytes() == made.read(PARAMETERS)[:4]


def test_an_apply_may_leave_a_tensor_alone() -> None:
    body = changed(put("apply", {"nodes": [], "outputs": [0, 1, 2]}))
    program = load(body)
    made = session(program)
    before = made.read(PARAMETERS), made.read(STATE)
    train(program, made, 4, 3, 0)
    assert (made.read(PARAMETERS), made.read(STATE)) == before


def test_two_tensors_may_take_one_value() -> None:
    loss = Nodes(4)
    total = loss.add("reduce_sum", loss.add("mean_squared_error", 0, 0), axes=(0,), keepdims=0)
    outputs = [total, loss.add("example_count")]
    grad = Nodes(4)
    reduce = [grad.add("example_count"), grad.add("matmul_grad_weight", 0, 0)]
    apply = Nodes(4)
    w = apply.add("sgd", 0, 3, 2, multiplier=26214, exponent=18)
    body = trained() | {
        "parameters": [tensor("i32", 24, 2, 2)] * 2,
        "state": [],
        "predict": {"nodes": [], "outputs": [0]},
        "loss": {"nodes": loss.take(), "outputs": outputs},
        "grad": [{"nodes": grad.take(), "reduce": reduce}],
        "apply": {"nodes": apply.take(), "outputs": [w, w]},
    }
    program = load(body)
    made = session(program)
    train(program, made, 4, 3, 0)
    after = made.read(PARAMETERS)
    assert after[:16] == after[64:80] != bytes(16)


# -- ids


def ids(body: Body) -> tuple[bytes, bytes]:
    info = load(body).info()
    return info["graph_id"], info["train_id"]


def test_graph_id_does_not_cover_training() -> None:
    graph, train_ = ids(trained())
    without = {k: v for k, v in trained().items() if k not in ("grad", "apply", "state")}
    assert ids(without) == (graph, bytes(32))
    for change in (
        put("apply", "nodes", 1, 2, [26214, 19, 3]),  # another learning rate
        put("apply", "nodes", 1, 2, [26214, 18, 0]),  # another rounding
        put("grad", 1, "nodes", 2, 2, [2, 12, 0]),
        lambda b: (b["apply"]["nodes"].pop(1), b["apply"].update(outputs=[7, 1, 8])),
        lambda b: b.update(apply=None, state=[]),
    ):
        other = ids(changed(change))
        assert other[0] == graph
        assert other[1] not in (train_, bytes(32))


def test_graph_id_covers_inference_and_loss() -> None:
    graph, train_ = ids(trained())
    for change in (
        put("max_batch", 7),
        put("inputs", 0, 1, 9),
        put("parameters", 0, 1, 23),
        put("predict", "nodes", 3, 2, [2, 11, 0]),
        put("loss", "nodes", 3, 2, [2, 11, 0]),
        lambda b: (
            b["loss"]["nodes"].pop(6),
            b["loss"]["nodes"].pop(6),
            b["loss"]["outputs"].pop(2),
            b["loss"].update(outputs=[9, 10]),
        ),
    ):
        other = ids(changed(change))
        assert other[0] != graph
        assert other[1] != train_


def test_parameters_id_covers_types_and_bytes() -> None:
    first = load(trained())
    data = buffer(first, PARAMETERS, 1)
    known = first.parameters_id(data)
    again = load(changed(lambda b: b.update(apply=None, state=[])))
    assert again.parameters_id(data) == known
    finer = load(changed(put("parameters", 1, 1, 17)))
    assert finer.parameters_id(data) != known
    assert first.parameters_id(bytes([data[0] ^ 1]) + data[1:]) != known


def test_ids_have_domains() -> None:
    data = cbor.encode(inference())
    assert ids(inference())[0] == _core.blake3(b"gvm.graph.v1\n" + data) != _core.blake3(data)
    whole = cbor.encode(trained())
    assert ids(trained())[1] == _core.blake3(b"gvm.train.v1\n" + whole)
    program = load(trained())
    parameters = buffer(program, PARAMETERS, 1)
    assert program.parameters_id(parameters) == _core.blake3(
        b"gvm.parameters.v1\n" + cbor.encode(trained()["parameters"]) + parameters
    )


# -- what was published


def published() -> dict[str, dict[str, str]]:
    rows: dict[str, dict[str, str]] = {}
    for line in (programs.FOLDER / "known.txt").read_text().splitlines():
        if not line.startswith("#"):
            name, key, value = line.split()
            assert key not in rows.setdefault(name, {})
            rows[name][key] = value
    return rows


def test_published_files_are_complete() -> None:
    files = {path.stem for path in programs.FOLDER.glob("*.dmodel")}
    assert set(published()) == set(programs.BODIES)
    assert files == set(published()) | set(runs.published())


@pytest.mark.parametrize("level", _core.levels())
@pytest.mark.parametrize("name", sorted(published()))
def test_published_file_verifies(name: str, level: int) -> None:
    """Ids, loss, outputs and a step of training of a file, for ever."""
    data = (programs.FOLDER / f"{name}.dmodel").read_bytes()
    program, parameters, state, _ = _core.parse_file(data)
    assert (
        dict(programs.follows(_core.Program(program), parameters, state, level))
        == (published()[name])
    )


def test_outputs_are_listed() -> None:
    program = load(trained())
    assert [str(t) for t, _, _ in program.tensors(OUTPUTS)] == ["i32.12[B, 3]"]
    with pytest.raises(ValueError, match="section"):
        program.tensors(6)
