"""Nodes for hire: a bond of fixed size makes one seat that committees are drawn from."""

from __future__ import annotations

from dataclasses import dataclass, replace

from chain import ledger
from chain.context import Actions, Context
from chain.draw import drawn
from chain.records import Node
from chain.refusal import Code, Refused, require
from chain.state import State


@dataclass(frozen=True)
class Join:
    """Puts up the bond and serves in committees."""


@dataclass(frozen=True)
class Leave:
    """Serves no more; the bond is free after the unbonding time."""


@dataclass(frozen=True)
class Collect:
    """Takes a bond back whose time is over."""


def get_node(state: State, name: bytes) -> Node:
    """A node; refuses what is none. D60."""
    found = state.nodes.get(name)
    if found is None:
        raise Refused(Code.UNKNOWN, "D60", "the sender is no node")
    return found


def process_join(state: State, context: Context, action: Join) -> State:
    """D60: every node has the same bond, so that more seats cost more stake."""
    bond, old = state.parameters.node_bond, state.nodes.get(context.sender)
    held = 0 if old is None else old.bond
    require(old is None or old.leaves == 0, Code.NOT_ALLOWED, "D61", "the node is leaving")
    require(old is None or held < bond, Code.DUPLICATE, "D60", "the sender serves already")
    state = ledger.move(state, context.sender, ledger.BONDS, bond - held)
    return state.but(nodes=state.nodes.set(context.sender, Node(bond, context.height)))


def process_leave(state: State, context: Context, action: Leave) -> State:
    """D61: a bond answers for what its node signed until evidence of it is out of time."""
    node = get_node(state, context.sender)
    require(node.leaves == 0, Code.DUPLICATE, "D61", "the node is leaving already")
    leaving = replace(node, leaves=context.height + state.parameters.unbonding)
    return state.but(nodes=state.nodes.set(context.sender, leaving))


def process_collect(state: State, context: Context, action: Collect) -> State:
    """D61: the bond, or what is left of it."""
    node = get_node(state, context.sender)
    require(
        0 < node.leaves <= context.height,
        Code.PHASE,
        "D61",
        "the bond is not free at this height",
    )
    state = ledger.move(state, ledger.BONDS, context.sender, node.bond)
    return state.but(nodes=state.nodes.remove(context.sender))


def serving(state: State, before: int) -> list[bytes]:
    """The nodes with a full bond that joined below a height, ascending. D62."""
    bond = state.parameters.node_bond
    return [
        name
        for name, node in state.nodes.items()
        if node.bond >= bond and node.leaves == 0 and node.since < before
    ]


def draw_committee(names: list[bytes], seed: bytes, seats: int) -> list[bytes]:
    """D62: so many different nodes, the last of a random order of all."""
    return [names[i] for i in drawn(seed, len(names), seats)]


ACTIONS: Actions = {Join: process_join, Leave: process_leave, Collect: process_collect}
