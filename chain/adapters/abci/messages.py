"""The messages of ABCI 2.0 as CometBFT v0.38 numbers them (proto/tendermint/abci/types.proto)."""

from __future__ import annotations

from enum import IntEnum

from chain.adapters.abci.wire import Table

TABLE = Table(
    """
    Request | 1 RequestEcho echo; 2 RequestFlush flush; 3 RequestInfo info; \
5 RequestInitChain init_chain; 6 RequestQuery query; 8 RequestCheckTx check_tx; \
11 RequestCommit commit; 12 RequestListSnapshots list_snapshots; \
13 RequestOfferSnapshot offer_snapshot; 14 RequestLoadSnapshotChunk load_snapshot_chunk; \
15 RequestApplySnapshotChunk apply_snapshot_chunk; 16 RequestPrepareProposal prepare_proposal; \
17 RequestProcessProposal process_proposal; 18 RequestExtendVote extend_vote; \
19 RequestVerifyVoteExtension verify_vote_extension; 20 RequestFinalizeBlock finalize_block
    RequestEcho: 1 string message
    RequestFlush:
    RequestInfo: 1 string version; 2 uint64 block_version; 3 uint64 p2p_version; \
4 string abci_version
    RequestInitChain: 1 Timestamp time; 2 string chain_id; 3 ConsensusParams consensus_params; \
4 ValidatorUpdate* validators; 5 bytes app_state_bytes; 6 int64 initial_height
    RequestQuery: 1 bytes data; 2 string path; 3 int64 height; 4 bool prove
    RequestCheckTx: 1 bytes tx; 2 enum type
    RequestCommit:
    RequestListSnapshots:
    RequestOfferSnapshot: 1 Snapshot snapshot; 2 bytes app_hash
    RequestLoadSnapshotChunk: 1 uint64 height; 2 uint32 format; 3 uint32 chunk
    RequestApplySnapshotChunk: 1 uint32 index; 2 bytes chunk; 3 string sender
    RequestPrepareProposal: 1 int64 max_tx_bytes; 2 bytes* txs; \
3 ExtendedCommitInfo local_last_commit; 4 Misbehavior* misbehavior; 5 int64 height; \
6 Timestamp time; 7 bytes next_validators_hash; 8 bytes proposer_address
    RequestProcessProposal: 1 bytes* txs; 2 CommitInfo proposed_last_commit; \
3 Misbehavior* misbehavior; 4 bytes hash; 5 int64 height; 6 Timestamp time; \
7 bytes next_validators_hash; 8 bytes proposer_address
    RequestExtendVote: 1 bytes hash; 2 int64 height; 3 Timestamp time; 4 bytes* txs; \
5 CommitInfo proposed_last_commit; 6 Misbehavior* misbehavior; 7 bytes next_validators_hash; \
8 bytes proposer_address
    RequestVerifyVoteExtension: 1 bytes hash; 2 bytes validator_address; 3 int64 height; \
4 bytes vote_extension
    RequestFinalizeBlock: 1 bytes* txs; 2 CommitInfo decided_last_commit; \
3 Misbehavior* misbehavior; 4 bytes hash; 5 int64 height; 6 Timestamp time; \
7 bytes next_validators_hash; 8 bytes proposer_address

    Response | 1 ResponseException exception; 2 ResponseEcho echo; 3 ResponseFlush flush; \
4 ResponseInfo info; 6 ResponseInitChain init_chain; 7 ResponseQuery query; \
9 ResponseCheckTx check_tx; 12 ResponseCommit commit; 13 ResponseListSnapshots list_snapshots; \
14 ResponseOfferSnapshot offer_snapshot; 15 ResponseLoadSnapshotChunk load_snapshot_chunk; \
16 ResponseApplySnapshotChunk apply_snapshot_chunk; \
17 ResponsePrepareProposal prepare_proposal; 18 ResponseProcessProposal process_proposal; \
19 ResponseExtendVote extend_vote; 20 ResponseVerifyVoteExtension verify_vote_extension; \
21 ResponseFinalizeBlock finalize_block
    ResponseException: 1 string error
    ResponseEcho: 1 string message
    ResponseFlush:
    ResponseInfo: 1 string data; 2 string version; 3 uint64 app_version; \
4 int64 last_block_height; 5 bytes last_block_app_hash
    ResponseInitChain: 1 ConsensusParams consensus_params; 2 ValidatorUpdate* validators; \
3 bytes app_hash
    ResponseQuery: 1 uint32 code; 3 string log; 4 string info; 5 int64 index; 6 bytes key; \
7 bytes value; 8 ProofOps proof_ops; 9 int64 height; 10 string codespace
    ResponseCheckTx: 1 uint32 code; 2 bytes data; 3 string log; 4 string info; \
5 int64 gas_wanted; 6 int64 gas_used; 7 Event* events; 8 string codespace
    ResponseCommit: 3 int64 retain_height
    ResponseListSnapshots: 1 Snapshot* snapshots
    ResponseOfferSnapshot: 1 enum result
    ResponseLoadSnapshotChunk: 1 bytes chunk
    ResponseApplySnapshotChunk: 1 enum result; 2 uint32* refetch_chunks; 3 string* reject_senders
    ResponsePrepareProposal: 1 bytes* txs
    ResponseProcessProposal: 1 enum status
    ResponseExtendVote: 1 bytes vote_extension
    ResponseVerifyVoteExtension: 1 enum status
    ResponseFinalizeBlock: 1 Event* events; 2 ExecTxResult* tx_results; \
3 ValidatorUpdate* validator_updates; 4 ConsensusParams consensus_param_updates; 5 bytes app_hash

    CommitInfo: 1 int32 round; 2 VoteInfo* votes
    ExtendedCommitInfo: 1 int32 round; 2 ExtendedVoteInfo* votes
    Event: 1 string type; 2 EventAttribute* attributes
    EventAttribute: 1 string key; 2 string value; 3 bool index
    ExecTxResult: 1 uint32 code; 2 bytes data; 3 string log; 4 string info; \
5 int64 gas_wanted; 6 int64 gas_used; 7 Event* events; 8 string codespace
    Validator: 1 bytes address; 3 int64 power
    ValidatorUpdate: 1 PublicKey pub_key; 2 int64 power
    VoteInfo: 1 Validator validator; 3 enum block_id_flag
    ExtendedVoteInfo: 1 Validator validator; 3 bytes vote_extension; \
4 bytes extension_signature; 5 enum block_id_flag
    Misbehavior: 1 enum type; 2 Validator validator; 3 int64 height; 4 Timestamp time; \
5 int64 total_voting_power
    Snapshot: 1 uint64 height; 2 uint32 format; 3 uint32 chunks; 4 bytes hash; 5 bytes metadata
    PublicKey | 1 bytes ed25519; 2 bytes secp256k1
    ProofOp: 1 string type; 2 bytes key; 3 bytes data
    ProofOps: 1 ProofOp* ops
    Timestamp: 1 int64 seconds; 2 int32 nanos
    Duration: 1 int64 seconds; 2 int32 nanos
    ConsensusParams ? 1 BlockParams block; 2 EvidenceParams evidence; \
3 ValidatorParams validator; 4 VersionParams version; 5 ABCIParams abci
    BlockParams: 1 int64 max_bytes; 2 int64 max_gas
    EvidenceParams: 1 int64 max_age_num_blocks; 2 Duration max_age_duration; 3 int64 max_bytes
    ValidatorParams: 1 string* pub_key_types
    VersionParams: 1 uint64 app
    ABCIParams: 1 int64 vote_extensions_enable_height
    """
)


class CheckKind(IntEnum):
    """Why a transaction is checked."""

    NEW = 0
    RECHECK = 1


class Flag(IntEnum):
    """What a validator did with the block below."""

    ABSENT = 1
    COMMIT = 2
    NIL = 3


class Status(IntEnum):
    """Of a proposal or a vote extension."""

    ACCEPT = 1
    REJECT = 2


class Offer(IntEnum):
    """Of an offered snapshot."""

    ACCEPT = 1
    ABORT = 2
    REJECT = 3
    REJECT_FORMAT = 4
    REJECT_SENDER = 5


class Apply(IntEnum):
    """Of a chunk of a snapshot."""

    ACCEPT = 1
    ABORT = 2
    RETRY = 3
    RETRY_SNAPSHOT = 4
    REJECT_SNAPSHOT = 5


class Misdeed(IntEnum):
    """What CometBFT has proved of a validator."""

    DUPLICATE_VOTE = 1
    LIGHT_CLIENT_ATTACK = 2
