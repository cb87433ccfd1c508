"""The orderer of the simulator and the devnet: Tendermint's algorithm as a pure function.

"Line n" in comments is line n of Algorithm 1 in Buchman, Kwon and Milosevic, "The latest gossip on
BFT consensus" (arXiv:1807.04938). ``docs/orderer.md`` says what was added around it.
"""
