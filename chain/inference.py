"""Inference for pay: a task is assigned by fee, computed by one node, recomputed by others."""

from __future__ import annotations

from dataclasses import dataclass, replace

from chain import ledger, slashing
from chain.codec import Amount, Digest
from chain.context import Actions, Context
from chain.hashes import digest_of
from chain.nodes import draw_committee, serving
from chain.quorum import has_quorum
from chain.records import ZERO, Answer, Task
from chain.refusal import Code, Refused, require
from chain.state import State


@dataclass(frozen=True)
class RequestInference:
    """Pays for the output of a job's present parameters on an input."""

    job: Digest
    input: Digest
    reward: Amount


@dataclass(frozen=True)
class SubmitOutput:
    """The chosen node's output."""

    task: Digest
    output: Digest


@dataclass(frozen=True)
class ConfirmOutput:
    """A confirmer's own output."""

    task: Digest
    output: Digest


def get_task(state: State, name: bytes) -> Task:
    """A task that waits; refuses others. D80."""
    found = state.tasks.get(name)
    if found is None:
        raise Refused(Code.UNKNOWN, "D80", "there is no such waiting task")
    return found


def process_request(state: State, context: Context, action: RequestInference) -> State:
    """D80: the reward is frozen; the parameters are those of this height."""
    job = state.jobs.get(action.job)
    if job is None:
        raise Refused(Code.UNKNOWN, "D80", "there is no such job")
    most = state.parameters.max_tasks
    require(action.reward > 0, Code.FUNDS, "D80", "the reward must be positive")
    require(len(state.tasks) < most, Code.LIMIT, "D80", f"at most {most} tasks wait at once")
    state = ledger.move(state, context.sender, ledger.ESCROW, action.reward)
    name = digest_of("task", context.transaction)
    task = Task(
        requester=context.sender,
        job=action.job,
        parameters=job.parameters,
        input=action.input,
        reward=action.reward,
        created=context.height,
    )
    return state.but(tasks=state.tasks.set(name, task)).note("task", name, action.reward)


def process_output(state: State, context: Context, action: SubmitOutput) -> State:
    """D82: only the node that was drawn, once, in time."""
    task = get_task(state, action.task)
    require(task.node == context.sender, Code.NOT_ALLOWED, "D82", "another node was drawn")
    require(task.output == ZERO, Code.DUPLICATE, "D82", "the output is there already")
    require(action.output != ZERO, Code.MALFORMED, "D82", "an output is not zero")
    changed = replace(task, output=action.output)
    return state.but(tasks=state.tasks.set(action.task, changed))


def process_confirm(state: State, context: Context, action: ConfirmOutput) -> State:
    """D83: each confirmer once, after the output."""
    task = get_task(state, action.task)
    own = next((a for a in task.answers if a.confirmer == context.sender), None)
    if own is None:
        raise Refused(Code.NOT_ALLOWED, "D83", "the sender is no confirmer of this task")
    require(task.output != ZERO, Code.PHASE, "D83", "there is nothing to confirm yet")
    require(own.output == ZERO, Code.DUPLICATE, "D83", "the confirmer has answered")
    require(action.output != ZERO, Code.MALFORMED, "D83", "an output is not zero")
    made = replace(own, output=action.output)
    answers = tuple(made if a is own else a for a in task.answers)
    return state.but(tasks=state.tasks.set(action.task, replace(task, answers=answers)))


def assign_tasks(state: State, height: int) -> State:
    """D81: the highest rewards first, at most so many per block, each to a node and confirmers
    drawn from the block's entropy."""
    parameters = state.parameters
    waiting = [(-t.reward, t.created, name) for name, t in state.tasks.items() if t.node == ZERO]
    if not waiting:
        return state
    names, seats = serving(state, height), 1 + parameters.task_confirmers
    if len(names) < seats:
        return state
    for _, _, name in sorted(waiting)[: parameters.tasks_per_block]:
        drawn = draw_committee(names, digest_of("task committee", state.entropy, name), seats)
        confirmers = sorted(drawn[1:])
        task = replace(
            get_task(state, name),
            node=drawn[0],
            answers=tuple(Answer(confirmer) for confirmer in confirmers),
            deadline=height + 1 + parameters.task_blocks,
        )
        state = state.but(tasks=state.tasks.set(name, task)).note("task assigned", name)
    return state


def settle_task(state: State, name: bytes, height: int) -> State:
    """D84, D85, D86: decides a task when its confirmers have, or when its time is over."""
    task, parameters = get_task(state, name), state.parameters
    if task.node == ZERO:
        if height < task.created + parameters.task_wait:
            return state
        # D86: nobody was there to take it, or others paid more all the time.
        state = ledger.move(state, ledger.ESCROW, task.requester, task.reward)
        return close_task(state, name, "task expired")
    given = [a for a in task.answers if a.output != ZERO]
    same = [a for a in given if a.output == task.output]
    if task.output != ZERO and has_quorum(len(same), len(task.answers)):
        # D84: confirmed: the node and those who agreed are paid.
        node_part = task.reward * parameters.task_node_share // 1000
        state = ledger.move(state, ledger.ESCROW, task.node, node_part)
        left = task.reward - node_part
        part = left // len(task.answers)
        for answer in same:
            state = ledger.move(state, ledger.ESCROW, answer.confirmer, part)
        rest = left - part * len(same)
        state = ledger.move(state, ledger.ESCROW, task.requester, rest)
        return close_task(state, name, "task done")
    others = [a.output for a in given if a.output != task.output]
    refuted = any(has_quorum(others.count(other), len(task.answers)) for other in others)
    late = height + 1 >= task.deadline
    if not (refuted or late):
        return state
    if refuted:
        # D85: more than two thirds agree on another output.
        state = slashing.slash_node(state, task.node, parameters.attestation_slash)
    elif task.output == ZERO:
        # D86: the node kept silent.
        state = slashing.slash_silence(state, task.node)
    state = ledger.move(state, ledger.ESCROW, task.requester, task.reward)
    return close_task(state, name, "task failed")


def close_task(state: State, name: bytes, kind: str) -> State:
    """Removes a decided task."""
    task = get_task(state, name)
    return state.but(tasks=state.tasks.remove(name)).note(kind, name, task.reward)


def advance_tasks(state: State, height: int) -> State:
    """At the end of a block: decides what can be decided, then assigns."""
    for name, _ in state.tasks.items():
        state = settle_task(state, name, height)
    return assign_tasks(state, height)


ACTIONS: Actions = {
    RequestInference: process_request,
    SubmitOutput: process_output,
    ConfirmOutput: process_confirm,
}
