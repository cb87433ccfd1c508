"""Traces: what a run computed as commitments, and what two parties who disagree do with them."""
