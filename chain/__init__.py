"""The chain: blocks, staking, jobs and LBFT as one pure function of a state and a block.

Nothing here touches a clock, a file, a socket, randomness or a float; adapters do
(``chain/adapters``). ``docs/chain.md`` says how the parts fit.
"""
