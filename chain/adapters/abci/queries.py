"""ABCI's Query: records of the committed state with proofs.

| path | data | value |
|---|---|---|
| ``/status`` | | height, block, state root: canonical CBOR |
| ``/store/TABLE`` | a key of 32 bytes | the record, canonical CBOR; empty where there is none |

With ``prove`` the answer carries one operation of type ``gvm:record``, whose data is a
:class:`chain.proofs.RecordProof`; :func:`chain.proofs.verify_record` checks it against the app
hash of the height.
"""

from __future__ import annotations

from chain.adapters.abci.wire import Value
from chain.codec import encode, encode_value
from chain.hashes import SIZE
from chain.proofs import prove_record
from chain.refusal import Code
from chain.state import TABLES, State, root

PROOF = "gvm:record"


def answer(state: State, request: Value) -> Value:
    """The response; only the committed height can be asked."""
    path, key = request["path"], request["data"]
    if request["height"] not in (0, state.height):
        return wrong(Code.UNKNOWN, f"only height {state.height} is kept")
    if path == "/status":
        value = encode_value([state.height, state.parent, root(state)])
        return {"value": value, "height": state.height}
    store, _, table = path.rpartition("/")
    if store != "/store" or table not in TABLES:
        return wrong(Code.UNKNOWN, "path must be /status or /store/ with a table's name")
    if len(key) != SIZE:
        return wrong(Code.MALFORMED, f"data must be a key of {SIZE} bytes, received {len(key)}")
    record = getattr(state, table).get(key)
    found: Value = {"key": key, "height": state.height}
    found["value"] = b"" if record is None else encode(record)
    if request["prove"]:
        proof = encode(prove_record(state, table, key))
        found["proof_ops"] = {"ops": [{"type": PROOF, "key": key, "data": proof}]}
    return found


def wrong(code: Code, words: str) -> Value:
    """A query that has no answer."""
    return {"code": int(code), "log": words, "codespace": "gvm"}
