"""The state machine as an ABCI 2.0 application for CometBFT v0.38."""
