"""The bounds that the loader proves, and the limits that a host sets."""

from __future__ import annotations

import time

import numpy as np
import pytest

from gvm import _core, cbor
from tests.hand_written import (
    GRAD,
    INPUTS,
    LOSS,
    PREDICT,
    Body,
    Nodes,
    changed,
    code,
    inference,
    integers,
    load,
    predicting,
    put,
    refused,
    session,
    tensor,
    trained,
)
from tests.vectors import refused_calls

# -- bounds


def test_a_bound_of_2_to_the_62_is_the_last() -> None:
    """2^32 products of 2^30 each are exact, one more is not proved."""

    def product(terms: int) -> Body:
        f = Nodes(2)
        y = f.add("convert", f.add("matmul", 0, 1), dtype=1, fraction_bits=8, rounding=0)
        return inference(1) | {
            "inputs": [tensor("i16", 8, -1, terms)],
            "parameters": [tensor("i16", 8, terms, 1)],
            "predict": {"nodes": f.take(), "outputs": [y]},
        }

    assert load(product(2**32)).info()["parameter_bytes"] == 2**33
    refused(
        product(2**32 + 1),
        "unproved_bound",
        "matmul, node 0: output 0: magnitude must be at most 4611686018427387904",
    )


def test_a_bound_counts_the_bias() -> None:
    def biased(terms: int, fraction_bits: int) -> Body:
        f = Nodes(3)
        sums = f.add("bias_add", f.add("matmul", 0, 1), 2)
        y = f.add("convert", sums, dtype=1, fraction_bits=8, rounding=0)
        return inference(1) | {
            "inputs": [tensor("i16", 8, -1, terms)],
            "parameters": [tensor("i16", 8, terms, 1), tensor("i32", fraction_bits, 1)],
            "predict": {"nodes": f.take(), "outputs": [y]},
        }

    # terms * 2^30 + 2^(31 + 16 - F) <= 2^62.
    for terms, fraction_bits in ((2**31, -14), (2**32 - 2, 16)):
        load(biased(terms, fraction_bits))
        refused(biased(terms + 1, fraction_bits), "unproved_bound", "bias_add, node 1")
    refused(biased(1, -15), "unproved_bound", "bias_add, node 1")


def test_a_bound_grows_with_max_batch() -> None:
    def summed(count: int, max_batch: int) -> Body:
        """A sum of squares of `count` numbers per example, over the batch."""
        body = trained(max_batch)
        body["inputs"] = [tensor("i32", 12, -1, count)]
        f = Nodes(4)
        total = f.add("reduce_sum", f.add("mul", 0, 0), axes=(0, 1), keepdims=0)
        body["predict"] = {"nodes": [], "outputs": [0]}
        body["loss"] = {
            "nodes": [*f.take(), [code("example_count"), [], []]],
            "outputs": [total, total + 1],
        }
        return {k: v for k, v in body.items() if k not in ("grad", "apply", "state")}

    # Each square is at most 2^62: one example with one number, no more.
    load(summed(1, 1))
    refused(summed(1, 2), "unproved_bound", "reduce_sum, node 1")
    refused(summed(2, 1), "unproved_bound", "reduce_sum, node 1")


def test_saturated_bounds_stay_refused() -> None:
    """Sums of sums: the bound does not wrap."""
    f = Nodes(2)
    v = f.add("mul", 1, 1)
    for _ in range(70):
        v = f.add("add", v, v)
    refused(
        inference()
        | {"parameters": [tensor("i32", 0, 1)], "predict": {"nodes": f.take(), "outputs": [v]}},
        "unproved_bound",
        "add, node 1: output 0: magnitude",
    )


# -- limits


def test_limit_of_program_bytes() -> None:
    size = len(cbor.encode(trained()))
    load(trained(), program_bytes=size)
    refused(
        trained(), "over_limit", f"{size} bytes, the limit is {size - 1}", program_bytes=size - 1
    )


def test_limit_of_nodes() -> None:
    nodes = sum(
        len(f["nodes"])
        for f in (trained()["predict"], trained()["loss"], *trained()["grad"], trained()["apply"])
    )
    load(trained(), nodes=nodes)
    refused(trained(), "over_limit", f"more than {nodes - 1} nodes", nodes=nodes - 1)


def test_limit_of_nodes_holds_for_lists() -> None:
    many = [tensor("i16", 0)] * 40
    refused(
        changed(put("parameters", many), inference()),
        "over_limit",
        "parameters: 40 of them, the limit is 39",
        nodes=39,
    )
    load(
        changed(
            lambda b: (
                put("parameters", many)(b),
                put("predict", {"nodes": [], "outputs": [0]})(b),
            ),
            inference(),
        ),
        nodes=40,
    )
    refused(
        changed(put("inputs", [tensor("i16", 0, -1)] * 40), inference()),
        "over_limit",
        "inputs: 40 of them",
        nodes=39,
    )
    refused(
        changed(put("labels", [tensor("i16", 0, -1)] * 40)),
        "over_limit",
        "labels: 40 of them",
        nodes=39,
    )
    refused(changed(put("state", many)), "over_limit", "state: 40 of them", nodes=39)
    refused(
        changed(put("predict", "outputs", [0] * 40)),
        "over_limit",
        "predict: at most 39 values, received 40",
        nodes=39,
    )
    refused(
        changed(put("grad", 0, "reduce", [9] * 40)),
        "over_limit",
        "grad: at most 39 values, received 40",
        nodes=39,
    )

    def reduced(body: Body) -> None:
        body["grad"] += [{"nodes": [], "reduce": [9] * 20}] * 2

    refused(changed(reduced), "over_limit", "totals: 44 of them, the limit is 39", nodes=39)


def test_a_list_is_refused_before_it_is_kept() -> None:
    """A node with a million operands, an attribute with a million numbers."""
    million = [0] * 1_000_000
    refused(
        changed(put("predict", "nodes", 0, 1, million)),
        "bad_graph",
        "at most 1 values, received 1000000",
    )
    refused(changed(put("loss", "nodes", 5, 2, [million, 0])), "bad_attribute", "received 1000000")
    refused(
        changed(put("predict", "nodes", 0, 2, million)), "bad_attribute", "attributes must be 3"
    )
    refused(changed(put("predict", "outputs", million)), "over_limit", "at most 65536 values")
    refused(
        changed(put("inputs", [tensor("i16", 0, -1)] * 100_000)),
        "over_limit",
        "inputs: 100000 of them, the limit is 65536",
    )


def test_limit_of_parameter_bytes() -> None:
    load(trained(), parameter_bytes=192)
    refused(
        trained(),
        "over_limit",
        "parameters and state of 192 bytes, the limit is 191",
        parameter_bytes=191,
    )
    refused(trained(), "over_limit", "parameters: more than 127 bytes", parameter_bytes=127)
    huge = changed(put("parameters", 0, 2, [2**20, 2**22]))
    refused(huge, "over_limit", f"parameters: more than {2**36} bytes")
    # 2^18 times 2^44 bytes are 2^62.
    several = changed(put("parameters", [tensor("i32", 0, 2**20, 2**22)] * (2**18 + 1)))
    most = {"parameter_bytes": 2**64 - 1, "nodes": 2**64 - 1}
    refused(several, "over_limit", f"parameters: more than {2**62} bytes", **most)


def test_limit_of_memory_bytes() -> None:
    program = load(trained())
    peaks = {f: program.cost(f, 8)["peak_bytes"] for f in (PREDICT, LOSS, GRAD)}
    # The product (8 * 3 numbers of 8 bytes) lies behind the view of the weights (64 bytes); the sum
    # with the bias does not fit before it, so it lies behind the product.
    assert peaks[PREDICT] == 64 + 192 + 192
    load(trained(), memory_bytes=peaks[GRAD])
    for function, name in ((GRAD, "grad"), (PREDICT, "predict")):
        limit = peaks[function] - 1
        message = f"{name}: {limit + 1} bytes of memory at max_batch, the limit is {limit}"
        refused(trained(), "over_limit", message, memory_bytes=limit)


def test_memory_is_refused_before_it_is_taken() -> None:
    """2^42 elements: far beyond any machine that runs this test."""
    body = predicting(
        lambda f: f.add("reduce_max", f.add("broadcast_to", 1, shape=(2**21, 2**21)), axes=(0, 1)),
        tensor("i16", 0, 1),
    )
    refused(body, "over_limit", f"bytes of memory at max_batch, the limit is {2**40}")
    refused(body, "over_limit", "the limit is 1000", memory_bytes=1000)


def test_limit_of_memory_holds_for_totals() -> None:
    body = changed(lambda b: b["grad"][0].update(reduce=[8] * 50 + [9]))
    refused(body, "over_limit", "grad: totals of more than 1024 bytes", memory_bytes=1024)


def test_limit_of_multiply_adds() -> None:
    # 8 examples of 2 by 3; the gradient's product as many.
    load(trained(), multiply_adds=96)
    refused(
        trained(),
        "over_limit",
        "grad: 96 multiply-adds at max_batch, the limit is 95",
        multiply_adds=95,
    )
    refused(trained(), "over_limit", "predict: 48 multiply-adds", multiply_adds=47)


def test_cost_saturates() -> None:
    """Products whose multiply-adds add up to more than 64 bits are refused under every limit."""

    f = Nodes(2)
    made = [
        f.add(
            "reduce_max",
            f.add("convert", f.add("matmul", 0, 1), dtype=1, fraction_bits=0, rounding=0),
            axes=(1,),
            keepdims=0,
        )
        for _ in range(64)
    ]
    body = inference(2**22) | {
        "inputs": [tensor("i16", 0, -1, 2**20)],
        "parameters": [tensor("i16", 0, 2**20, 2**18)],
        "predict": {"nodes": f.take(), "outputs": made},
    }
    most = {"multiply_adds": 2**64 - 1, "memory_bytes": 2**64 - 1, "parameter_bytes": 2**64 - 1}
    refused(
        body,
        "over_limit",
        f"predict: {2**62} multiply-adds at max_batch, the limit is {2**62 - 1}",
        **most,
    )


def test_pooling_counts_what_it_reads() -> None:
    body = predicting(
        lambda f: f.add(
            "max_pool2d",
            f.add("reshape", 0, shape=(-1, 4, 4, 1)),
            window=(3, 3),
            strides=(1, 1),
            padding=(1, 1, 1, 1),
            dilation=(1, 1),
        )
    )
    body["inputs"] = [tensor("i16", 8, -1, 16)]
    assert load(body).cost(PREDICT, 2)["multiply_adds"] == 2 * 16 * 9


def test_limit_names_must_be_known() -> None:
    with pytest.raises(ValueError, match="gvm_limits"):
        _core.Program(cbor.encode(inference()), {"memory": 1})


def tables(count: int) -> Body:
    """A program that looks its input up in so many tables."""
    f = Nodes(2)
    made = [
        f.add("unary", 0, function=1 + i % 22, dtype=1, fraction_bits=i // 22, rounding=0)
        for i in range(count)
    ]
    return inference() | {"predict": {"nodes": f.take(), "outputs": made}}


def test_tables_cost_what_is_looked_up() -> None:
    """256 tables for a few elements take less than 16 whole ones, and answer as those do."""
    program = load(tables(256))
    x = integers(program.tensors(INPUTS), 2, seed=1)
    running = session(program)
    began = time.process_time()
    found = running.predict(x)
    took = time.process_time() - began
    q, fraction_bits = x[0], program.tensors(INPUTS)[0][0].fraction_bits
    began = time.process_time()
    for i in range(16):
        whole = _core.unary_table(1 + i, fraction_bits, 0, 16)[0]
        assert np.array_equal(found[i], whole[q.view(np.uint16)])
    assert took < time.process_time() - began


def test_invalid_number_of_tables() -> None:
    load(tables(256))
    refused(tables(257), "bad_graph", "unary, node 256: a program has at most 256 different tables")
    # The same table twice is one table.
    twice = tables(256)
    twice["predict"]["nodes"] *= 2
    twice["predict"]["outputs"] = list(range(2, 514))
    load(twice)


def test_invalid_number_of_sites() -> None:
    """Sites are counted in grad and apply only, and are below 2^24."""
    assert load(trained()).info()["sites"] == 8
    body = {k: v for k, v in trained().items() if k not in ("grad", "apply", "state")}
    assert load(body).info()["sites"] == 0


def test_refusals_at_run_time_are_vectors() -> None:
    """gvm-conform asks every CPU level for them."""
    for path, lines in (
        (refused_calls.FILE, refused_calls.lines()),
        (refused_calls.VALUES, refused_calls.value_lines()),
    ):
        missing = set(lines) - set(path.read_text().splitlines())
        assert not missing, "python -m tests.vectors.refused_calls writes them"
